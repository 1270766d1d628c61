"""Metrics, the multi-GT protocol and the evaluation of a folder of results."""

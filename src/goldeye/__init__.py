"""Goldeye: human-guided ground truth and super-resolution training."""

__version__ = "0.1.0"

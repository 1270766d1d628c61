"""Curation: photos are enhanced and patch groups are selected from the results."""

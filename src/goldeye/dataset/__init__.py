"""Patch groups, votes and labels, and what training reads from them."""

from goldeye.dataset.groups import Dataset, DatasetSettings, DatasetWriter, Enhancer, Group
from goldeye.dataset.labels import Final, Label, Vote, VoteTable, final_label, finals, label_stats, read_votes

__all__ = [
    "Dataset",
    "DatasetSettings",
    "DatasetWriter",
    "Enhancer",
    "Final",
    "Group",
    "Label",
    "Vote",
    "VoteTable",
    "final_label",
    "finals",
    "label_stats",
    "read_votes",
]

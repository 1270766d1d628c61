"""The training set that a recipe asks for."""

from __future__ import annotations

from goldeye.config import TrainConfig
from goldeye.dataset.multi_gt import MultiGTDataset
from goldeye.dataset.paired import PairedDataset
from goldeye.dataset.sampling import TrainingSet
from goldeye.dataset.synthetic import PhotoDataset


def build_dataset(config: TrainConfig) -> TrainingSet:
    """Photos, pairs or a dataset of patch groups; InvalidInput in one sentence for what cannot be trained on."""
    if config.data.source == "photos":
        return PhotoDataset(config.data, scale=config.scale, seed=config.seed)
    if config.data.source == "pairs":
        return PairedDataset(config.data, scale=config.scale, seed=config.seed)
    weighting = config.losses.negative.vote_weighting if config.losses.negative else True
    return MultiGTDataset(config.data, scale=config.scale, seed=config.seed, vote_weighting=weighting)

"""`goldeye testset`: a Test-N set out of a labelled dataset, laid out as the released Test-100 (HGGT §5.1).

OUT/GT/Test-N/images/{original,01,02,…}/NAME[_01].png
OUT/GT/Test-N/labels/{A,B,C,…}/NAME.json                          the votes that count, a folder a slot
OUT/GT/Test-N/labels/people.csv                                   which pseudonymous person filled a slot, where known
OUT/Blind_Degradation_Benchmark_LQ/Test-N/Blind_LR/NAME.png       the LR pictures
OUT/degradations.jsonl                                            the parameters that made each (`goldeye degrade`)
OUT/testset.yaml                                                  where the groups come from, and all settings
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from goldeye.dataset.exchange.ballots import to_ballots
from goldeye.dataset.exchange.official import write_labels
from goldeye.dataset.groups import Dataset, Group, group_pictures
from goldeye.dataset.labels import Final, Label, VoteTable, finals, pseudonyms, read_votes
from goldeye.degrade import degrade_folder, get_pipeline
from goldeye.degrade.run import RECORD as DEGRADATIONS
from goldeye.errors import InvalidInput
from goldeye.files import sha256, sole_user, write_text
from goldeye.images import image_size, read_image, write_image

RECORD = "testset.yaml"


def make_testset(
    source: Path,
    output: Path,
    *,
    count: int = 100,
    at_most: bool = False,
    min_positives: int = 2,
    preset: str = "hggt",
    scale: int = 4,
    seed: int = 0,
    split: str | None = None,
) -> dict[str, Any]:
    """Draw `count` groups of the dataset `source` and write them, their votes and their LR pictures to `output`.

    Groups with at least `min_positives` final labels Positive are drawn with `default_rng(seed)` from the split `split`
    ("all": every group); by default from "test", or from all groups of a dataset without splits. With `at_most` fewer
    groups than `count` will do. Names that two groups share get their range in front.

    The folder appears whole or not at all, and the same call writes the same bytes. Returns {"output", "groups",
    "suitable" (how many there were to draw from), "split", "gt", "lr"}. InvalidInput for settings that cannot be used,
    too few suitable groups, pictures whose sides are no multiples of `scale`, and an output that is in use.
    """
    if count < 1 or seed < 0:
        raise InvalidInput(f"The number of groups must be 1 or more and the seed 0 or more, not {count} and {seed}.")
    get_pipeline(preset).check_scale(scale)
    dataset = Dataset.open(source)
    _check_output(output, dataset)
    drawn_from = _of_split(dataset, split)
    votes = read_votes(dataset)
    positives = _positives(finals(dataset, votes))
    suitable = [group for group in drawn_from if len(positives.get(group.id, ())) >= min_positives]
    if not suitable or (len(suitable) < count and not at_most):
        where = f" of its split '{split or 'test'}'" if len(drawn_from) < len(dataset.groups) else ""
        raise InvalidInput(
            f"'{source}' has {len(suitable)} groups{where} with at least {min_positives} positives, not {count}.",
            hint=f"Ask for fewer with -n {len(suitable)} or --at-most." if suitable else None,
        )
    suitable.sort(key=lambda group: group.id)
    places = np.random.default_rng(seed).choice(len(suitable), min(count, len(suitable)), replace=False)
    groups = [suitable[place] for place in sorted(places.tolist())]
    _check_pictures(groups, scale)

    names = _names(groups)
    used = next(iter({group.split for group in groups})) if split != "all" else "all"
    record = {
        "format": 1,
        "dataset": str(source),
        "split": used,
        "suitable": len(suitable),
        "min_positives": min_positives,
        "preset": preset,
        "scale": scale,
        "seed": seed,
        "enhancers": dict(dataset.enhancer_names),
        "groups": [
            {
                "name": names[group.id],
                "group": group.id,
                "source": group.source,
                "positives": positives[group.id],
                "sha256": sha256(group.original),
            }
            for group in groups
        ],
    }
    title = f"Test-{len(groups)}"
    gt, lr = Path("GT", title), Path("Blind_Degradation_Benchmark_LQ", title, "Blind_LR")
    place = output.resolve()
    work = place.with_name(f".{place.name}.unfinished")
    with sole_user(work):
        try:
            _empty(work)  # of what a killed run left
            _write_pictures(work / gt, groups, names)
            _write_labels(work / gt, replace(dataset, groups=groups), votes, names)
            _write_lr(work / gt / "images" / "original", work / lr, preset=preset, scale=scale, seed=seed)
            (work / lr / DEGRADATIONS).rename(work / DEGRADATIONS)
            text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
            write_text(work / RECORD, text)
            if hasattr(os, "sync"):
                os.sync()
            if place.exists():
                place.rmdir()
            work.rename(place)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return {
        "output": str(output),
        "groups": len(groups),
        "suitable": len(suitable),
        "split": used,
        "gt": str(output / gt),
        "lr": str(output / lr),
    }


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
        else:
            child.unlink()


def _check_output(output: Path, dataset: Dataset) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidInput(f"The output '{output}' is in use.", hint="Choose a new or empty folder.")
    if output.resolve().is_relative_to(dataset.path.resolve()):
        raise InvalidInput(f"The output '{output}' must not lie in the dataset '{dataset.path}'.")


def _of_split(dataset: Dataset, split: str | None) -> list[Group]:
    """The groups to draw from: unless asked for, none of which a model may have been trained on."""
    splits = {group.split for group in dataset.groups} - {None}
    if split == "all" or (split is None and not splits):
        return dataset.groups
    if split is None and "test" not in splits:
        raise InvalidInput(
            f"'{dataset.path}' has no test split, and a test set must not hold training photos.",
            hint="To draw from them all the same, say so: --split all.",
        )
    return dataset.select(split or "test")


def _positives(labels: Mapping[str, Mapping[str, Final]]) -> dict[str, list[str]]:
    """{group id: slots whose final label is Positive}"""
    return {
        group: [slot for slot, final in slots.items() if final.label is Label.POSITIVE]
        for group, slots in labels.items()
    }


def _check_pictures(groups: Sequence[Group], scale: int) -> None:
    """Refuse groups whose pictures differ in size, or have no LR of exactly their size over `scale`."""
    for group in groups:
        sizes = {path: image_size(path) for path in (group.original, *group.candidates.values())}
        height, width = sizes[group.original]
        for path, size in sizes.items():
            if size != (height, width):
                raise InvalidInput(f"'{path}' is {size[1]} x {size[0]} pixels, its original {width} x {height}.")
        if height % scale or width % scale:
            raise InvalidInput(f"'{group.original}' is {width} x {height} pixels, no multiple of the scale {scale}.")


def _names(groups: Sequence[Group]) -> dict[str, str]:
    """{group id: NAME}, all different: a name that several groups share gets the range in front."""
    counts = Counter(group.name for group in groups)
    names = {group.id: group.name for group in groups if counts[group.name] == 1}
    for group in groups:
        if counts[group.name] > 1:
            name = f"{group.range.replace('/', '-')}_{group.name}"
            while name in names.values():
                name += "-2"
            names[group.id] = name
    return names


def _write_pictures(folder: Path, groups: Sequence[Group], names: Mapping[str, str]) -> None:
    """Copy the pictures of the groups; what is no PNG becomes one."""
    for group in groups:
        sources = {"original": group.original, **group.candidates}
        for slot, target in group_pictures(folder / "images", names[group.id], group.candidates).items():
            target.parent.mkdir(parents=True, exist_ok=True)
            if sources[slot].suffix.lower() == ".png":
                shutil.copyfile(sources[slot], target)
            else:
                write_image(target, read_image(sources[slot]))


def _write_labels(folder: Path, drawn: Dataset, votes: VoteTable, names: Mapping[str, str]) -> None:
    """Write the votes of the drawn groups under the names they have in `folder`."""
    people = pseudonyms(votes)
    kept = [replace(vote, group=names[vote.group]) for vote in votes.counted if vote.group in names]
    write_labels(folder / "labels", Dataset.open(folder), to_ballots(kept, people))


def _write_lr(originals: Path, folder: Path, *, preset: str, scale: int, seed: int) -> None:
    result = degrade_folder(originals, folder, preset=preset, scale=scale, seed=seed)
    if result.failed:
        raise InvalidInput(f"No LR picture can be made: {result.failed[0]['error']}")

"""Labelled pictures for training elsewhere: pairs of folders, preference pairs, a folder for Hugging Face datasets."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from goldeye.dataset.exchange.whole import link_or_copy
from goldeye.dataset.groups import Dataset, Group
from goldeye.dataset.labels import Final, Label
from goldeye.errors import InvalidInput
from goldeye.images import image_size, read_image, write_image

Finals = Mapping[str, Mapping[str, Final]]

_RANK = {Label.POSITIVE: 2, Label.SIMILAR: 1, Label.NEGATIVE: 0}


def flat_names(dataset: Dataset) -> dict[str, str]:
    """{group id: a name for one flat folder}: the id, with "_" for the "/" that ids of nested ranges have."""
    names = {group.id: group.id.replace("/", "_") for group in dataset.groups}
    if len(set(names.values())) < len(names):
        first, _ = Counter(names.values()).most_common(1)[0]
        raise InvalidInput(f"Two groups of '{dataset.path}' would both be named '{first}' in one folder.")
    return names


def write_layout(folder: Path, dataset: Dataset) -> int:
    """All pictures in the official layout, `folder`/<range>/{original,01,…}; how many."""
    count = 0
    for group in dataset.groups:
        link_or_copy(group.original, folder / group.range / "original" / group.original.name)
        for slot, picture in group.candidates.items():
            link_or_copy(picture, folder / group.range / slot / picture.name)
        count += 1 + len(group.candidates)
    return count


def write_positives(folder: Path, dataset: Dataset, computed: Finals) -> int:
    """`folder`/original/NAME_01.png and `folder`/positive/NAME_01.png for each positive, and meta_info.txt; how many.

    The originals are repeated, so that both folders have the same names. meta_info.txt is BasicSR's: "NAME (h,w,c)".
    """
    names, lines = flat_names(dataset), []
    for group in dataset.groups:
        for slot, final in computed.get(group.id, {}).items():
            if final.label is not Label.POSITIVE:
                continue
            positive = group.candidates[slot]
            name = f"{names[group.id]}_{slot}{positive.suffix}"
            link_or_copy(positive, folder / "positive" / name)
            if group.original.suffix == positive.suffix:
                link_or_copy(group.original, folder / "original" / name)
            else:  # equal names need equal endings
                write_image(folder / "original" / name, read_image(group.original))
            height, width = image_size(positive)
            lines.append(f"{name} ({height},{width},3)\n")
    if not lines:
        raise InvalidInput(f"'{dataset.path}' has no positives to export.")
    (folder / "meta_info.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
    return len(lines)


def preference_rows(dataset: Dataset, computed: Finals, *, with_original: bool) -> Iterator[dict[str, Any]]:
    """A row a pair of one group whose final labels differ: Positive over Similar over Negative.

    The original counts as Similar. The margin is the difference of the two pictures' scores, a score being the share
    of Positive votes less the share of Negative ones (the original's is 0): in [-2, 2], and small where people
    disagreed. Paths are relative to the dataset.
    """
    for group in dataset.groups:
        finals = computed.get(group.id, {})
        if not finals:
            continue
        shown = [_Shown(group.candidates[slot], final.label, final) for slot, final in finals.items()]
        if with_original:
            shown.insert(0, _Shown(group.original, Label.SIMILAR, None))
        for first, second in itertools.combinations(shown, 2):
            if first.label is second.label:
                continue
            better, worse = sorted((first, second), key=lambda picture: -_RANK[picture.label])
            yield {
                "group": group.id,
                "split": group.split,
                "better": better.path.relative_to(dataset.path).as_posix(),
                "worse": worse.path.relative_to(dataset.path).as_posix(),
                "better_label": str(better.label),
                "worse_label": str(worse.label),
                "margin": round(better.score - worse.score, 6),
                "better_votes": better.votes,
                "worse_votes": worse.votes,
            }


class _Shown:
    """One picture of a group as people judged it; `final` is None for the original."""

    def __init__(self, path: Path, label: Label, final: Final | None) -> None:
        self.path, self.label = path, label
        self.votes = None if final is None else vote_counts(final)
        self.score = 0.0 if final is None else final.fractions[Label.POSITIVE] - final.fractions[Label.NEGATIVE]


def vote_counts(final: Final) -> dict[str, int]:
    """How many people gave each label."""
    return {str(label): round(final.fractions[label] * final.votes) for label in Label}


# Hugging Face ---------------------------------------------------------------------------------------------------------


def write_huggingface(folder: Path, dataset: Dataset, computed: Finals) -> dict[str, int]:
    """A folder that `datasets.load_dataset` opens: a row a labelled candidate, with its original; rows by split.

    <split>/original/NAME.png and <split>/candidate/NAME_01.png are the pictures, <split>/metadata.parquet the rows, and
    README.md the card. The rows are Parquet and not JSON Lines because `datasets` guesses the types of the latter
    anew in each split: a name like a date becomes a time there, and a column without values in one split no column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not computed:
        raise InvalidInput(f"'{dataset.path}' has no final labels to export.")
    names = flat_names(dataset)
    splits: dict[str, list[dict[str, Any]]] = {}
    for group in dataset.groups:
        if group.id not in computed:
            continue
        split = group.split or "train"
        if not re.fullmatch(r"\w+(\.\w+)*", split):  # what `datasets` takes as the name of a split
            raise InvalidInput(f"The split {split!r} of group '{group.id}' cannot be exported: it must be one word.")
        splits.setdefault(split, []).extend(_candidate_rows(folder / split, group, names[group.id], dataset, computed))
    text, whole = pa.string(), pa.int32()
    types = {"votes": whole, "positive": whole, "similar": whole, "negative": whole, "y": whole, "x": whole}
    for split, rows in splits.items():
        schema = pa.schema([(name, types.get(name, text)) for name in rows[0]])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / split / "metadata.parquet")
    counts = {split: len(rows) for split, rows in splits.items()}
    (folder / "README.md").write_text(_card(dataset, counts), encoding="utf-8", newline="\n")
    return counts


def _candidate_rows(
    folder: Path, group: Group, name: str, dataset: Dataset, computed: Finals
) -> Iterator[dict[str, Any]]:
    """The rows of one group, whose pictures are put in place."""
    original = f"original/{name}{group.original.suffix}"
    link_or_copy(group.original, folder / original)
    for slot, final in computed[group.id].items():
        candidate = f"candidate/{name}_{slot}{group.candidates[slot].suffix}"
        link_or_copy(group.candidates[slot], folder / candidate)
        yield {
            "original_file_name": original,
            "candidate_file_name": candidate,
            "group": group.id,
            "slot": slot,
            "enhancer": dataset.enhancer_names[slot],
            "label": str(final.label),
            "votes": final.votes,
            **{label.lower(): count for label, count in vote_counts(final).items()},
            "source": group.source,
            "source_sha256": group.source_sha256,
            "y": group.y,
            "x": group.x,
        }


_CARD = """---
{header}---

# Labelled patch groups

Each row is one enhanced version of a patch (`candidate`) beside the patch itself (`original`), with what its annotators
said of it: `label` is the majority of `votes` votes (a tie is Similar), of which `positive`, `similar` and `negative`
are the counts. Positive: better than the original; Similar: about the same; Negative: worse. `enhancer` made the
candidate in slot `slot`; `source`, `y` and `x` say which photo the patch is from and where (pixels).

{splits}

Enhancers:

{enhancers}

Made by `goldeye labels export --format huggingface`. The licence is that of the photos.
"""


def _card(dataset: Dataset, counts: Mapping[str, int]) -> str:
    """The dataset card: which files are which split, and what the columns mean."""
    files = [{"split": split, "path": f"{split}/**"} for split in counts]
    header = {
        "task_categories": ["image-to-image"],
        "tags": ["super-resolution", "image-quality", "human-feedback"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    known = {enhancer.slot: enhancer for enhancer in dataset.settings.enhancers}
    enhancers = []
    for slot, name in dataset.enhancer_names.items():
        sha256 = known[slot].weights_sha256 if slot in known else None
        enhancers.append(f"- {slot}: {name}" + (f" (SHA-256 of the weights: {sha256})" if sha256 else ""))
    return _CARD.format(
        header=yaml.safe_dump(header, sort_keys=False),
        splits="\n".join(f"- {split}: {count} rows" for split, count in counts.items()),
        enhancers="\n".join(enhancers),
    )

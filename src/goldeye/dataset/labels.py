"""From votes to final labels, and the paper's three tables of them (HGGT Tables 1-3; REFERENCE §5).

A final label is always computed from the votes, never stored.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from goldeye.dataset.groups import Dataset
from goldeye.errors import InvalidInput


class Label(StrEnum):
    """What a person says of a candidate beside the original: better, about the same, worse."""

    POSITIVE = "Positive"
    SIMILAR = "Similar"
    NEGATIVE = "Negative"


@dataclass(frozen=True)
class Vote:
    """One person's answer for one candidate of one group.

    `voter` is a person (store) or a slot A, B, C… (official files); `seconds` is the voter's time on the whole group,
    the same for each of its candidates, None when unknown.
    """

    group: str
    candidate: str
    label: Label
    voter: str
    seconds: float | None = None


@dataclass(frozen=True)
class VoteTable:
    """The votes that count: one per (group, candidate, voter)."""

    votes: tuple[Vote, ...]
    source: str  # "store", "labels" or "store+labels"
    annotators_are: str  # "people" or "slots"

    @property
    def voters(self) -> tuple[str, ...]:
        return tuple(sorted({vote.voter for vote in self.votes}))


@dataclass(frozen=True)
class Final:
    """The computed label of one candidate. `agreeing`: how many votes gave that very label (1 of 3 when all differ)."""

    label: Label
    agreeing: int
    votes: int
    fractions: Mapping[Label, float] = field(default_factory=dict)


def final_label(labels: Sequence[Label]) -> Label:
    """The most frequent label; Similar when several are equally frequent, as with three different votes."""
    if not labels:
        raise ValueError("a final label needs at least one vote")
    ranked = Counter(labels).most_common()
    if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
        return Label.SIMILAR
    return ranked[0][0]


def finals(dataset: Dataset, votes: VoteTable | None = None, *, min_votes: int = 1) -> dict[str, dict[str, Final]]:
    """{group id: {slot: Final}} of the candidates with at least `min_votes` votes, in the dataset's order."""
    table = read_votes(dataset) if votes is None else votes
    cast: dict[tuple[str, str], list[Label]] = {}
    for vote in table.votes:
        cast.setdefault((vote.group, vote.candidate), []).append(vote.label)
    result: dict[str, dict[str, Final]] = {}
    for group in dataset.groups:
        found = {slot: cast[group.id, slot] for slot in dataset.slots if (group.id, slot) in cast}
        computed = {slot: _final(labels) for slot, labels in found.items() if len(labels) >= min_votes}
        if computed:
            result[group.id] = computed
    return result


def _final(labels: Sequence[Label]) -> Final:
    counts = Counter(labels)
    label = final_label(labels)
    return Final(label, counts[label], len(labels), {each: counts[each] / len(labels) for each in Label})


def usable_groups(computed: Mapping[str, Mapping[str, Final]]) -> dict[str, list[str]]:
    """Which groups each training keeps: with a positive, or with a positive or negative (HGGT §3.3, REFERENCE §5)."""
    kept: dict[str, list[str]] = {"positive": [], "positive_negative": []}
    for identity, by_slot in computed.items():
        labels = {final.label for final in by_slot.values()}
        if Label.POSITIVE in labels:
            kept["positive"].append(identity)
        if labels - {Label.SIMILAR}:
            kept["positive_negative"].append(identity)
    return kept


def read_votes(dataset: Dataset, *, database: str | None = None) -> VoteTable:
    """The votes of the annotation store together with the official label files.

    `database` is the store's path or URL when it is not the one dataset.yaml names. A voter counts once a group: where
    the store and a label file have the same voter on the same group, the store's answer stands.
    Raises InvalidInput when there are no votes at all or a label file cannot be used.
    """
    stored = _stored_votes(dataset, database)
    answered = {(vote.group, vote.voter) for vote in stored}
    filed = [vote for vote in _filed_votes(dataset) if (vote.group, vote.voter) not in answered]
    if not stored and not filed:
        raise InvalidInput(
            f"'{dataset.path}' has no votes yet.", hint=f"Collect some with `goldeye annotate {dataset.path}`."
        )
    sources = [name for name, votes in (("store", stored), ("labels", filed)) if votes]
    return VoteTable((*stored, *filed), "+".join(sources), "people" if stored else "slots")


def _stored_votes(dataset: Dataset, database: str | None) -> list[Vote]:
    """Counted votes of the store that fall on the dataset's groups and slots; none where the store does not exist."""
    place = database or dataset.votes_url
    file = place.removeprefix("sqlite:///")
    if "://" not in file and not Path(file).exists():  # opening the store would make it
        if database is not None:
            raise InvalidInput(f"There is no annotation database '{file}'.")
        return []
    from goldeye.annotate.store import Store

    groups = {group.id for group in dataset.groups}
    with closing(Store(place)) as store:
        counted = store.counted_votes()
    return [
        Vote(vote.group, vote.candidate, Label(vote.label), vote.person, vote.seconds)
        for vote in counted
        if vote.group in groups and vote.candidate in dataset.slots
    ]


def _filed_votes(dataset: Dataset) -> list[Vote]:
    """Votes of labels/<range>/<slot>/NAME.json for the dataset's groups."""
    by_range: dict[str, dict[str, str]] = {}
    for group in dataset.groups:
        by_range.setdefault(group.range, {})[group.name] = group.id
    votes = []
    for range_, names in by_range.items():
        folder = dataset.path / "labels" / range_
        if not folder.is_dir():
            continue
        for voter in sorted(child for child in folder.iterdir() if child.is_dir()):
            for path in sorted(voter.glob("*.json")):
                if path.stem in names:
                    votes += [v for v in read_official(path, names[path.stem]) if v.candidate in dataset.slots]
    return votes


def read_official(path: Path, group: str) -> list[Vote]:
    """The votes of one official label file: `Picture_1…N: {"Name", "File", "Label"}` and `Time_cost`.

    `File` is the slot; the original carries no label. The voter is the name of the file's folder (A, B, C…).
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pictures = {key: value for key, value in content.items() if key.startswith("Picture_")}
        seconds = content.get("Time_cost", {}).get("Total")
        votes = []
        for key, picture in pictures.items():
            slot, label = picture["File"], picture["Label"]
            if slot == "original":
                continue
            if label not in set(Label):
                raise InvalidInput(f"'{path}': {key} has the label {label!r}; known are {', '.join(Label)}.")
            votes.append(Vote(group, slot, Label(label), path.parent.name, None if seconds is None else float(seconds)))
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"'{path}' is not a label file in the official form.") from error
    return votes


def label_stats(dataset: Dataset, votes: VoteTable | None = None) -> dict[str, Any]:
    """The figures of `goldeye labels stats` in DESIGN §1's form."""
    table = read_votes(dataset) if votes is None else votes
    computed = finals(dataset, table)
    usable = usable_groups(computed)
    positives = [sum(final.label is Label.POSITIVE for final in slots.values()) for slots in computed.values()]
    times = {(vote.group, vote.voter): vote.seconds for vote in table.votes if vote.seconds is not None}
    return {
        "groups": len(dataset.groups),
        "labelled_groups": len(computed),
        "annotators": len(table.voters),
        "annotators_are": table.annotators_are,
        "source": table.source,
        "annotations": _count(dataset.slots, [(vote.candidate, vote.label) for vote in table.votes]),
        "final": _count(dataset.slots, [(slot, f.label) for slots in computed.values() for slot, f in slots.items()]),
        "positives_per_group": [positives.count(number) for number in range(len(dataset.slots) + 1)],
        "usable_groups": {name: len(groups) for name, groups in usable.items()},
        "seconds_per_group": {
            "mean": statistics.fmean(times.values()) if times else None,
            "median": statistics.median(times.values()) if times else None,
        },
    }


def _count(slots: Sequence[str], labelled: Sequence[tuple[str, Label]]) -> dict[str, dict[str, int]]:
    """{slot: {label: how many}} with a last row "total"."""
    counts = Counter(labelled)
    table = {slot: {str(label): counts[slot, label] for label in Label} for slot in slots}
    table["total"] = {str(label): sum(row[label] for row in table.values()) for label in Label}
    return table


def stats_text(stats: Mapping[str, Any], names: Mapping[str, str] | None = None) -> str:
    """The paper's Tables 1-3 as text; `names` (slot → enhancer) puts names beside the slots."""
    who = "annotators" if stats["annotators_are"] == "people" else "annotator slots"
    groups, usable, time = stats["positives_per_group"], stats["usable_groups"], stats["seconds_per_group"]
    lines = [
        f"{stats['labelled_groups']} of {stats['groups']} groups have votes, from {stats['annotators']} {who} "
        f"({stats['source']}).",
        "",
        "Table 1: annotations per model",
        *_label_rows(stats["annotations"], names or {}),
        "",
        "Table 2: final labels per model",
        *_label_rows(stats["final"], names or {}),
        "",
        "Table 3: groups by their number of positives",
        *_table([["positives", *map(str, range(len(groups)))], ["groups", *map(str, groups)]]),
        "",
        f"Training keeps {usable['positive']} groups (positives only) or {usable['positive_negative']} (positives and "
        "negatives).",
    ]
    if time["mean"] is not None:
        lines.append(f"A group took {time['mean']:.2f} s on average, {time['median']:.2f} s in the median.")
    return "\n".join(lines)


def _label_rows(table: Mapping[str, Mapping[str, int]], names: Mapping[str, str]) -> list[str]:
    titles = {slot: f"{slot} {names[slot]}" if names.get(slot, slot) != slot else slot for slot in table}
    rows = [[titles[slot], *(str(row[label]) for label in Label)] for slot, row in table.items()]
    return _table([["model", *Label], *rows])


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]

"""What a study found: one document of figures, from the votes that count.

A figure with two intervals: `wilson95` takes votes as independent, which those of one person, and those on one picture,
are not; `bootstrap95` draws people and pictures anew and keeps their votes together. Formulas: statistics.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations
from statistics import median
from typing import Any, TypeVar

import numpy as np

from goldeye.annotate.store import Store
from goldeye.annotate.tasks import RATING
from goldeye.intervals import wilson
from goldeye.study.settings import LEVELS, Item, Study
from goldeye.study.statistics import (
    PRIOR,
    Floats,
    bradley_terry,
    interval,
    resample,
    sign_test,
)

K = TypeVar("K")

PASS_MARK = 0.75  # share of attention checks that a person must get right
SIDE_BIAS = 0.001  # p of the sign test of left against right below which a person's choices follow the side
INDEPENDENT = (
    "Wilson intervals and sign tests take votes as independent; those of one person, and those on one picture, are "
    "not. "
)
RESAMPLED = (
    "Bootstrap intervals draw people and pictures anew and hold for people and pictures like these; they err to the "
    "wide side where people hardly differ."
)


@dataclass(frozen=True)
class Vote:
    """One judged item: the slots as they were shown and the chosen one of a pair, or a slot and its level."""

    picture: str
    slots: tuple[str, ...]  # from left to right
    answer: str  # a slot, or a level "0" to "5"
    person: str
    seconds: float
    time: datetime


@dataclass(frozen=True)
class StudyVotes:
    """The votes of a study that count, and what each person answered to the attention checks (True: right)."""

    votes: Sequence[Vote]
    checks: Mapping[str, Sequence[bool]]

    def without(self, people: set[str]) -> StudyVotes:
        """The votes of all others."""
        return replace(self, votes=[vote for vote in self.votes if vote.person not in people])


def read_study_votes(study: Study, store: Store, *, names: bool = False) -> StudyVotes:
    """Votes and checks from a store; people by pseudonym, or by name with `names`."""
    items: dict[str, Item] = {item.id: item for item in study.items()}
    # In this order, since people may be at work: what is read later knows all that was read before.
    counted, given = store.counted_votes(), store.assignments()
    called = {person.name: person.name if names else person.pseudonym for person in store.people()}
    orders = {(row.group, row.person): row.order for row in given if row.kind == "normal"}
    votes = []
    for vote in counted:
        item = items.get(vote.group)
        # Whoever was forgotten this very moment is there under the pseudonym next time.
        if item is not None and vote.candidate in item.slots and vote.person in called:
            shown = tuple(orders[vote.group, vote.person])
            answer = vote.candidate if study.settings.kind == "pair" else vote.label
            votes.append(Vote(item.picture, shown, answer, called[vote.person], vote.seconds, vote.ended))
    checks: dict[str, list[bool]] = {}
    for row in store.gold_answers():  # a check has one candidate whose label is known
        if row.kind == "gold" and row.person in called:
            checks.setdefault(called[row.person], []).append(study.task.is_right(row.given, row.expected))
    return StudyVotes(votes, checks)


def study_results(
    study: Study,
    found: StudyVotes,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    exclude_flagged: bool = False,
    barred: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The figures of `goldeye study results` (goldeye.study/1), over `bootstrap` resamples (0: no such intervals).

    `barred` says of people who should not have taken part why. People with flags are left out with `exclude_flagged`
    only, and are listed all the same.
    """
    settings = study.settings
    people = _people(found, barred or {}, pair=settings.kind == "pair")
    flagged = [name for name, person in people.items() if person["flags"]]
    used = found.without(set(flagged)) if exclude_flagged else found
    for name, person in people.items():
        person["excluded"] = exclude_flagged and name in flagged
    body = _pair_figures if settings.kind == "pair" else _rating_figures
    asked = [answer for answers in found.checks.values() for answer in answers]
    return {
        "kind": settings.kind,
        "title": settings.title,
        "methods": list(study.method_names.values()),
        "pictures": len(settings.pictures),
        "items": len(study.items()),
        "votes_per_item": settings.votes,
        "votes_wanted": len(study.items()) * settings.votes,
        "votes": len(used.votes),
        "people": len({vote.person for vote in used.votes}),
        "median_seconds": _median(used.votes),
        "bootstrap": {"resamples": bootstrap, "seed": seed, "unit": "people and pictures"},
        **body(study, used.votes, bootstrap, seed),
        "checks": {
            "made": len(settings.checks),
            "answered": len(asked),
            "right": sum(asked),
            "pass_mark": PASS_MARK,
            "failed": [name for name, person in people.items() if person["failed_checks"]],
        },
        "flagged": flagged,
        "excluded": flagged if exclude_flagged else [],
        "per_person": people,
        "notes": [],
        "intervals": (INDEPENDENT if settings.kind == "pair" else "") + RESAMPLED,
    }


def _grouped(votes: Sequence[Vote], key: Callable[[Vote], K]) -> dict[K, list[Vote]]:
    groups: dict[K, list[Vote]] = {}
    for vote in votes:
        groups.setdefault(key(vote), []).append(vote)
    return groups


# People ---------------------------------------------------------------------------------------------------------------


def _people(found: StudyVotes, barred: Mapping[str, str], *, pair: bool) -> dict[str, dict[str, Any]]:
    """Votes, speed, checks, side and flags of everybody who answered anything."""
    by_person = _grouped(found.votes, lambda vote: vote.person)
    people: dict[str, dict[str, Any]] = {}
    for name in sorted(by_person.keys() | found.checks.keys()):
        votes = by_person.get(name, [])
        checks = found.checks.get(name, ())
        failed = bool(checks) and sum(checks) < PASS_MARK * len(checks)
        flags = [barred[name]] if name in barred else []
        if failed:
            flags.append(f"failed the attention checks: {sum(checks)} of {len(checks)} right")
        row: dict[str, Any] = {"votes": len(votes), "median_seconds": _median(votes)}
        if pair:
            row["left"] = _sides(votes)
            p = row["left"]["sign_test_p"]
            if p is not None and p < SIDE_BIAS:
                side = "left" if row["left"]["share"] > 0.5 else "right"
                flags.append(f"chose the {side} side too often: left {row['left']['left']} of {len(votes)}")
        else:
            row["mean"] = _mean(votes)
            row["levels"] = _levels(votes)
        row["checks"] = {"right": sum(checks), "total": len(checks)}
        people[name] = row | {"failed_checks": failed, "flags": flags}
    return people


def _median(votes: Sequence[Vote]) -> float | None:
    return float(median(vote.seconds for vote in votes)) if votes else None


def _sides(votes: Sequence[Vote]) -> dict[str, Any]:
    """How often the left version was chosen. Sides are drawn at random: whatever people prefer, half is expected."""
    left, total = sum(vote.answer == vote.slots[0] for vote in votes), len(votes)
    return {
        "left": left,
        "total": total,
        "share": left / total if total else None,
        "wilson95": wilson(left, total),
        "sign_test_p": sign_test(left, total),
    }


def _mean(votes: Sequence[Vote]) -> float | None:
    return float(np.mean([int(vote.answer) for vote in votes])) if votes else None


def _levels(votes: Sequence[Vote]) -> list[int]:
    return [sum(vote.answer == level for vote in votes) for level in RATING.labels]


# Sums over votes ------------------------------------------------------------------------------------------------------


def _cells(study: Study, votes: Sequence[Vote], columns: int, add: Callable[[Vote], Mapping[int, float]]) -> Floats:
    """(people, pictures, columns): what each person's votes add on each picture, `add` saying what to which column."""
    people = {name: place for place, name in enumerate(sorted({vote.person for vote in votes}))}
    judged = {vote.picture for vote in votes}
    names = [picture.name for picture in study.settings.pictures if picture.name in judged]
    pictures = {name: place for place, name in enumerate(names)}
    cells = np.zeros((len(people), len(pictures), columns))
    for vote in votes:
        for column, value in add(vote).items():
            cells[people[vote.person], pictures[vote.picture], column] += value
    return cells


def _drawn(cells: Floats, times: int, seed: int) -> Floats:
    """Resampled sums (times, columns); none where one person or one picture says nothing about others."""
    if min(cells.shape[:2]) < 2:
        return np.empty((0, cells.shape[2]))
    return resample(cells, times, seed)


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / below)


# Preferences ----------------------------------------------------------------------------------------------------------


def _pair_figures(study: Study, votes: Sequence[Vote], times: int, seed: int) -> dict[str, Any]:
    slots, names = list(study.method_names), list(study.method_names.values())
    number = len(slots)
    pairs = list(combinations(range(number), 2))

    def won(vote: Vote) -> dict[int, float]:
        winner, loser = _outcome(vote)
        return {slots.index(winner) * number + slots.index(loser): 1.0}

    cells = _cells(study, votes, number * number, won)
    wins = cells.sum(axis=(0, 1)).reshape(number, number)  # [i, j]: how often i was preferred to j
    drawn = _drawn(cells, times, seed).reshape(-1, number, number)
    by_picture = _grouped(votes, lambda vote: vote.picture)
    outcomes = {name: Counter(map(_outcome, by_picture.get(name, ()))) for name in _names(study)}
    return {
        "comparisons": [
            _comparison(names[a], names[b], int(wins[a, b]), int(wins[b, a]))
            | {"bootstrap95": interval(_ratio(drawn[:, a, b], drawn[:, a, b] + drawn[:, b, a]))}
            for a, b in pairs
        ],
        "scores": _scores(names, wins, drawn) if number > 2 and votes else None,
        "sides": _sides(votes),
        "per_picture": {
            name: [
                {
                    "a": names[a],
                    "b": names[b],
                    "a_preferred": counts[slots[a], slots[b]],
                    "b_preferred": counts[slots[b], slots[a]],
                }
                for a, b in pairs
            ]
            for name, counts in outcomes.items()
        },
    }


def _names(study: Study) -> list[str]:
    return [picture.name for picture in study.settings.pictures]


def _outcome(vote: Vote) -> tuple[str, str]:
    """(the slot that was chosen, the other)."""
    left, right = vote.slots
    return (left, right) if vote.answer == left else (right, left)


def _comparison(a: str, b: str, first: int, second: int) -> dict[str, Any]:
    total = first + second
    return {
        "a": a,
        "b": b,
        "votes": total,
        "a_preferred": first,
        "b_preferred": second,
        "a_share": first / total if total else None,
        "wilson95": wilson(first, total),
        "sign_test_p": sign_test(first, total),
    }


def _scores(names: Sequence[str], wins: Floats, drawn: Floats) -> dict[str, Any]:
    """Bradley-Terry scores, best first; of two methods the difference is the log-odds of the preference."""
    scores, needed = bradley_terry(wins)
    samples, _ = bradley_terry(drawn)
    rows = [
        {
            "method": name,
            "score": float(scores[place]),
            "bootstrap95": interval(samples[:, place]),
            "preferred": int(wins[place].sum()),
            "votes": int(wins[place].sum() + wins[:, place].sum()),
        }
        for place, name in enumerate(names)
    ]
    return {
        "methods": sorted(rows, key=lambda row: -row["score"]),
        "prior": PRIOR if needed else 0.0,
        "scale": "log-odds, centred at 0",
    }


# Ratings --------------------------------------------------------------------------------------------------------------


def _rating_figures(study: Study, votes: Sequence[Vote], times: int, seed: int) -> dict[str, Any]:
    slots, names = list(study.method_names), list(study.method_names.values())
    number = len(slots)

    def scored(vote: Vote) -> dict[int, float]:
        place = slots.index(vote.slots[0])
        return {place: int(vote.answer), number + place: 1.0}

    cells = _cells(study, votes, 2 * number, scored)
    totals, drawn = cells.sum(axis=(0, 1)), _drawn(cells, times, seed)
    means = _ratio(totals[:number], totals[number:])
    samples = _ratio(drawn[:, :number], drawn[:, number:])
    by_slot = _grouped(votes, lambda vote: vote.slots[0])
    by_both = _grouped(votes, lambda vote: (vote.picture, vote.slots[0]))
    return {
        "scale": {str(level): word for level, word in enumerate(LEVELS)},
        "lower_is_better": True,
        "ratings": [
            {
                "method": names[place],
                "votes": len(by_slot.get(slot, ())),
                "mean": _number(means[place]),
                "bootstrap95": interval(samples[:, place]),
                "levels": _levels(by_slot.get(slot, ())),
            }
            for place, slot in enumerate(slots)
        ],
        "differences": [
            {
                "a": names[a],
                "b": names[b],
                "mean": _number(means[a] - means[b]),
                "bootstrap95": interval(samples[:, a] - samples[:, b]),
            }
            for a, b in combinations(range(number), 2)
        ],
        "per_picture": {
            name: {
                names[place]: {"votes": len(rated), "mean": _mean(rated)}
                for place, slot in enumerate(slots)
                for rated in (by_both.get((name, slot), []),)
            }
            for name in _names(study)
        },
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

"""How far annotators agree: raw agreement, Fleiss' kappa, Krippendorff's alpha, with bootstrap intervals.

All figures are functions of sums over candidates, so a bootstrap that resamples whole groups is a product of matrices.
Sources: J. L. Fleiss, Measuring Nominal Scale Agreement among Many Raters, 1971, and for unequal numbers of votes
K. L. Gwet, Handbook of Inter-Rater Reliability, 4th ed., 2014; K. Krippendorff, Computing Krippendorff's
Alpha-Reliability, 2011. Formulas: docs/labels.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from goldeye.dataset.groups import Dataset
from goldeye.dataset.labels import Label, VoteTable, read_votes

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SCALE = (Label.NEGATIVE, Label.SIMILAR, Label.POSITIVE)  # the order of the ordinal alpha
_DRAWN = 2**22  # how many drawn groups are held at once
_DEFINED = 0.9  # share of resamples in which a figure must be defined for an interval


def label_agreement(
    dataset: Dataset, votes: VoteTable | None = None, *, bootstrap: int = 1000, seed: int = 0, worst: int = 20
) -> dict[str, Any]:
    """The figures of `goldeye labels agreement`: over all, by candidate, by annotator, and the `worst` groups.

    A figure is {"value", "ci95"}, both None where they are not defined, which "note" explains. The intervals are
    percentiles over `bootstrap` resamples (0: none) of whole groups, because the candidates of a group share voters.
    An annotator's figures compare their votes with the others' on the same candidates.
    """
    table = read_votes(dataset) if votes is None else votes
    ballots = _Ballots.of(dataset, table)
    rows, groups = _candidate_rows(ballots.counts), ballots.unit_group
    own = [ballots.vote_voter == number for number in range(len(ballots.voters))]
    scopes = [_Scope.of(rows, groups)]
    scopes += [_Scope.of(rows[there], groups[there]) for there in ballots.by_slot()]
    pairs = _voter_rows(ballots.counts[ballots.vote_unit], ballots.vote_label)
    scopes += [_Scope.of(pairs[mine], groups[ballots.vote_unit[mine]]) for mine in own]
    resampled = _resample(scopes, len(ballots.groups), bootstrap, seed)
    everything, *parts = zip(scopes, resampled, strict=True)
    by_slot, by_voter = parts[: len(dataset.slots)], parts[len(dataset.slots) :]
    return {
        "groups": len(ballots.groups),
        "annotators": len(ballots.voters),
        "annotators_are": table.annotators_are,
        "source": table.source,
        "bootstrap": {"resamples": bootstrap, "seed": seed, "unit": "group"},
        "all": _shares(ballots.vote_label) | _figures(*everything),
        "candidates": {
            slot: _shares(ballots.vote_label[there[ballots.vote_unit]]) | _figures(*scope)
            for slot, there, scope in zip(dataset.slots, ballots.by_slot(), by_slot, strict=True)
        },
        "per_annotator": {
            voter: _shares(ballots.vote_label[mine]) | _figures(*scope, kappa=False)
            for voter, mine, scope in zip(ballots.voters, own, by_voter, strict=True)
        },
        "worst_groups": _worst_groups(ballots, worst),
    }


@dataclass(frozen=True)
class _Ballots:
    """Votes as arrays: a unit is a candidate of a group that has a vote; labels count 0, 1, 2 along SCALE."""

    groups: Sequence[str]
    slots: Sequence[str]
    voters: Sequence[str]
    counts: Integers  # (units, 3): votes for each label
    unit_group: Integers
    unit_slot: Integers
    vote_unit: Integers
    vote_voter: Integers
    vote_label: Integers

    @classmethod
    def of(cls, dataset: Dataset, table: VoteTable) -> _Ballots:
        known = {group.id for group in dataset.groups}
        votes = [vote for vote in table.counted if vote.group in known and vote.candidate in dataset.slots]
        voted = {vote.group for vote in votes}
        groups = [group.id for group in dataset.groups if group.id in voted]
        voters = sorted({vote.voter for vote in votes})
        group_of, slot_of, voter_of, label_of = (
            {name: number for number, name in enumerate(names)} for names in (groups, dataset.slots, voters, SCALE)
        )
        group = np.array([group_of[vote.group] for vote in votes], np.int64)
        slot = np.array([slot_of[vote.candidate] for vote in votes], np.int64)
        units, unit = np.unique(group * len(dataset.slots) + slot, return_inverse=True)
        label = np.array([label_of[vote.label] for vote in votes], np.int64)
        counts = np.bincount(unit * 3 + label, minlength=len(units) * 3).reshape(-1, 3)
        voter = np.array([voter_of[vote.voter] for vote in votes], np.int64)
        unit_group, unit_slot = np.divmod(units, len(dataset.slots))
        return cls(groups, dataset.slots, voters, counts, unit_group, unit_slot, unit, voter, label)

    def by_slot(self) -> list[npt.NDArray[np.bool_]]:
        """Which units are of each slot."""
        return [self.unit_slot == number for number in range(len(self.slots))]


# A row holds what one candidate adds to the sums: [:9] its coincidences (3 x 3), [9:12] the shares of its votes by
# label, [12] the share of its pairs of votes that agree, [13] whether it has a pair at all.
_COLUMNS = 14


def _candidate_rows(counts: Integers) -> Floats:
    """(units, 3) counts -> (units, 14) rows. Coincidences o_ck = n_c (n_k - [c = k]) / (m - 1), m votes."""
    votes = counts.sum(axis=1)
    paired = votes >= 2
    pairs = np.where(paired, votes - 1, 1)[:, None, None]
    coincidences = counts[:, :, None] * (counts[:, None, :] - np.eye(3)) / pairs
    agreeing = np.trace(coincidences, axis1=1, axis2=2) / votes
    return np.column_stack([coincidences.reshape(-1, 9), counts / votes[:, None], agreeing, paired])


def _voter_rows(counts: Integers, labels: Integers) -> Floats:
    """A row for each vote against the others on its candidate; counts: (votes, 3), labels: (votes,).

    Its coincidences are the pairs (own label, other's label), both ways round, each candidate with weight 2 in all.
    """
    own = np.eye(3)[labels]
    others = counts - own
    left = others.sum(axis=1)
    share = others / np.where(left > 0, left, 1)[:, None]
    pairs = own[:, :, None] * share[:, None, :]
    coincidences = pairs + pairs.transpose(0, 2, 1)
    return np.column_stack(
        [coincidences.reshape(-1, 9), np.zeros((len(labels), 3)), (own * share).sum(axis=1), left > 0]
    )


@dataclass(frozen=True)
class _Scope:
    """What a set of figures is computed from: `sums` (k, 14) of each of the k groups with the numbers `groups`."""

    groups: Integers
    sums: Floats

    @classmethod
    def of(cls, rows: Floats, groups: Integers) -> _Scope:
        there, place = np.unique(groups, return_inverse=True)
        sums = np.zeros((len(there), _COLUMNS))
        np.add.at(sums, place, rows)
        return cls(there, sums)


def _resample(scopes: Sequence[_Scope], groups: int, times: int, seed: int) -> list[Floats]:
    """Sums (times, 14) of every scope over groups drawn with replacement, the same draws for all scopes."""
    rng = np.random.default_rng(seed)
    results = [np.empty((times, _COLUMNS)) for _ in scopes]
    step = max(1, _DRAWN // groups)
    for start in range(0, times, step):
        drawn = rng.integers(groups, size=(min(step, times - start), groups))
        often = np.array([np.bincount(row, minlength=groups) for row in drawn], float)
        for scope, result in zip(scopes, results, strict=True):
            result[start : start + len(drawn)] = often[:, scope.groups] @ scope.sums
    return results


def _figures(scope: _Scope, resampled: Floats, *, kappa: bool = True) -> dict[str, Any]:
    """The figures of a scope with their intervals, and a note where one is missing."""
    total = scope.sums.sum(axis=0)
    names = [name for name in _COMPUTE if kappa or name != "fleiss_kappa"]
    figures: dict[str, Any] = {"candidates": int(total[13])}
    notes = []
    for name in names:
        value, samples = _COMPUTE[name](total), _COMPUTE[name](resampled)
        samples = samples[np.isfinite(samples)]
        enough = len(scope.groups) > 1 and len(samples) >= max(1, _DEFINED * len(resampled))
        ci95 = [float(end) for end in np.percentile(samples, [2.5, 97.5])] if np.isfinite(value) and enough else None
        figures[name] = {"value": float(value) if np.isfinite(value) else None, "ci95": ci95}
    if total[13] == 0:
        notes.append("no candidate has two votes")
    elif any(figures[name]["value"] is None for name in names):
        notes.append("all votes that can be compared are the same label, and then only raw agreement is defined")
    elif len(resampled) and any(figures[name]["ci95"] is None for name in names):
        notes.append("too few groups for an interval")
    return figures | {"note": "; ".join(notes) or None}


def _raw(sums: Floats) -> Floats:
    """Mean over the candidates of the share of pairs of votes that agree; sums: (…, 14)."""
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[..., 12] / sums[..., 13])


def _kappa(sums: Floats) -> Floats:
    """Fleiss' kappa in Gwet's form for unequal numbers of votes: (p_a - p_e) / (1 - p_e)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = sums[..., 9:12] / sums[..., 9:12].sum(axis=-1, keepdims=True)
        expected = np.square(shares).sum(axis=-1)
        return np.asarray(np.where(expected < 1, (_raw(sums) - expected) / (1 - expected), np.nan))


def _alpha(sums: Floats, *, ordinal: bool) -> Floats:
    """Krippendorff's alpha = 1 - (n - 1) sum o_ck d_ck / sum n_c n_k d_ck of the coincidences o.

    d is 1 for different labels (nominal), or the squared distance of their middle ranks (ordinal).
    """
    observed = sums[..., :9].reshape(*sums.shape[:-1], 3, 3)
    counts = observed.sum(axis=-1)
    if ordinal:
        ranks = np.cumsum(counts, axis=-1) - counts / 2
        distance = np.square(ranks[..., :, None] - ranks[..., None, :])
    else:
        distance = 1 - np.eye(3)
    by_chance = (counts[..., :, None] * counts[..., None, :] * distance).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (counts.sum(axis=-1) - 1) * (observed * distance).sum(axis=(-2, -1)) / by_chance
    return np.asarray(np.where(by_chance > 0, 1 - ratio, np.nan))


_COMPUTE: dict[str, Callable[[Floats], Floats]] = {
    "agreement": _raw,
    "fleiss_kappa": _kappa,
    "alpha_nominal": lambda sums: _alpha(sums, ordinal=False),
    "alpha_ordinal": lambda sums: _alpha(sums, ordinal=True),
}


def _shares(labels: Integers) -> dict[str, Any]:
    """How many votes there are, and the share of each label."""
    counts = np.bincount(labels, minlength=3)
    shares = {str(label): float(counts[SCALE.index(label)] / len(labels)) if len(labels) else None for label in Label}
    return {"votes": len(labels), "shares": shares}


def _worst_groups(ballots: _Ballots, most: int) -> list[dict[str, Any]]:
    """The groups whose candidates' votes disagree most: the mean share of disagreeing pairs, then how far apart.

    "distance" is the mean over candidates of the mean difference of two votes in steps of SCALE (0 to 2).
    """
    counts, votes = ballots.counts, ballots.counts.sum(axis=1)
    pairs = np.maximum(votes * (votes - 1) / 2, 1)
    paired = votes >= 2
    apart = counts[:, 0] * counts[:, 1] + counts[:, 1] * counts[:, 2]  # one step
    far = counts[:, 0] * counts[:, 2]
    sums = np.zeros((len(ballots.groups), 3))
    np.add.at(sums, ballots.unit_group, np.column_stack([(apart + far) / pairs, (apart + 2 * far) / pairs, paired]))
    # Rounded, so that groups with equal votes stay in the dataset's order.
    means = (sums[:, :2] / np.maximum(sums[:, 2:], 1)).round(12)
    order = np.lexsort((-means[:, 1], -means[:, 0]))
    return [
        {
            "group": ballots.groups[number],
            "disagreement": float(means[number, 0]),
            "distance": float(means[number, 1]),
            "labels": {
                ballots.slots[ballots.unit_slot[unit]]: {
                    str(label): int(counts[unit, SCALE.index(label)]) for label in Label
                }
                for unit in np.flatnonzero(ballots.unit_group == number)
            },
        }
        for number in order[:most]
        if means[number, 0] > 0
    ]

"""Near-duplicates by perceptual hash, the order of groups, and the split of photos into train and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np


class Hashes:
    """64-bit hashes of what was accepted so far, to be searched for near ones."""

    def __init__(self) -> None:
        self._hashes, self._owners = np.empty(1024, np.uint64), np.empty(1024, np.int64)
        self._count = 0

    def add(self, value: int, owner: int) -> None:
        """Remember a hash; `owner` is the number of its photo."""
        if not value:
            return
        if self._count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
            self._owners = np.concatenate([self._owners, np.empty_like(self._owners)])
        self._hashes[self._count], self._owners[self._count] = value, owner
        self._count += 1

    def nearest(self, value: int, owner: int) -> tuple[int, int] | None:
        """(owner, distance in bits) of the nearest hash of another owner, the first of equals.

        A hash without a bit is that of a flat picture: it tells nothing, and is near to none.
        """
        if not value:
            return None
        distances = np.bitwise_count(self._hashes[: self._count] ^ np.uint64(value))
        distances[self._owners[: self._count] == owner] = 65
        if not self._count or distances.min() > 64:
            return None
        place = int(distances.argmin())
        return int(self._owners[place]), int(distances[place])


def find_twins(hashes: Mapping[str, int], distance: int) -> dict[str, tuple[str, int]]:
    """{photo: (its twin, distance in bits)} of photos near to an earlier one that has no twin itself."""
    kept, names = Hashes(), list(hashes)
    twins: dict[str, tuple[str, int]] = {}
    for number, name in enumerate(names):
        near = kept.nearest(hashes[name], number)
        if near is not None and near[1] <= distance:
            twins[name] = names[near[0]], near[1]
        else:
            kept.add(hashes[name], number)
    return twins


def drop_alike(patches: Sequence[tuple[str, int]], distance: int) -> tuple[list[bool], list[tuple[str, str]]]:
    """Which patches stay, those near to an earlier one of another photo being dropped; the pairs of photos concerned.

    `patches` are (photo, hash).
    """
    kept, numbers = Hashes(), {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in patches))}
    names = list(numbers)
    stays, alike = [], []
    for name, value in patches:
        near = kept.nearest(value, numbers[name])
        stays.append(near is None or near[1] > distance)
        if stays[-1]:
            kept.add(value, numbers[name])
        elif near is not None:
            alike.append((name, names[near[0]]))
    return stays, alike


def by_seed(seed: int, names: Iterable[str]) -> list[str]:
    """The names in an order that seed and name alone decide: neither their order nor their number matters."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def split_photos(
    used: Sequence[str], *, tests: set[str] | None, fraction: float, seed: int, alike: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """{photo: "train" or "test"}: the named `tests`, or `fraction` of the photos, drawn by seed.

    Drawn photos that share a scene, being pairs of `alike`, go the same way.
    """
    if tests is None:
        families = _families(used, alike)
        # A wish for tests is met: at least one photo, and with two or more at least one is left for training.
        count = round(fraction * len(used))
        if 0 < fraction < 1 and len(used) > 1:
            count = min(max(count, 1), len(used) - 1)
        tests = set()
        for first in by_seed(seed, families):
            if len(tests) + len(families[first]) <= count:
                tests |= families[first]
        if count and not tests and len(families) > 1:
            tests = min((families[first] for first in by_seed(seed, families)), key=len)
    return {name: "test" if name in tests else "train" for name in used}


def _families(names: Iterable[str], pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Names joined by pairs, under the least of each family."""
    family: dict[str, set[str]] = {name: {name} for name in names}
    for one, other in pairs:
        if one in family and other in family and family[one] is not family[other]:
            joined = family[one] | family[other]
            family.update(dict.fromkeys(joined, joined))
    return {min(members): members for members in family.values()}

"""Votes in a store, given as the application gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def store_votes(path: Path, answers: Mapping[str, Mapping[str, Mapping[str, str]]]) -> None:
    """{person: {group: {candidate: label}}} answered in a store as the application does, 2 s a candidate."""
    from goldeye.annotate.assign import Assigner, GroupPictures
    from goldeye.annotate.store import Store

    store = Store(path)
    for name, groups in answers.items():
        store.invite(name)
        person = next(person.id for person in store.people() if person.name == name)
        pictures = [GroupPictures(group, Path(), dict.fromkeys(labels, Path())) for group, labels in groups.items()]
        assigner = Assigner(store, pictures)
        while (given := assigner.claim(person)[0]) is not None:
            for position, candidate in enumerate(given.order):
                label = groups[given.group][candidate]
                assigner.answer(person, given.id, position, label, client_id=f"{given.id}-{candidate}", active_ms=2000)
    store.close()

"""Studies of small pictures, and scripted people who judge them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from goldeye.annotate.assign import Assigner
from goldeye.images import write_image
from goldeye.study.run import StudyStore, annotation_settings
from goldeye.study.settings import Method, Study, StudyPicture, StudySettings, Used

SIZE = 32
NOTHING = Used(file="x.png", sha256="0" * 64)


def picture(seed: int, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Noise: pixelation shows on it."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def make_folder(folder: Path, names: Sequence[str], seed: int, size: tuple[int, int] = (SIZE, SIZE)) -> Path:
    """A folder of pictures NAME.png, all different."""
    for number, name in enumerate(names):
        write_image(folder / f"{name}.png", picture(1000 * seed + number, *size))
    return folder


def paper_study(kind: str = "pair", methods: Sequence[str] = "AB", pictures: int = 100, votes: int = 12) -> Study:
    """A study without files, for figures of votes that are given directly."""
    slots = [f"{number:02}" for number in range(1, len(methods) + 1)]
    values = {
        "kind": kind,
        "title": "Which picture looks better?",
        "votes": votes,
        "methods": [Method(slot=slot, name=name, folder=name) for slot, name in zip(slots, methods, strict=True)],
        "reference": "gt" if kind == "rating" else None,
        "pictures": [
            StudyPicture(
                name=f"picture-{number:03}",
                versions=dict.fromkeys(slots, NOTHING),
                reference=NOTHING if kind == "rating" else None,
            )
            for number in range(pictures)
        ],
    }
    return Study(Path("study"), StudySettings.model_validate(values))


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

Judge = Callable[[str, Sequence[str]], Mapping[str, str]]
"""(group's id, candidates as shown from left to right) → {candidate: label}."""


def judge_all(study: Study, judges: Mapping[str, Judge], *, database: str | None = None) -> None:
    """Every person (name → what they answer) judges what the study gives them, until there is nothing left."""
    store = StudyStore(study, database)
    assigner = Assigner(store, study.groups(), annotation_settings(study), task=study.task)
    for name, judge in judges.items():
        store.invite(name)
        person = next(person.id for person in store.people() if person.name == name)
        while (work := assigner.claim(person)[0]) is not None:
            labels = judge(work.group, work.order)
            for place, candidate in enumerate(work.order):
                if candidate in labels:
                    mark = f"{work.id}-{candidate}"
                    assigner.answer(person, work.id, place, labels[candidate], client_id=mark, active_ms=2000)
    store.close()

"""`goldeye study create`: pictures matched and checked, some drawn, attention checks made, the folder written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from goldeye.annotate.store import Store
from goldeye.batch import track
from goldeye.config import to_yaml, validate
from goldeye.dataset.groups import Dataset
from goldeye.errors import InvalidInput, some
from goldeye.files import sha256, write_text
from goldeye.images import Picture, read_image, to_float, to_integers, write_image
from goldeye.images.match import check_sizes, match_pictures
from goldeye.study.run import set_checks
from goldeye.study.settings import CHECKS, SETTINGS, STORE, Study, StudySettings

PAIR_VOTES = 12  # the volunteers of HGGT §5.1
RATING_VOTES = 20  # those of EDL §IV-A, who rated 100 pairs each
RATING_PICTURES = 100
BLOCKS = 64  # along the longer side of a pixelated picture: 8x8 pixels each in a patch of 512
MOST_CHECKS = 4  # unless another number is asked for
VISIBLE = 4 / 255  # the mean change by which a pixelated picture must differ
REFERENCE, LR = "the reference", "the LR"  # titles beside the methods' names


def parse_methods(words: Sequence[str]) -> dict[str, Path]:
    """`NAME=DIR` words as {name: folder}; InvalidInput for another form and for a name that is there twice."""
    methods: dict[str, Path] = {}
    for word in words:
        name, equals, folder = word.partition("=")
        name = name.strip()
        if not (name and equals and folder):
            raise InvalidInput(f"A method is given as NAME=DIR, not '{word}'.")
        if not name.isprintable() or name in (REFERENCE, LR):
            raise InvalidInput(f"A method cannot be called '{name}'.")
        if name in methods:
            raise InvalidInput(f"Two methods are called '{name}'.")
        methods[name] = Path(folder)
    return methods


def create_study(
    output: Path,
    methods: Mapping[str, Path],
    *,
    mos: bool = False,
    reference: Path | None = None,
    lr: Path | None = None,
    number: int | None = None,
    votes: int | None = None,
    checks: int | None = None,
    seed: int = 0,
    title: str | None = None,
    exclude: Sequence[Path] = (),
) -> dict[str, Any]:
    """Make the study `output` of the folders `methods` (name → folder) and return what it holds.

    `number` pictures are drawn by `seed`: all by default, and at most 100 for ratings; `checks` attention checks are
    made: up to 4 by default. Whole or not at all: an existing `output` is refused, and nothing of it is left where
    something is wrong. Raises InvalidInput or ImageError.
    """
    if len(methods) < 2 and not mos:
        raise InvalidInput("A study of pairs compares two methods or more.", hint="Give them as A=DIR B=DIR.")
    if not methods:
        raise InvalidInput("A study needs a method to rate.", hint="Give it as A=DIR.")
    if mos and reference is None:
        raise InvalidInput("Opinion scores are given beside a reference: name its folder with --reference.")
    if title is not None and not (title.strip() and title.isprintable()):
        raise InvalidInput(f"The title must be printable text, not {title!r}.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidInput(f"'{output}' is there already; a study is never written over another.")
    beside = {key: folder for key, folder in ((REFERENCE, reference), (LR, lr)) if folder is not None}
    _refuse_nested({**methods, **beside}, output)
    for dataset in exclude:
        _refuse_without_store(dataset)

    found = match_pictures(methods, beside)
    check_sizes(found, LR if lr is not None else None)
    drawn = _draw(list(found), number if number is not None or not mos else min(RATING_PICTURES, len(found)), seed)
    slots = {name: f"{place:02}" for place, name in enumerate(methods, 1)}

    def used(name: str, key: str, folder: Path) -> dict[str, str]:
        path = found[name][key]
        return {"file": path.relative_to(folder).as_posix(), "sha256": sha256(path)}

    pictures = [
        {
            "name": name,
            "versions": {slots[method]: used(name, method, folder) for method, folder in methods.items()},
            **({"reference": used(name, REFERENCE, reference)} if reference is not None else {}),
            **({"lr": used(name, LR, lr)} if lr is not None else {}),
        }
        for name in track(drawn, "study")
    ]
    kind = "rating" if mos else "pair"
    values = {
        "kind": kind,
        "title": title or ("How good do these pictures look?" if mos else "Which picture looks better?"),
        "votes": votes if votes is not None else RATING_VOTES if mos else PAIR_VOTES,
        "seed": seed,
        "methods": [
            {"slot": slots[method], "name": method, "folder": _stored(folder, output)}
            for method, folder in methods.items()
        ],
        "reference": None if reference is None else _stored(reference, output),
        "lr": None if lr is None else _stored(lr, output),
        "exclude": [_stored(dataset, output) for dataset in exclude],
        "pictures": pictures,
    }
    plan, copies = _checks({name: found[name] for name in drawn}, slots, kind, checks, seed)
    settings = validate(StudySettings, values | {"checks": plan}, "the study")

    output.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        for name, picture in copies.items():
            write_image(work / CHECKS / name, picture)
        store = Store(work / STORE)
        try:
            set_checks(Study(work, settings), store)
        finally:
            store.close()
        write_text(work / SETTINGS, to_yaml(settings))
        work.chmod(0o777 & ~_umask())  # a temporary folder is closed to others
        if output.exists():
            output.rmdir()
        work.rename(output)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    items = len(Study(output, settings).items())
    equal = [
        picture.name
        for picture in settings.pictures
        if len({version.sha256 for version in picture.versions.values()}) < len(picture.versions)
    ]
    return {
        "study": str(output),
        "kind": kind,
        "methods": list(methods),
        "pictures": len(drawn),
        "pictures_found": len(found),
        "items": items,
        "votes_per_item": settings.votes,
        "votes_wanted": items * settings.votes,
        "checks": len(plan),
        "equal_versions": equal,
    }


def created_text(made: Mapping[str, Any]) -> str:
    """What `create_study` returned, for people."""
    equal = made["equal_versions"]
    note = f"Of {len(equal)} pictures two methods have the very same file: {some(equal)}.\n" if equal else ""
    what = "pairs" if made["kind"] == "pair" else "pictures to rate"
    return (
        f"{made['study']}: {made['items']} {what} of {made['pictures']} pictures ({made['pictures_found']} there) by "
        f"{', '.join(made['methods'])}; {made['votes_per_item']} people each, {made['checks']} attention checks.\n"
        f"{note}Serve it with: goldeye study serve {made['study']}"
    )


def _draw(names: list[str], number: int | None, seed: int) -> list[str]:
    if number is None:
        return names
    if not 1 <= number <= len(names):
        raise InvalidInput(f"{number} pictures cannot be drawn: there are {len(names)}.")
    chosen = np.random.default_rng(seed).choice(len(names), size=number, replace=False)
    return [names[place] for place in sorted(chosen)]


def _refuse_nested(folders: Mapping[str, Path], output: Path) -> None:
    """Folders of different titles must hold different pictures, and the study must not lie among them."""
    places = {title: folder.resolve() for title, folder in folders.items()}
    for (one, a), (other, b) in combinations(places.items(), 2):
        if a == b and other not in (REFERENCE, LR):
            raise InvalidInput(f"'{one}' and '{other}' are the same folder '{folders[one]}'.")
        if a in b.parents or b in a.parents:
            raise InvalidInput(f"The folders of '{one}' and '{other}' lie one in the other.")
    study = output.resolve()
    for title, place in places.items():
        if place == study or place in study.parents:
            raise InvalidInput(f"'{output}' lies in the folder of '{title}': choose a place outside.")


def _refuse_without_store(dataset: Path) -> None:
    url = Dataset.open(dataset).votes_url
    if "://" not in url and not Path(url).is_file():
        raise InvalidInput(
            f"'{dataset}' has no annotation store, so that nobody can be known to have annotated it.",
            hint="Leave out --exclude, or name the dataset with the store.",
        )


def _stored(folder: Path, output: Path) -> str:
    """How study.yaml names a folder: relative to the study where both lie below the study's parent, else absolute."""
    place, study = folder.resolve(), output.resolve()
    if study.parent in place.parents:
        return Path(os.path.relpath(place, study)).as_posix()
    return place.as_posix()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# Attention checks -----------------------------------------------------------------------------------------------------


def _checks(
    found: Mapping[str, Mapping[str, Path]], slots: Mapping[str, str], kind: str, number: int | None, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Picture]]:
    """What the checks are, and their pixelated pictures by file name; each check is about another picture.

    Pairs: some method's version beside a pixelated copy of it. Ratings, in turn: the reference itself, and a pixelated
    copy of it. Pictures that pixelation hardly changes are passed over.
    """
    rng = np.random.default_rng([seed, 1])
    plan: list[dict[str, Any]] = []
    copies: dict[str, Picture] = {}
    for place in rng.permutation(len(found)):
        if len(plan) == (MOST_CHECKS if number is None else number):
            break
        name = list(found)[place]
        check: dict[str, Any] = {"picture": name, "kind": "pixelated"}
        if kind == "rating" and len(plan) % 2 == 0:
            plan.append(check | {"kind": "reference"})
            continue
        method = list(slots)[rng.integers(len(slots))]
        picture = read_image(found[name][method if kind == "pair" else REFERENCE])
        coarse = pixelate(picture)
        if np.abs(to_float(picture) - to_float(coarse)).mean() < VISIBLE:
            continue
        check["file"] = f"check-{len(plan) + 1:02}.png"
        copies[check["file"]] = coarse
        plan.append(check | ({"slot": slots[method]} if kind == "pair" else {}))
    if number is not None and len(plan) < number:
        raise InvalidInput(
            f"Only {len(plan)} of {number} attention checks can be made: one a picture, if pixelation shows on it.",
            hint=f"--checks {len(plan)} goes on with these.",
        )
    return plan, copies


def pixelate(picture: Picture) -> Picture:
    """The mean colour of each square block of (H, W, 3), about BLOCKS along the longer side, of 8 pixels or more."""
    height, width = picture.shape[:2]
    side = max(8, round(max(height, width) / BLOCKS))
    rows, columns = np.arange(0, height, side), np.arange(0, width, side)
    sums = np.add.reduceat(np.add.reduceat(to_float(picture), rows, axis=0), columns, axis=1)
    tall, wide = np.diff([*rows, height]), np.diff([*columns, width])
    means = sums / (tall[:, None] * wide)[:, :, None]
    full = means.repeat(tall, axis=0).repeat(wide, axis=1).astype(np.float32)
    return to_integers(full, picture.dtype.type)

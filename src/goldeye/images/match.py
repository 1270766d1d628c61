"""Which pictures of several folders belong together: by name, endings and a common suffix aside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from unicodedata import category

from goldeye.errors import InvalidInput, some
from goldeye.images import find_images, image_size


def match_pictures(versions: Mapping[str, Path], beside: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """{name: {folder's title: picture}} over the folders `versions` and `beside` (title → folder).

    A picture's name is its path inside the folder without ending. Where all pictures of a folder end alike in `_…`, as
    super-resolution results do (`NAME_sr`), that suffix is taken off if more names then agree. InvalidInput, naming the
    pictures, unless the folders of `versions` have the same names and each folder of `beside` has them all.
    """
    stems = {title: _stems(folder) for title, folder in {**versions, **beside}.items()}
    suffixes = _suffixes({title: list(found) for title, found in stems.items()})
    by_name = {
        title: {stem.removesuffix(suffixes[title]): path for stem, path in found.items()}
        for title, found in stems.items()
    }
    names = list(dict.fromkeys(name for title in versions for name in by_name[title]))
    problems = []
    for title in by_name:
        lacking = [name for name in names if name not in by_name[title]]
        if lacking:
            problems.append(f"'{title}' lacks {len(lacking)} of {len(names)} pictures: {some(lacking)}")
    if problems:
        raise InvalidInput(
            f"The folders do not hold the same pictures: {'; '.join(problems)}.",
            hint="Pictures are matched by their names, endings and a suffix common to all of a folder aside.",
        )
    return {name: {title: found[name] for title, found in by_name.items()} for name in sorted(names)}


def _stems(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder '{folder}'.")
    found: dict[str, Path] = {}
    for path in find_images(folder):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if any(category(letter) in ("Cc", "Cs") for letter in stem):  # Cs: bytes that are no UTF-8
            raise InvalidInput(f"The name of {str(path)!r} holds characters that are no text.")
        if stem in found:
            raise InvalidInput(f"'{found[stem]}' and '{path}' have the same name.")
        found[stem] = path
    return found


def _suffixes(stems: Mapping[str, list[str]]) -> dict[str, str]:
    """The suffix to take off in each folder, so that most names agree; the shortest ones where that is equal."""
    choices = {title: _common_suffixes(found) for title, found in stems.items()}
    stripped = {
        (title, suffix): {stem.removesuffix(suffix) for stem in stems[title]}
        for title, suffixes in choices.items()
        for suffix in suffixes
    }
    best: tuple[int, int, dict[str, str]] | None = None
    for names in stripped.values():
        chosen = {
            title: max(suffixes, key=lambda suffix: (len(stripped[title, suffix] & names), -len(suffix)))
            for title, suffixes in choices.items()
        }
        agreeing = sum(len(stripped[title, suffix] & names) for title, suffix in chosen.items())
        rank = (agreeing, -sum(map(len, chosen.values())))
        if best is None or rank > best[:2]:
            best = (*rank, chosen)
    assert best is not None
    return best[2]


def _common_suffixes(stems: list[str]) -> list[str]:
    """What all names of a folder end in, from some `_` on, and the empty suffix; of one name nothing can be told."""
    if len(stems) < 2:
        return [""]
    name = min((Path(stem).name for stem in stems), key=len)
    endings = [name[place:] for place, letter in enumerate(name) if letter == "_" and place > 0]
    return ["", *(ending for ending in endings if all(stem.endswith(ending) for stem in stems))]


def check_sizes(pictures: Mapping[str, Mapping[str, Path]], lr: str | None) -> None:
    """InvalidInput unless all pictures of one name have one size, and `lr` (a folder's title) a whole factor less."""
    for name, found in pictures.items():
        sizes = {title: image_size(path) for title, path in found.items()}
        small = sizes.pop(lr) if lr is not None else None
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{title} {width}x{height}" for title, (height, width) in sizes.items())
            raise InvalidInput(f"The versions of '{name}' differ in size: {told}.")
        height, width = next(iter(sizes.values()))
        if small is not None and (
            small == (height, width)
            or (height % small[0], width % small[1]) != (0, 0)
            or height * small[1] != width * small[0]
        ):
            raise InvalidInput(
                f"The LR picture of '{name}' has {small[1]}x{small[0]} pixels, which is not {width}x{height} divided "
                "by a whole number."
            )

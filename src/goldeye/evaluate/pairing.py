"""Which results, ground truths and inputs belong together: by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from goldeye.dataset.groups import Dataset
from goldeye.errors import InvalidInput
from goldeye.evaluate.multi_gt import AGAINST, dataset_targets
from goldeye.images import find_images


@dataclass
class Pairing:
    """Pictures by name; `targets` is None where there is no ground truth, `names` are those that can be measured.

    `expected` counts the pictures there are to compare with (the results, without ground truth), `without_result` those
    of them that lack a result.
    """

    results: dict[str, Path]
    targets: dict[str, dict[str, Path]] | None
    inputs: dict[str, Path]
    compared_with: str
    expected: int = 0
    without_result: int = 0
    names: list[str] = field(default_factory=list)
    excluded: list[dict[str, Any]] = field(default_factory=list)


def pair_pictures(
    sr: Path,
    suffix: str,
    *,
    gt: Path | None,
    dataset: Path | None,
    split: str | None,
    against: str,
    lr: Path | None,
    lr_suffix: str,
) -> Pairing:
    """Which pictures `evaluate_folder` measures, by the rules it tells; InvalidInput when no names agree."""
    results, unnamed = by_name(sr, suffix)
    targets: dict[str, dict[str, Path]] | None = None
    compared_with = "the picture of the same name"
    if gt is not None:
        targets = {name: {"gt": path} for name, path in by_name(gt, "")[0].items()}
    elif dataset is not None:
        targets, compared_with = dataset_targets(Dataset.open(dataset, split), against), AGAINST[against]
    pairing = Pairing(results, targets, {}, compared_with, excluded=[*unnamed])
    known: Mapping[str, Any] = results if targets is None else targets
    common = [name for name in known if name in results]
    if not common:
        against_what = f"No picture of '{sr}' has the name of one in '{gt or dataset}'."
        raise InvalidInput(
            f"No picture in '{sr}' has a name that ends in '{suffix}'." if targets is None else against_what,
            hint="Names are compared without their endings; --suffix gives what follows the name in the results.",
        )
    pairing.excluded += [
        {"name": name, "reason": "no ground truth of this name"} for name in results if name not in known
    ]
    # What has nothing to be compared with needs no result.
    bare = {name for name in known if targets is not None and not targets[name]}
    lacking = [name for name in known if name not in results and name not in bare]
    pairing.excluded += [{"name": name, "reason": "no result of this name"} for name in lacking]
    pairing.excluded += [
        {"name": name, "reason": f"no {against.removesuffix('s')} candidate"} for name in known if name in bare
    ]
    pairing.expected, pairing.without_result = len(known), len(lacking)
    pairing.names += [name for name in common if name not in bare]
    if lr is not None:
        pairing.inputs = by_name(lr, lr_suffix)[0]
        if not any(name in pairing.inputs for name in common):
            raise InvalidInput(
                f"No picture of '{lr}' has the name of a result in '{sr}'.",
                hint="--lr-suffix gives what follows the name in the inputs.",
            )
    return pairing


def by_name(folder: Path, suffix: str) -> tuple[dict[str, Path], list[dict[str, str]]]:
    """{relative path without ending and suffix: picture}, and what lacks the suffix; InvalidInput for two of a name."""
    found: dict[str, Path] = {}
    excluded = []
    for path in find_images(folder):
        relative = path.relative_to(folder) if folder.is_dir() else Path(path.name)
        name = relative.with_suffix("").as_posix()
        if not name.endswith(suffix):
            excluded.append({"name": name, "reason": f"its name does not end in '{suffix}'"})
            continue
        name = name.removesuffix(suffix)
        if name in found:
            raise InvalidInput(f"'{found[name]}' and '{path}' have the same name.")
        found[name] = path
    return found, excluded

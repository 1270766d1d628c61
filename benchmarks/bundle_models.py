"""Take finished runs over into the package: weights, settings, learning curve and the hashes of the data.

    goldeye pack DATA/bsds500 DATA/photos -o pack
    goldeye train bundled/x4-classic --set data.path=pack -o runs/x4-classic      # and the other bundled/… recipes
    python benchmarks/bundle_models.py runs --pack pack

A run's folder is named as its recipe. The models' names, summaries and licence are in src/goldeye/bundled/models.yaml,
whose hashes and sizes this rewrites; the cards beside it are written by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from goldeye.files import sha256, write_text
from goldeye.networks.known import BUNDLED
from goldeye.networks.weights import load_model, save_weights
from goldeye.train.checkpoint import latest_step
from goldeye.upscale.combine import interpolate

HEAD = "# The models that come with Goldeye. Hashes and sizes: benchmarks/bundle_models.py. Cards: cards/NAME.md.\n"
# ESRGAN's network interpolation: so much of the run's weights, the rest from the model that it started from.
INTERPOLATED = {"goldeye-x4": 0.5}
LICENCE = "research use (WEIGHTS_LICENSE)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder with the runs")
    parser.add_argument("--pack", type=Path, required=True, help="what they were trained on")
    arguments = parser.parse_args()
    _data_hashes(arguments.pack)
    index = BUNDLED / "models.yaml"
    entries = yaml.safe_load(index.read_text(encoding="utf-8"))
    for entry in entries:
        run = arguments.runs / entry["name"].removeprefix("goldeye-")
        if finished(run):
            entry |= _take(run, entry["name"])
            sys.stdout.write(f"{entry['name']}: {entry['size']:,} bytes\n")
        else:
            sys.stderr.write(f"{run} is not there or not finished: {entry['name']} stays as it is.\n")
    write_text(index, HEAD + yaml.safe_dump(entries, sort_keys=False, width=110))


def finished(run: Path) -> bool:
    """Whether a run is there and has reached its last step."""
    if not (run / "config.yaml").is_file():
        return False
    steps = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["steps"]
    return latest_step(run) == int(steps)


def _take(run: Path, name: str) -> dict[str, object]:
    """Copy a run's weights and records; returns what the index says about the file."""
    model = load_model(run)
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    if name in INTERPOLATED:
        share, start = INTERPOLATED[name], load_model(config["generator"]["init"])
        model = replace(model, module=interpolate([model, start], [share, 1 - share]))
    weights, records = BUNDLED / f"{name}.safetensors", BUNDLED / "runs" / name
    own = ("format", "architecture", "config", "scale", "parameters", "licence")
    extra = {key: value for key, value in model.metadata.items() if key not in own} | {"licence": LICENCE}
    if name in INTERPOLATED:
        extra["interpolation"] = f"{INTERPOLATED[name]} of the run, the rest {config['generator']['init']}"
    save_weights(
        weights, model.module, architecture=model.architecture, config=model.config, scale=model.scale, extra=extra
    )
    records.mkdir(parents=True, exist_ok=True)
    config["data"]["path"] = "pack"
    write_text(records / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    write_text(records / "metrics.jsonl", (run / "metrics.jsonl").read_text(encoding="utf-8"))
    return {
        "architecture": model.architecture,
        "scale": model.scale,
        "config": {key: value for key, value in model.config.items() if key != "scale"},
        "size": weights.stat().st_size,
        "sha256": sha256(weights),
    }


def _data_hashes(pack: Path) -> None:
    """runs/data.txt: SHA-256 and name of every picture that the models were trained on."""
    rows = [json.loads(line) for line in (pack / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    settings = yaml.safe_load((pack / "pack.yaml").read_text(encoding="utf-8"))["settings"]
    folders = [Path(folder).name for folder in settings["folders"]]
    lines = [f"{row['sha256']}  {folders[row['folder']]}/{row['name']}" for row in rows if "name" in row]
    write_text(BUNDLED / "runs" / "data.txt", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

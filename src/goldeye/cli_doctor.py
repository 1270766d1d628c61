"""The first steps: what `goldeye` without arguments says, and the `doctor` command."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from goldeye import __version__
from goldeye.cli_output import Json, print_document
from goldeye.runtime import prepare_process

FIRST_STEPS = f"""\
Goldeye {__version__}: photos and people's judgement into a super-resolution model built to please people.

See it all on bundled photos, in minutes:
  goldeye demo -o demo

Upscale a picture:
  goldeye upscale photo.jpg -o large                -n takes another of `goldeye models list`, a file or a run

Train on your own photos, with people's labels:
  1 enhancers    goldeye train tiny/enhance-rcan-noise --set data.path=photos -o runs/a
  2 candidates   goldeye enhance photos -o candidates --enhancer runs/a --enhancer goldeye-enhance-rcan-blur
  3 patches      goldeye select candidates -o dataset
  4 labels       goldeye annotate dataset
  5 figures      goldeye labels stats dataset
  6 SR           goldeye train tiny/compact-posneg --set data.path=dataset -o runs/posneg
  7 measures     goldeye upscale lr -o sr -n runs/posneg
                 goldeye evaluate sr --gt test-photos
  8 preferences  goldeye study create ours=sr theirs=other-sr -o study

goldeye doctor         what is installed, what is missing and how to get it
goldeye --help         all commands; each has --help; README.md and docs/ explain them"""
_WIDTH = 100


def doctor(json_: Json = False) -> None:
    """What is here, what is missing, and how to get it."""
    prepare_process()
    from goldeye.doctor import examine

    found = examine()
    print_document("doctor", found, json_, lambda: doctor_text(found))
    if not found["ok"]:
        raise typer.Exit(1)


def doctor_text(found: Mapping[str, Any]) -> str:
    """The document of `goldeye.doctor.examine` for people."""
    versions = found["versions"]
    head = f"Goldeye {versions['goldeye']}, Python {versions['python']}, {versions['system']}"
    sections = {
        "Libraries": _libraries(found),
        "Devices (speeds are of a trial convolution)": _devices(found["devices"]),
        "Optional parts": _optional(found["optional"]),
        "Weight files (fetched at their first use; without network, place them there)": _weights(found),
        "Known models": _models(found["models"]),
        "Folders": _folders(found["folders"]),
        "Notes": (f"  {note}" for note in found["notes"]),
        "Problems": (f"  {problem}" for problem in found["problems"]),
    }
    lines = [head]
    for title, section in sections.items():
        if rows := list(section):
            lines += ["", title, *rows]
    return "\n".join([*lines, "", found["next"]])


def _libraries(found: Mapping[str, Any]) -> Iterator[str]:
    good = [_named(row) for row in found["libraries"] if not row["problem"]]
    if good:
        yield from _wrapped("  ok       ", f"{', '.join(good)}; libvips {found['versions']['libvips']}")
    for row in found["libraries"]:
        if row["problem"]:
            yield f"  BROKEN   {row['name']}: {row['problem']}"
    if found["formats"]:
        works = [ending for ending, good in found["formats"].items() if good]
        yield f"  pictures {', '.join(works)} can be read and written"


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['name']} {row['version'] or '(of another package)'}"


def _devices(devices: list[dict[str, Any]]) -> Iterator[str]:
    for device in devices:
        memory = "" if device["memory_gib"] is None else f", {device['memory_gib']:g} GiB memory"
        free = "" if device["free_gib"] is None else f", {device['free_gib']:g} GiB free"
        yield f"  {device['name']:8} {device['description']}{memory}{free}"
        for name, row in device["precisions"].items():
            if not row["runs"]:
                yield f"           {name} no: {row['problem']}"
            else:
                speed = "" if name == "fp32" or row["speed"] is None else f", {row['speed']:g} times as fast as fp32"
                yield f"           {name} runs{speed}{' (taken by auto)' if name == device['auto'] else ''}"


def _optional(parts: list[dict[str, Any]]) -> Iterator[str]:
    for part in parts:
        head = f"  {'here' if part['present'] else 'missing':8} {part['extra']:9} "
        lacking = [row for row in part["libraries"] if row["problem"]]
        yield f"{head}{part['for']}" + (f": {part['install']}" if lacking else "")
        absent = [row["name"] for row in lacking if row["version"] is None]
        old = [f"{row['name']}: {row['problem']}" for row in lacking if row["version"] is not None]
        named = [f"not installed: {', '.join(absent)}"] if absent else []
        here = [] if lacking else [", ".join(map(_named, part["libraries"]))]
        yield from _wrapped(" " * len(head), "; ".join([*named, *old, *here]))


def _weights(found: Mapping[str, Any]) -> Iterator[str]:
    for row in found["weights"]:
        yield f"  {row['state']:8} {row['file']} ({row['use']})"
        if row["path"]:
            yield f"           {row['path']}"
        if row["state"] != "right":
            if row["source"].startswith("https:"):
                yield f"           from {row['source']}"
                yield f"           SHA-256 {row['sha256']}"
            else:
                yield f"           comes with {row['source']}: pip install 'goldeye[metrics]'"
    if niqe := found["niqe"]:
        about = f": {niqe['source']}" if niqe["source"] else ""
        yield f"  {niqe['state']:8} {niqe['file'] or 'pristine parameters'} (niqe){about}"
        if niqe["get"]:
            yield from _wrapped(" " * 11, niqe["get"])


def _models(models: Mapping[str, Any] | None) -> Iterator[str]:
    if models is None:
        return
    for model in models["bundled"]:
        yield f"  {model['state']:8} {model['name']} (comes with Goldeye)"
    yield f"  {len(models['cached'])} of {models['known']} in {models['folder']} (goldeye models list)"
    for model in models["cached"]:
        yield f"  {model['state']:8} {model['name']}"


def _folders(folders: list[dict[str, Any]]) -> Iterator[str]:
    for row in folders:
        state = "can be written" if row["writable"] else "CANNOT BE WRITTEN"
        free = "" if row["free_gib"] is None else f", {row['free_gib']:g} GiB free"
        yield f"  {row['path']}: {state}{free} ({row['use']})"

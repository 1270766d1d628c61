"""The `maps` commands: what the methods of the papers look at, as arrays and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from goldeye.cli_output import Device, Json, Output, print_document
from goldeye.errors import InvalidInput

maps_app = typer.Typer(
    no_args_is_help=True, help="Draw and save the maps that LDL, HGGT and EDL weigh their losses and outputs with."
)


def _square(text: str | None) -> tuple[int, int, int] | None:
    """TOP,LEFT,SIDE."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise InvalidInput(f"A crop is TOP,LEFT,SIDE in pixels, such as 0,64,128, not '{text}'.")
    top, left, side = map(int, parts)
    return top, left, side


Crop = Annotated[
    str | None, typer.Option("--crop", metavar="TOP,LEFT,SIDE", help="Only this square, in pixels of the inputs.")
]


@maps_app.command("ldl")
def maps_ldl(
    sr: Annotated[Path, typer.Argument(help="A result.")],
    gt: Annotated[Path, typer.Argument(help="Its ground truth.")],
    output: Output,
    averaged: Annotated[Path | None, typer.Option(help="What the averaged (EMA) weights make of the same LR.")] = None,
    window: Annotated[int, typer.Option(min=3, help="Side of the local variance's window, odd.")] = 7,
    residual: Annotated[str, typer.Option(help="absolute (the official code's) or signed (the paper's).")] = "absolute",
    crop: Crop = None,
    json_: Json = False,
) -> None:
    """LDL: |R|, M, sigma M, and with --averaged M_refine and where |R_sr| < |R_averaged|."""
    from goldeye.maps import draw_ldl

    square = _square(crop)
    _print(draw_ldl(sr, gt, output, averaged=averaged, window=window, residual=residual, crop=square), json_)


@maps_app.command("hggt")
def maps_hggt(
    output: Output,
    dataset: Annotated[Path | None, typer.Argument(help="A labelled dataset; or none, and pictures.")] = None,
    group: Annotated[str | None, typer.Option(help="Of the dataset: all its negatives and positives.")] = None,
    original: Annotated[Path | None, typer.Option(help="Without a dataset: the original picture.")] = None,
    positive: Annotated[Path | None, typer.Option(help="A version that people prefer.")] = None,
    negative: Annotated[Path | None, typer.Option(help="A version that people reject.")] = None,
    vote_weighting: Annotated[
        bool, typer.Option("--vote-weighting/--no-vote-weighting", help="Scale the maps by the shares of votes.")
    ] = True,
    min_votes: Annotated[int, typer.Option(min=1, help="Votes a candidate needs for a final label.")] = 1,
    crop: Crop = None,
    json_: Json = False,
) -> None:
    """HGGT: R^Neg, M^Neg, M^Pos and M^Ind of a dataset's group, or of pictures."""
    from goldeye.maps import draw_hggt_group, draw_hggt_pictures

    square = _square(crop)
    if dataset is not None:
        if original or positive or negative:
            raise InvalidInput("Name a dataset with --group, or pictures, not both.")
        if group is None:
            raise InvalidInput(f"Name a group of '{dataset}' with --group.")
        found = draw_hggt_group(dataset, group, output, vote_weighting=vote_weighting, min_votes=min_votes, crop=square)
    else:
        if group is not None:
            raise InvalidInput(f"Name the dataset that holds the group '{group}'.")
        if original is None or negative is None:
            raise InvalidInput("Name a dataset with --group, or an --original and a --negative picture.")
        if not vote_weighting or min_votes != 1:
            raise InvalidInput("Pictures have no votes: --no-vote-weighting and --min-votes are for a dataset.")
        found = draw_hggt_pictures(original, negative, output, positive=positive, crop=square)
    _print(found, json_)


@maps_app.command("edl")
def maps_edl(
    model: Annotated[str, typer.Argument(help="Weights of EDL: a file, a run folder or a known model's name.")],
    lr: Annotated[Path, typer.Argument(help="An LR picture.")],
    output: Output,
    crop: Crop = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """EDL: the mask of each channel, both branches' outputs and their sum."""
    from goldeye.runtime import prepare_process

    prepare_process()
    from goldeye.devices import choose_device
    from goldeye.maps import draw_edl

    _print(draw_edl(model, lr, output, device=str(choose_device(device)), crop=_square(crop)), json_)


def _print(found: dict[str, Any], as_json: bool) -> None:
    from goldeye.maps import maps_text

    print_document("maps", found, as_json, lambda: maps_text(found))

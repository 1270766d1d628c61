"""`goldeye pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goldeye.cli_output import Json, Output, Quiet, print_document


def pack(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER…", help="Photos, GT pictures, or a dataset.")],
    output: Output,
    lr: Annotated[
        list[Path] | None, typer.Option(help="Of pairs: the LR pictures of a FOLDER; once for each of them.")
    ] = None,
    dataset: Annotated[bool, typer.Option("--dataset", help="FOLDER is a dataset of patch groups.")] = False,
    size: Annotated[int, typer.Option(min=0, help="Side of a sub-image in pixels; 0: whole pictures.")] = 480,
    step: Annotated[int, typer.Option(min=1, help="Between sub-images.")] = 240,
    multiscale: Annotated[
        bool, typer.Option("--multiscale", help="Shrunk copies, too: .75, .5, 1/3, and a shortest side of 400.")
    ] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Cut training pictures into sub-images that a loader reads without decoding."""
    from goldeye.dataset.packing import make_pack, pack_text

    result, record = make_pack(
        folders, output, lr_folders=lr or (), dataset=dataset, size=size, step=step, multiscale=multiscale
    )
    for item in result.failed:
        typer.echo(f"failed: {item['input']}: {item['error']}", err=True)
    items = {"done": result.done, "skipped": result.skipped, "failed": result.failed}
    document = {"pack": str(output), **record.model_dump(mode="json"), **items}
    print_document("pack", document, json_, lambda: pack_text(output, record))
    if result.failed:
        raise typer.Exit(1)

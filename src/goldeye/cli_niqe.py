"""The `niqe` commands: pristine parameters for the metric of that name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from goldeye.cli_output import Json, Quiet, print_document

niqe_app = typer.Typer(no_args_is_help=True, help="Pristine parameters for the NIQE metric.")


@niqe_app.callback()
def niqe() -> None:
    """Pristine parameters for the NIQE metric."""


@niqe_app.command("fit")
def niqe_fit(
    folder: Annotated[Path, typer.Argument(help="A folder of sharp, unprocessed photos.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .npz file to write.")],
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit NIQE's pristine statistics to the sharp blocks of a folder of photos."""
    from goldeye.evaluate.niqe import fit_folder, fit_text

    made = fit_folder(folder, output)
    print_document("niqe", made, json_, lambda: fit_text(made))
    if made["excluded"]:
        raise typer.Exit(1)

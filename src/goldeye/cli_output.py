"""What the command line's modules share: the options that many commands have, and how a document is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from goldeye import batch
from goldeye.errors import unknown_name
from goldeye.runtime import is_main_process

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bars.", callback=lambda v: batch.set_quiet(v))]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all randomness.")]
Database = Annotated[str | None, typer.Option(help="The store, when it is another: a file, or a PostgreSQL URL.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Where the results go.")]


def known_form(value: str) -> str:
    """A `--format` of tables, or InvalidInput."""
    known = ("text", "md", "csv", "json")
    if value not in known:
        raise unknown_name("format", value, known)
    return value


Form = Annotated[str, typer.Option("--format", help="text, md, csv or json.", callback=known_form)]


class Answer:
    """Whether the command has printed its one document: a server prints its address, and is stopped later."""

    given = False


def print_document(command: str, document: dict[str, Any], as_json: bool, text: Callable[[], str]) -> None:
    """One JSON document, or the text for people; of several processes that torchrun started, the first prints it."""
    if not is_main_process():
        return
    Answer.given = True
    if as_json:
        typer.echo(json.dumps({"schema": f"goldeye.{command}/1"} | document, allow_nan=False))
    else:
        typer.echo(text())

"""The `benchmark` commands: models x test sets as tables and a page, and the learning curves of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from goldeye.cli_output import Device, Json, Output, Quiet, print_document
from goldeye.runtime import prepare_process


class _RunsByDefault(TyperGroup):
    """A command that is also a group: what is not the name of a subcommand goes to the command `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


benchmark_app = typer.Typer(
    cls=_RunsByDefault,
    no_args_is_help=True,
    help=(
        "Models x test sets: `benchmark CONFIG.yaml -o OUT` makes tables and a page, `benchmark curves RUN…` the "
        "learning curves of training runs."
    ),
)


@benchmark_app.command("run")
def benchmark_run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file: models, sets, metrics.")],
    output: Output,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="All pictures inside index.html, for sending it to somebody.")
    ] = False,
    device: Device = "auto",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure models on test sets; the word `run` may be left out. What is measured already is not measured again."""
    prepare_process()
    from goldeye.evaluate.benchmark import run_benchmark
    from goldeye.evaluate.report import tables_text

    document = run_benchmark(config, output, device=device, single_file=single_file)
    for item in document["failed"]:
        typer.echo(f"failed: {item['input']} ({item['model'] or item['set']}): {item['error']}", err=True)
    counts = ", ".join(f"{len(document[key])} {words}" for key, words in _COUNTED.items())
    print_document(
        "benchmark",
        document,
        json_,
        lambda: f"{tables_text(document)}\n\n{counts}. Page: {output / 'index.html'}",
    )
    if document["failed"] or any(each.get("failed") for row in document["results"] for each in row["excluded"]):
        raise typer.Exit(1)


_COUNTED = {"done": "measured", "skipped": "known already", "failed": "pictures failed"}


@benchmark_app.command("curves")
def benchmark_curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders of training runs.")],
    output: Output,
    config: Annotated[Path, typer.Option(help="A benchmark's YAML file: its sets, scale, metrics and patches count.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="Only this set; may be given again.")] = None,
    period: Annotated[
        int | None, typer.Option(min=1, help="p of the stability curve in steps (default: between two checkpoints).")
    ] = None,
    device: Device = "auto",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Metrics of every checkpoint of runs, and how much their results change in between (LDL, Fig. 4)."""
    prepare_process()
    from goldeye.evaluate.curves import curves_text, learning_curves

    document = learning_curves(runs, config, output, sets=sets or (), period=period, device=device)
    for item in document["failed"]:
        typer.echo(f"failed: {item['input']} ({item['model'] or item['set']}): {item['error']}", err=True)
    print_document("benchmark-curves", document, json_, lambda: curves_text(document))
    if document["failed"]:
        raise typer.Exit(1)

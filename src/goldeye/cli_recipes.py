"""The `recipes` commands: what ships, recipes made of BasicSR's option files, and the schema for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from goldeye.cli_output import Json, Output, print_document

recipes_app = typer.Typer(no_args_is_help=True, help="Training recipes: shipped ones, and BasicSR's option files.")


@recipes_app.command("list")
def recipes_list(json_: Json = False) -> None:
    """Names and one line each."""
    from goldeye.config import load_recipe, recipe_names

    found = [(name, load_recipe(name)) for name in recipe_names()]
    rows = [{"name": name, "summary": config.summary, "table": config.table} for name, config in found]
    print_document(
        "recipes", {"recipes": rows}, json_, lambda: "\n".join(f"{r['name']:28} {r['summary']}" for r in rows)
    )


@recipes_app.command("show")
def recipes_show(
    name: str, settings: Annotated[list[str] | None, typer.Option("--set")] = None, json_: Json = False
) -> None:
    """The fully resolved configuration of a recipe."""
    from goldeye.config import load_recipe, to_yaml

    config = load_recipe(name, settings)
    print_document(
        "recipes", {"name": name, "config": config.model_dump(mode="json")}, json_, lambda: to_yaml(config).rstrip()
    )


@recipes_app.command("import")
def recipes_import(
    options: Annotated[Path, typer.Argument(metavar="OPTIONS.yml", help="A training option file of BasicSR's family.")],
    output: Output,
    like: Annotated[
        str | None, typer.Option(help="Read an unknown model_type as this one, such as RealESRGANModel.")
    ] = None,
    json_: Json = False,
) -> None:
    """Make a recipe of an option file of BasicSR, Real-ESRGAN, ESRGAN, LDL or HGGT, and say what became of each key."""
    from goldeye.basicsr import import_file, report

    made = import_file(options, output, like=like)
    print_document("recipes", made, json_, lambda: report(made))


@recipes_app.command("schema")
def recipes_schema(json_: Json = False) -> None:
    """The JSON schema of a recipe file, for editors."""
    from goldeye.recipe_schema import recipe_schema

    schema = recipe_schema()
    print_document("recipes", {"recipe": schema}, json_, lambda: json.dumps(schema, indent=1))

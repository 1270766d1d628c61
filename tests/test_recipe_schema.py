"""`goldeye recipes schema`: what ships is valid by it, and mistakes are seen in the editor."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import option_files
from goldeye.basicsr import import_file
from goldeye.cli import run
from goldeye.config import load_recipe, recipe_names, to_yaml
from goldeye.recipe_schema import recipe_schema

SCHEMA = recipe_schema()


def errors(text: str) -> list[str]:
    """What an editor would underline: the path, and the rule that is broken."""
    found = Draft202012Validator(SCHEMA).iter_errors(yaml.safe_load(text))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def test_it_is_a_schema_of_its_draft():
    assert SCHEMA["$schema"].endswith("2020-12/schema")
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid_as_written_and_resolved(name):
    written = resources.files("goldeye").joinpath(f"recipes/{name}.yaml").read_text(encoding="utf-8")
    assert errors(written) == []
    assert errors(to_yaml(load_recipe(name))) == []


def test_an_imported_recipe_is_valid(tmp_path):
    for number, (options, like) in enumerate(
        [(option_files.ESRGAN, None), (option_files.hggt(), "RealESRGANModel"), (option_files.real_esrgan(), None)]
    ):
        source = option_files.write(tmp_path / "options.yml", options)
        import_file(source, tmp_path / f"{number}.yaml", like=like)
        assert errors((tmp_path / f"{number}.yaml").read_text()) == []


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("stpes: 5", ""),
        ("steps: many", "steps"),
        ("steps: 0", "steps"),
        ("extends: hggt/rrdb-posnge", "extends"),
        ("method: dance", "method"),
        ("generator: {architecture: rrbd}", "generator"),
        ("data: {degradation: hgt}", "data"),
        ("data: {bacth: 4}", "data"),
        ("optimizer: {betas: [0.9]}", "optimizer"),
        ("optimizer: {betas: [0.9, 1]}", "optimizer"),
        ("losses: {adversarial: {kind: wgan}}", "losses"),
    ],
)
def test_mistakes(text, at):
    assert [error.partition(":")[0].partition(".")[0] for error in errors(text)] == [at]


@pytest.mark.parametrize(
    "text",
    [
        "extends: mine.yaml",
        "extends: hggt/rrdb-posneg\ndiscriminator: null\nsteps: null",
        "data: {degradation: evening.yml}",
        "data: {path: [DIV2K, Flickr2K]}",
        "generator: {settings: {num_feat: null}}",
    ],
)
def test_parts_and_removals(text):
    assert errors(text) == []


def settings_of(schema: dict[str, Any]) -> set[str]:
    return set(schema["properties"])


def test_every_setting_is_there_with_nothing_required():
    from goldeye.config import DataConfig, TrainConfig

    assert settings_of(SCHEMA) == {"extends", *TrainConfig.model_fields}
    assert settings_of(SCHEMA["$defs"]["DataConfig"]) == set(DataConfig.model_fields)
    assert '"required"' not in json.dumps(SCHEMA)


def test_the_command(capsys):
    assert run(["recipes", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    assert run(["recipes", "schema", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": "goldeye.recipes/1", "recipe": SCHEMA}

"""The JSON schema of recipe files, for editors: what `TrainConfig` takes, in files that may hold only a part of it."""

from __future__ import annotations

from typing import Any

from goldeye.config import TrainConfig, recipe_names

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_FILE = {"type": "string", "pattern": r"\.ya?ml$"}


def recipe_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a recipe file.

    Nothing is required, as the rest may come from `extends`; and every setting may be null, which removes what the
    extended recipe has. Rules between settings (such as which method has which terms) are left to `goldeye train
    --dry-run`.
    """
    from goldeye.degrade import PRESETS
    from goldeye.networks import ARCHITECTURES

    schema = TrainConfig.model_json_schema()
    parts = schema["$defs"]
    for part in (schema, *parts.values()):
        part.pop("required", None)
    extends = {"anyOf": [{"enum": recipe_names()}, _FILE], "description": "a shipped recipe, or a file, to start from"}
    schema["properties"] = {"extends": extends} | schema["properties"]
    _names(parts["NetworkConfig"]["properties"]["architecture"], [*ARCHITECTURES, "community"])
    for part in parts.values():
        if "degradation" in part.get("properties", {}):
            _names(part["properties"]["degradation"], list(PRESETS), _FILE)
    for part in (schema, *parts.values()):
        part["properties"] = {name: _or_null(setting) for name, setting in part.get("properties", {}).items()}
    return {"$schema": DRAFT} | schema


def _names(setting: dict[str, Any], names: list[str], *others: dict[str, Any]) -> None:
    """Let the setting be one of the names, which editors then offer, or as `others` say."""
    setting.pop("type", None)
    setting["anyOf"] = [{"enum": names}, *others]


def _or_null(setting: dict[str, Any]) -> dict[str, Any]:
    """The setting's schema with null, and with its description where an editor finds it: at the top."""
    about = {key: setting[key] for key in ("title", "description", "default") if key in setting}
    rest = {key: value for key, value in setting.items() if key not in about}
    choices = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
    return about | {"anyOf": [*(choice for choice in choices if choice != {"type": "null"}), {"type": "null"}]}

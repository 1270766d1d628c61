"""What the site has beside the pages in docs/: the committed measurements, and a table of every setting of a recipe."""

from __future__ import annotations

import posixpath
import re
import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from goldeye.config import TrainConfig

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/."""
    for path in sorted(RESULTS.glob("*.md")):
        files.append(File.generated(config, f"measured/{path.name}", abs_src_path=str(path)))
    files.append(File.generated(config, "measured.md", content=measured_page()))
    files.append(File.generated(config, "settings.md", content=settings_page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to the measurements lead to their pages; a link called by its file is called by the page's heading."""
    markdown = markdown.replace("](../benchmarks/results/", "](measured/")

    def named(link: re.Match[str]) -> str:
        target = files.get_file_from_path(
            posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), link[1]))
        )
        return link[0] if target is None else f"[{_heading(target.content_string)}]({link[1]}{link[2] or ''})"

    return re.sub(r"\[[\w/.-]+\.md\]\(([\w/.-]+\.md)(#[\w-]*)?\)", named, markdown)


def _heading(markdown: str) -> str:
    found = re.search(r"^# (.*)$", markdown, re.MULTILINE)
    return found[1] if found else "page"


def measured_page() -> str:
    """The list of measurements, each with its first heading."""
    paths = sorted(RESULTS.glob("*.md"))
    rows = [f"- [{_heading(path.read_text(encoding='utf-8'))}](measured/{path.name})" for path in paths]
    intro = "Results of the scripts in `benchmarks/`, with the machine and the date. `make bench` runs them again."
    return f"# Measured speed\n\n{intro}\n\n" + "\n".join(rows) + "\n"


def settings_page() -> str:
    """Every key that `--set` and a recipe file take."""
    lines = [
        "# Settings of a recipe",
        "",
        "`goldeye recipes show NAME` prints what a recipe sets, `--set KEY=VALUE` changes it, and "
        "`goldeye recipes schema` has the same list for editors ([importing.md](importing.md#recipes-in-an-editor)).",
        "",
        "| key | value | default | |",
        "|---|---|---|---|",
        *_rows(TrainConfig, ""),
    ]
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        inner = _model(field.annotation)
        of_names = typing.get_origin(field.annotation) is dict
        if inner is None:
            cells = (f"`{prefix}{name}`", _kind(field), _default(field), field.description or "")
            rows.append("| " + " | ".join(cells) + " |")
        else:
            rows += _rows(inner, f"{prefix}{name}.{'NAME.' if of_names else ''}")
    return rows


def _parts(annotation: Any) -> list[Any]:
    """The alternatives of a union, and what `Annotated` and a mapping's values wrap."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _parts(typing.get_args(annotation)[0])
    if origin in (typing.Union, UnionType):
        return [part for one in typing.get_args(annotation) for part in _parts(one)]
    return _parts(typing.get_args(annotation)[1]) if origin is dict else [annotation]


def _model(annotation: Any) -> type[BaseModel] | None:
    return next((part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _kind(field: FieldInfo) -> str:
    if typing.get_origin(field.annotation) is dict:
        return "mapping"
    return ", ".join(dict.fromkeys(_word(part) for part in _parts(field.annotation) if part is not NoneType))


def _word(part: Any) -> str:
    origin = typing.get_origin(part)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(part))
    if origin is tuple:
        return "list"
    return {bool: "`true`, `false`", str: "text", int: "integer", float: "number", Path: "path"}.get(part, str(part))


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.is_required() else ""
    if field.default is None or field.default in ("", ()):
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"

"""README and docs against what is there: commands, options, recipes, settings, names, links, blocks of code."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import docs_pages
from goldeye.cli import UsageError, app
from goldeye.config import load_recipe, recipe_names
from goldeye.errors import GoldeyeError, InvalidInput

PAGES = docs_pages.pages()
FAMILIES = {name.partition("/")[0] for name in recipe_names()}
# Words in code that begin like a module of the package, and are none.
MODULES = {"annotate", "curate", "dataset", "degrade", "evaluate", "images", "losses", "methods", "networks", "train"}
GROUPS = ("data", "generator", "discriminator", "losses", "optimizer", "nonfinite", "validation")
each_page = pytest.mark.parametrize("page", PAGES, ids=docs_pages.name)


# --- how pages are read -----------------------------------------------------------------------------------------------


def words_of(line: str) -> list[str]:
    """The words of a command line as pages write it: with `[--optional]` parts, N for a number, … for more."""
    words = shlex.split(re.sub(r"(?<=\s)\[|\](?=\s|$)", "", line), comments=True)
    end = next((number for number, word in enumerate(words) if word in ("|", ">", "&&")), len(words))
    return ["1" if word == "N" else word for word in words[:end] if word != "…"]


@lru_cache(maxsize=1)
def goldeye() -> Any:
    return typer.main.get_command(app)


def problem_with(line: str, *, complete: bool) -> str | None:
    """The usage error of a command line, None where it is right. In prose (not `complete`) words may be missing."""
    command, words = goldeye(), words_of(line)[1:]
    try:
        while hasattr(command, "commands") and words:
            if "|" in words[0]:
                return (
                    "; ".join(f"no command '{one}'" for one in words[0].split("|") if one not in command.commands)
                    or None
                )
            context = command.make_context("goldeye", words)
            _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        if complete or (words and not hasattr(command, "commands")):
            command.make_context("goldeye", words)
    except UsageError as error:
        message = str(error.format_message())
        return message if complete or not message.startswith("Missing") else None
    except typer.Exit:  # --help
        return None
    except GoldeyeError as error:
        return error.message
    return None


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("goldeye upscal a -o b -n c", "upscal"),
        ("goldeye labels stat a", "stat"),
        ("goldeye train a --sett b=c", "--sett"),
        ("goldeye degrade a -o b", "--preset"),
        ("goldeye testset a -o b -n many", "integer"),
        ("goldeye labels stats a --format xml", "xml"),
        ("goldeye labels import|exprot", "exprot"),
    ],
)
def test_a_wrong_command_line_is_found(line: str, word: str) -> None:
    assert word in (problem_with(line, complete=True) or "")


def test_a_command_line_may_be_incomplete_in_prose_alone() -> None:
    assert problem_with("goldeye degrade --preset mine.yaml", complete=False) is None
    assert problem_with("goldeye degrade --preset mine.yaml", complete=True) is not None
    assert problem_with("goldeye testset DATASET -o OUT -n N [--scale 4] [--seed N]", complete=True) is None


PAGE = """# A page: `code`, twice

    goldeye maps edl MODEL LR -o OUT      what it draws
    $ goldeye train a \\
        --fresh

Prose with `goldeye labels` and [a link](other.md#part), ![](picture.png), [not this](https://example.org).

1. A list

    that goes on

```sh
ls  # goldeye nothing
docker run it goldeye export a -o b.onnx
```

```python title="src/a.py"
goldeye = 1
```
"""


def test_a_page_is_read_as_it_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    assert list(docs_pages.commands(page)) == [
        (3, "goldeye maps edl MODEL LR -o OUT", True),
        (3, "goldeye train a --fresh", True),
        (13, "goldeye export a -o b.onnx", True),
        (7, "goldeye labels", False),
    ]
    assert list(docs_pages.links(page)) == [(7, "other.md#part"), (7, "picture.png")]
    assert docs_pages.anchors(page) == {"a-page-code-twice"}
    languages = [(block.language, block.title) for block in docs_pages.split(page)[0]]
    assert languages == [("indented", None), ("sh", None), ("python", "src/a.py")]


# --- what the pages say -----------------------------------------------------------------------------------------------


@each_page
def test_every_command_line_parses(page: Path) -> None:
    wrong = [
        f"line {number}: `{line}`: {problem}"
        for number, line, complete in docs_pages.commands(page)
        if (problem := problem_with(line, complete=complete)) is not None
    ]
    assert not wrong, "\n".join([docs_pages.name(page), *wrong])


@each_page
def test_recipes_and_their_settings_exist(page: Path) -> None:
    titles = [block.title for block in docs_pages.split(page)[0] if block.title]
    shown = {title.split("recipes/")[1].removesuffix(".yaml") for title in titles if "recipes/" in title}
    for _, line, _ in docs_pages.commands(page):
        words = words_of(line)
        if words[1:2] == ["train"] and words[2:] and words[2].partition("/")[0] in FAMILIES and words[2] not in shown:
            load_recipe(words[2], [word for flag, word in pairwise(words) if flag == "--set"])
    named = re.findall(rf"`((?:{'|'.join(FAMILIES)})/[\w-]+)`", page.read_text(encoding="utf-8"))
    assert set(named) <= {*recipe_names(), *shown}


@each_page
def test_settings_of_recipes_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"`((?:{'|'.join(GROUPS)})\.[\w.]+)(?:=[^`]*)?`", text)
    for key in [*named, *re.findall(r"--set '?([a-z][\w.]*)=", text)]:
        assert is_setting(key) or exists(key), f"{docs_pages.name(page)}: {key}"


@lru_cache
def is_setting(key: str) -> bool:
    try:
        load_recipe("hggt/rrdb-posneg", [f"{key}=no value of anything"])
    except InvalidInput as error:
        return "Unknown setting" not in error.message
    return True


@each_page
def test_presets_of_degradation_exist(page: Path) -> None:
    from goldeye.degrade import PRESETS

    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:(?:degrade|testset) .*--preset |data\.degradation=|degradation: )([a-z][\w.-]*)", text)
    assert {name for name in named if not name.endswith(".yaml")} <= {*PRESETS, "null"}, docs_pages.name(page)


@each_page
def test_names_of_python_exist(page: Path) -> None:
    """`losses.pixel.pixel_loss`, with `goldeye.` in front or not."""
    pattern = rf"`(?:goldeye\.)?((?:{'|'.join(MODULES)})(?:\.\w+)+)(?:\(.*?\))?`"
    for dotted in re.findall(pattern, page.read_text(encoding="utf-8")):
        if not dotted.endswith((".py", ".yaml", ".jsonl")):
            assert exists(dotted) or is_setting(dotted), f"{docs_pages.name(page)}: {dotted}"


def exists(dotted: str) -> bool:
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["goldeye", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for number, link in docs_pages.links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        at = f"{docs_pages.name(page)}:{number}: {link}"
        if target == docs_pages.ROOT / "docs" / "settings.md":
            continue  # the site makes this page of the configuration
        assert target.exists(), at
        if anchor:
            assert anchor in docs_pages.anchors(target), at


@each_page
def test_blocks_can_be_read(page: Path) -> None:
    for block in docs_pages.split(page)[0]:
        if block.language == "python":
            ast.parse(block.text, f"{docs_pages.name(page)}:{block.line}")
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml":
            assert yaml.safe_load(block.text)


def test_the_site_lists_every_page() -> None:
    nav = yaml.safe_load((docs_pages.ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = set(leaves(nav))
    docs = docs_pages.ROOT / "docs"
    assert {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")} <= listed
    assert len(listed) == len(list(leaves(nav))), "a page is listed twice"


def leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for one in nav.values() if isinstance(nav, dict) else nav:
            yield from leaves(one)

"""What annotators read before they begin: the owner's Markdown with pictures, or our illustrated default."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from goldeye.annotate.examples import EXAMPLES, draw_example
from goldeye.errors import InvalidInput
from goldeye.images import encode_png, read_image

TEXT_BYTES = 1 << 20  # the most a guideline's text may have
_TAGS = {"a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "hr", "img", "li", "ol", "p", "pre", "strong"}
_TAGS |= {"table", "tbody", "td", "th", "thead", "tr", "ul"}
_ATTRIBUTES = {"a": {"href"}, "img": {"src", "alt"}, "ol": {"start"}}
_DEFAULTS = {"label": "labels.md", "pair": "pairs.md", "rating": "ratings.md"}


@dataclass(frozen=True)
class Guideline:
    """Sanitised HTML, whose pictures are at /api/guideline/0, 1, …, and those pictures as PNG; `own`: the owner's."""

    html: str
    pictures: tuple[bytes, ...]
    own: bool = True


def read_guideline(path: Path) -> Guideline:
    """The guideline in a Markdown file. Its pictures are files in the same folder or below, named relative to it.

    Raises InvalidInput for a file that is no text, and for a picture that is not there, elsewhere, or on the network.
    """
    if not path.is_file():
        raise InvalidInput(f"There is no guideline '{path}'.")
    if path.stat().st_size > TEXT_BYTES:
        raise InvalidInput(f"The guideline '{path}' is too long: at most {TEXT_BYTES >> 20} MiB of text.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The guideline '{path}' is not UTF-8 text.") from error
    folder = path.parent.resolve()

    def load(source: str) -> bytes:
        if source.startswith("//") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", source):
            raise InvalidInput(f"The guideline '{path}' shows '{source}': its pictures must be files beside it.")
        try:
            file = (folder / unquote(source)).resolve()
            there = file.is_relative_to(folder) and file.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, a NUL character, a link to itself
            there = False
        if not there:
            raise InvalidInput(f"The guideline '{path}' shows '{source}', which is no file beside or below it.")
        return encode_png(read_image(file))

    return render(text, load)


@cache
def default_guideline(kind: str) -> Guideline:
    """Our own guideline for a kind of question (label, pair or rating), with examples drawn by code."""
    text = (files("goldeye.annotate") / "guidelines" / _DEFAULTS[kind]).read_text(encoding="utf-8")

    def load(source: str) -> bytes:
        if source not in EXAMPLES:
            raise InvalidInput(f"There is no example '{source}'.")
        return encode_png(draw_example(source))

    return replace(render(text, load), own=False)


def render(text: str, load: Callable[[str], bytes]) -> Guideline:
    """Markdown to sanitised HTML; `load` gives the PNG of a picture's address. Raw HTML in the text stays text."""
    import nh3
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    pictures: list[bytes] = []
    for token in _images(tokens):
        pictures.append(load(str(token.attrs["src"])))
        token.attrs["src"] = f"/api/guideline/{len(pictures) - 1}"
    html = markdown.renderer.render(tokens, markdown.options, {})
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer",
    )
    return Guideline(clean, tuple(pictures))


def _images(tokens: list[Any]) -> list[Any]:
    found = []
    for token in tokens:
        if token.type == "image":
            found.append(token)
        found += _images(token.children or [])
    return found

"""README and docs as data: their blocks of code, command lines, links and anchors."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FENCE = re.compile(r"^( *)```(\w*)(?: title=\"(.*)\")?\s*$")


@dataclass(frozen=True)
class Block:
    """Code of a page. `language` is "" where none is given, and "indented" without a fence."""

    language: str
    title: str | None
    text: str
    line: int


def pages() -> list[Path]:
    """Every page that people read."""
    results = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")), *results]


def name(page: Path) -> str:
    """The page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def split(page: Path) -> tuple[list[Block], list[tuple[int, str]]]:
    """A page's blocks of code, and the other lines with their numbers."""
    blocks: list[Block] = []
    prose: list[tuple[int, str]] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        start = number
        if fence := _FENCE.match(lines[number]):
            number += 1
            while lines[number].strip() != "```":
                number += 1
            text = textwrap.dedent("\n".join(lines[start + 1 : number]))
            blocks.append(Block(fence[2], fence[3], text, start + 1))
        elif lines[number].startswith("    ") and (not start or not lines[start - 1].strip()) and not _in_list(prose):
            while number + 1 < len(lines) and (lines[number + 1].startswith("    ") or not lines[number + 1].strip()):
                number += 1
            blocks.append(Block("indented", None, textwrap.dedent("\n".join(lines[start : number + 1])), start + 1))
        else:
            prose.append((number + 1, lines[number]))
        number += 1
    return blocks, prose


def _in_list(prose: list[tuple[int, str]]) -> bool:
    """Whether the last paragraph belongs to a list, of which an indented line is then a part."""
    filled = [line for _, line in prose if line.strip()]
    return bool(filled) and re.match(r" *([-*]|\d+\.) ", filled[-1]) is not None


def shell_lines(text: str) -> list[str]:
    """The commands of a block, continued lines joined, without prompts, comments and notes after three blanks."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = (re.split(r"\s{3,}(?=[^\s#-])", line.strip().removeprefix("$ "))[0] for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def commands(page: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, command line, whether it is one of a block and therefore complete) for every `goldeye …` of a page."""
    blocks, prose = split(page)
    for block in blocks:
        if block.language in ("sh", "indented"):
            for line in shell_lines(block.text):
                if found := re.search(r"(?:^|\s)goldeye (?!=)(.*)", re.sub(r"\s#.*", "", line)):
                    yield block.line, f"goldeye {found[1]}", True
    text = "\n".join(line for _, line in prose)
    for found in re.finditer(r"`(goldeye [a-z][^`]*)`", text):
        yield prose[text[: found.start()].count("\n")][0], found[1].replace("\n", " "), False


def links(page: Path) -> Iterator[tuple[int, str]]:
    """The line and target of every link and picture that leads to a file or an anchor."""
    for number, line in split(page)[1]:
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)):
            if not re.match(r"https?:|mailto:", target):
                yield number, target


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    found = set()
    for _, line in split(page)[1]:
        if heading := re.match(r"#+ (.*)", line):
            words = re.sub(r"[^\w\s-]", "", heading[1].replace("`", "")).strip().lower()
            found.add(re.sub(r"\s", "-", words))
    return found

"""Option files of BasicSR's family: read without running anything, each key accounted for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from goldeye.errors import InvalidInput

MOST_BYTES = 2**20  # the published files have some thousand
MOST_VALUES, MOST_DEPTH = 10_000, 20


class _Loader(yaml.SafeLoader):
    """Plain data, and the tags that dumped ordered dictionaries and tuples carry.

    An alias counts as much as what it stands for: a few lines of aliases can mean more values than memory holds.
    """

    values = depth = deepest = 0

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.sizes: dict[int, tuple[int, int]] = {}  # of finished nodes: values in it, levels below it

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            anchor = self.peek_event().anchor  # type: ignore[no-untyped-call]
            if anchor in self.anchors and id(self.anchors[anchor]) not in self.sizes:
                raise _Refused("has a YAML alias that stands for a part of itself")
            size, levels = self.sizes[id(self.anchors[anchor])] if anchor in self.anchors else (0, 0)
            self._count(size, levels)
            return super().compose_node(parent, index)
        before, deepest = self.values, self.deepest
        self.depth += 1
        self.deepest = self.depth
        self._count(1, 0)
        node = super().compose_node(parent, index)
        self.sizes[id(node)] = self.values - before, self.deepest - self.depth + 1
        self.depth -= 1
        self.deepest = max(deepest, self.deepest)
        return node

    def _count(self, values: int, levels: int) -> None:
        self.values += values
        self.deepest = max(self.deepest, self.depth + levels)
        if self.values > MOST_VALUES:
            raise _Refused("holds more values than option files do")
        if self.deepest > MOST_DEPTH:
            raise _Refused("is nested deeper than option files are")


class _Refused(Exception):
    """The predicate of the sentence that refuses a file."""


def _pairs(loader: _Loader, node: yaml.Node) -> dict[Any, Any]:
    """An ordered dictionary: a mapping, or a list of pairs (perhaps the only item of a call's arguments)."""
    if isinstance(node, yaml.MappingNode):
        return dict(loader.construct_mapping(node, deep=True))
    items = loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else None
    if isinstance(items, list) and len(items) == 1 and isinstance(items[0], list):
        items = items[0]
    found: dict[Any, Any] = {}
    for item in items or []:
        try:
            pair = next(iter(item.items())) if isinstance(item, dict) else tuple(item)
            found[pair[0]] = pair[1]
        except (TypeError, IndexError, StopIteration) as error:
            raise _Refused(f"has an ordered dictionary that is none (line {node.start_mark.line + 1})") from error
    return found


def _tuple(loader: _Loader, node: yaml.Node) -> list[Any]:
    return list(loader.construct_sequence(node, deep=True)) if isinstance(node, yaml.SequenceNode) else []


_Loader.add_constructor("tag:yaml.org,2002:omap", _pairs)
_Loader.add_constructor("tag:yaml.org,2002:python/object/apply:collections.OrderedDict", _pairs)
_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def read_yaml(path: Path) -> dict[Any, Any]:
    """The mapping that an option file holds, as plain data; InvalidInput in one sentence for anything else."""
    if not path.is_file():
        raise InvalidInput(f"Option file '{path}' does not exist.")
    if path.stat().st_size > MOST_BYTES:
        raise InvalidInput(f"'{path}' has {path.stat().st_size} bytes: too many for an option file.")
    try:
        # Only _Loader's tags are constructed, and those of SafeLoader: no code of the file runs.
        values = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except yaml.constructor.ConstructorError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise InvalidInput(f"'{path}' holds what is not plain data{line}: {error.problem}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise InvalidInput(f"'{path}' is not valid YAML{line}.") from error
    except _Refused as error:
        raise InvalidInput(f"'{path}' {error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"'{path}' is not UTF-8 text (byte {error.start}).") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:  # such as the date 2024-02-31
        raise InvalidInput(f"'{path}' holds a value that YAML cannot make: {error}.") from error
    if not isinstance(values, dict):
        raise InvalidInput(f"'{path}' should hold options (key: value), but does not.")
    return values


@dataclass(frozen=True)
class Entry:
    """What became of a key: `text` is the recipe's setting, the reason, or what the key means."""

    key: str
    value: Any
    text: str


class Options:
    """The keys of a file by their dotted path, as far as they are not yet accounted for.

    `mapped`, `ignored` and `unmapped` collect what became of each. A key is asked for by type; a value of another type
    is InvalidInput naming the key.
    """

    def __init__(self, values: dict[Any, Any], source: str) -> None:
        self.source = source
        self.left = _flat(values)
        self.mapped: list[Entry] = []
        self.ignored: list[Entry] = []
        self.unmapped: list[Entry] = []

    def has(self, key: str) -> bool:
        """Whether the key, or one below it, stands in the file with a value, and is not accounted for."""
        return self.left.get(key) is not None or any(name.startswith(f"{key}.") for name in self.left)

    def map(self, key: str, setting: str) -> Any:
        """The key's value, noted as `setting` of the recipe; None for an absent or empty key."""
        if self.left.get(key) is None:
            return None
        value = self.left.pop(key)
        self.mapped.append(Entry(key, value, setting))
        return value

    def ignore(self, key: str, reason: str) -> None:
        """Note a key, with all below it, as without effect here."""
        self._move(key, reason, self.ignored)

    def refuse(self, key: str, meaning: str) -> None:
        """Note a key, with all below it, as not mapped."""
        self._move(key, meaning, self.unmapped)

    def ignore_if(self, key: str, expected: Any, reason: str, meaning: str) -> None:
        """Ignore the key where it has the value that Goldeye has anyway, else note what it means."""
        if key in self.left:
            same = self.left[key] is None or _same(self.left[key], expected)
            self._move(key, reason if same else meaning, self.ignored if same else self.unmapped)

    def unmap(self, *keys: str, meaning: str) -> None:
        """Note keys as not mapped that were mapped before."""
        self.unmapped += [Entry(entry.key, entry.value, meaning) for entry in self.mapped if entry.key in keys]
        self.mapped = [entry for entry in self.mapped if entry.key not in keys]

    def _move(self, key: str, text: str, entries: list[Entry]) -> None:
        names = [name for name in self.left if name == key or name.startswith(f"{key}.")]
        entries += [Entry(name, self.left.pop(name), text) for name in names]

    def close(self) -> None:
        """Account for what is left: empty keys are ignored, others are unknown."""
        for key, value in self.left.items():
            if value is None or value == {}:
                self.ignored.append(Entry(key, value, "empty"))
            else:
                self.unmapped.append(Entry(key, value, "not known to Goldeye"))
        self.left = {}

    def number(self, key: str, setting: str) -> float | None:
        """A finite number; strings such as 1e-4, which YAML 1.1 takes for text, are numbers, too."""
        value = self.map(key, setting)
        return None if value is None else self._number(key, value)

    def numbers(self, key: str, setting: str) -> list[float] | None:
        """A list of finite numbers; a single one is a list of one."""
        value = self.map(key, setting)
        if value is None:
            return None
        return [self._number(key, item) for item in (value if isinstance(value, list) else [value])]

    def integer(self, key: str, setting: str) -> int | None:
        """A whole number; 5e3 is one."""
        value = self.number(key, setting)
        if value is not None and value != int(value):
            raise self.wrong(key, "a whole number", value)
        return None if value is None else int(value)

    def flag(self, key: str, setting: str) -> bool | None:
        """true or false."""
        value = self.map(key, setting)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def text(self, key: str, setting: str) -> str | None:
        """A word or path; what YAML takes for a number or a date is text, too."""
        value = self.map(key, setting)
        if isinstance(value, (list, dict)):
            raise self.wrong(key, "one value", value)
        return None if value is None else str(value)

    def required(self, key: str) -> InvalidInput:
        """The error for a key that is not there."""
        return InvalidInput(f"'{self.source}' lacks {key}.")

    def wrong(self, key: str, wanted: str, value: Any) -> InvalidInput:
        """The error for a value that cannot be used."""
        return InvalidInput(f"In '{self.source}': {key} should be {wanted}, not {shown(value)}.")

    def _number(self, key: str, value: Any) -> float:
        try:
            number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.wrong(key, "a number", value)
        return number


def plain_number(value: float) -> float | int:
    """12.0 as 12, the way that people write it."""
    return int(value) if value == int(value) else value


def number_or_none(value: Any) -> float | None:
    """A number, or text that is one, as float."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def shown(value: Any) -> str:
    """A value on one line, without characters that a terminal obeys, and not longer than a line."""
    text = "~" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _same(value: Any, expected: Any) -> bool:
    if isinstance(expected, (int, float)) and not isinstance(expected, bool) and isinstance(value, str):
        return number_or_none(value) == expected
    return bool(value == expected)


def _flat(values: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = _plain(value)
    return flat


def _plain(value: Any) -> Any:
    """What JSON has: dates and other odd values, also NaN and numbers beyond all use, as text."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)) and abs(value) < 1e30:  # false for NaN
        return value
    return hex(value) if isinstance(value, int) else str(value)

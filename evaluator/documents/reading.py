"""Bounded reading of JSON and YAML: the values of a text from outside, in memory that is known.

What a parser makes of a short text can be a thousand times as large, and so can the list of
everything that is wrong with it. So bytes and values are counted before a parser sees the text, and
whatever a canonical document cannot contain is refused: NaN and infinity, numbers that other
readers would round (RFC 7493), a key that is given twice, an alias.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluator.errors import BusbenchError, Code
from evaluator.files import has_long_number

MEBIBYTE = 1 << 20
MAX_INTEGER = 2**53 - 1
MAX_YAML_CHARACTERS, MAX_YAML_DEPTH = 65536, 16
Fields = dict[str, Any]


@dataclass(frozen=True)
class Bounds:
    """How large a document of one kind may be."""

    bytes: int = MEBIBYTE // 4
    values: int = 10_000  # arrays, objects and what is in them
    keys: int = 200  # of one object
    text: int = 65536  # bytes of one string; twice as many are always refused


def load_json(
    data: bytes, bounds: Bounds = Bounds(), compact: Callable[[Fields], Any] = dict
) -> Any:
    """The value of a JSON text.

    Args:
        compact: makes of each object the form that it takes until all is read.

    Raises:
        ValueError: saying what is wrong with it.
        RecursionError: where it is nested too deep.
    """
    _require_within(data, bounds)

    def checked(pairs: list[tuple[str, Any]]) -> Any:
        if len(pairs) > bounds.keys:
            raise ValueError(f"an object has more than {bounds.keys} keys")
        fields = dict(pairs)
        if len(fields) < len(pairs):
            raise _repeated([name for name, _ in pairs])
        return compact(fields)

    return json.loads(
        data.decode("utf-8"),
        object_pairs_hook=checked,
        parse_int=_integer,
        parse_float=_finite,
        parse_constant=_finite,
    )


def load_to_compare(data: bytes, bounds: Bounds) -> Any:
    """What `load_json` gives, for who compares the text with the value's canonical form afterwards.

    That comparison refuses repeated keys and numbers that are none, so where nothing else is left
    to check, no function is called for each object and number: it takes a fifth of the time.

    Raises:
        ValueError, RecursionError: as `load_json` does; a key that is repeated does not.
    """
    if data.count(b":") > bounds.keys or has_long_number(data):
        return load_json(data, bounds)
    _require_within(data, bounds)
    return json.loads(data.decode("utf-8"))


def _require_within(data: bytes, bounds: Bounds) -> None:
    if len(data) > bounds.bytes:
        raise ValueError(f"it is larger than {bounds.bytes} bytes")
    if sum(map(data.count, (b",", b"[", b"{"))) > bounds.values:  # each begins a value
        raise ValueError(f"it contains more than {bounds.values} values")
    for start in range(0, len(data) - bounds.text, bounds.text):
        if data.find(b'"', start, start + bounds.text) < 0:  # no string begins or ends there
            raise ValueError(f"a string is longer than {bounds.text} bytes")


def _integer(text: str) -> int:
    if len(text) > len(str(-MAX_INTEGER)) or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"a whole number is beyond {MAX_INTEGER}")
    return int(text)


def _finite(text: str | float) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("a number is not finite")
    return number


def _repeated(keys: list[Any]) -> ValueError:
    seen: set[Any] = set()
    twice = next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return ValueError(f"{str(twice)[:100]!a} is given twice")


def load_yaml(data: bytes) -> Any:
    """The value of a YAML text, of at most `MAX_YAML_CHARACTERS`.

    Raises:
        ValueError, yaml.YAMLError: saying what is wrong with it.
    """
    text = data[: 4 * MAX_YAML_CHARACTERS + 1].decode("utf-8")
    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"it is longer than {MAX_YAML_CHARACTERS} characters")
    try:
        return yaml.load(text, Loader=_Loader)
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # `!!int ""`, `!!map []`, `!!timestamp x`; 1:00:…:00.5 to base 60, "\\UFFFFFFFF"
        raise ValueError("a value is not what its tag or form says") from error


class _Loader(yaml.SafeLoader):
    """Refuses aliases, merges and deep nesting, which no document needs, and repeated keys."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("YAML aliases are not allowed")
        if self.depth > MAX_YAML_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_YAML_DEPTH} levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ValueError("YAML merges are not allowed")

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        fields = super().construct_mapping(node, deep)
        if len(fields) < len(node.value):
            raise _repeated([self.construct_object(key, deep=deep) for key, _ in node.value])
        return fields

    def bounded_number(self, node: yaml.ScalarNode) -> int | float:
        if node.tag.endswith("int"):
            number = self.construct_yaml_int(node)
            if abs(number) > MAX_INTEGER:
                raise ValueError(f"a whole number is beyond {MAX_INTEGER}")
            return int(number)
        return _finite(self.construct_yaml_float(node))


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.bounded_number)


def read_bytes(path: Path, limit: int, code: Code, *, remedy: str) -> bytes:
    """The bytes of the file at `path`; a pipe is not waited for.

    Raises:
        BusbenchError: with `code`, where it cannot be read, or is larger than `limit` bytes.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as handle:
            data = handle.read(limit + 1) or b""  # None: a pipe with nothing in it
    except OSError as error:
        raise BusbenchError(code, f"{path} cannot be read ({error.strerror}).", remedy) from error
    if len(data) > limit:
        raise BusbenchError(code, f"{path} is larger than {limit} bytes.", remedy)
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Open what may be a pipe that nobody writes to, or nobody stops writing to."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)

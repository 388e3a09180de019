"""What would a parser have to build? A walk over a file's raw protobuf fields, before any parser.

A protobuf parser turns two bytes into a message of a hundred or more, so a small file can fill the
memory; and where a field is unknown or given twice, two parsers may read two different models. This
walk counts fields against a budget, follows only lengths, and copies nothing.

Source: the protocol buffers encoding specification (tag, wire type, varint, length-delimited).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from onnx import ModelProto

from evaluator.gate.limits import GateLimits

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_WIDTH = {_EIGHT: 8, _FOUR: 4}
_LONGEST_VARINT = 10
# descriptor type -> wire type; the rest are varints
_KINDS = {1: _EIGHT, 2: _FOUR, 6: _EIGHT, 7: _FOUR, 15: _FOUR, 16: _EIGHT}
_KINDS |= dict.fromkeys((9, 11, 12), _BYTES)


class Oddity(NamedTuple):
    """Why a file is not read on."""

    code: str
    detail: str


class _Field(NamedTuple):
    name: str
    repeated: bool
    message: Any  # the descriptor of a submessage, or None
    kinds: frozenset[int]  # the wire types it may come in


class _BrokenError(ValueError):
    """The bytes are not a protobuf message."""


@cache
def _fields(descriptor: Any) -> dict[int, _Field]:
    return {
        field.number: _Field(
            field.name,
            field.is_repeated,
            field.message_type,
            _kinds(field),
        )
        for field in descriptor.fields
    }


def _kinds(field: Any) -> frozenset[int]:
    own = _KINDS.get(field.type, _VARINT)
    return frozenset((own, _BYTES) if field.is_repeated else (own,))  # repeated may be packed


def oddities(data: bytes, limits: GateLimits) -> Iterator[Oddity]:
    """Reasons not to hand `data` to a parser; at most one of each kind, none for an honest file."""
    try:
        yield from _walk(data, limits)
    except _BrokenError as error:
        yield Oddity("G-FORMAT", str(error))


def _walk(data: bytes, limits: GateLimits) -> Iterator[Oddity]:
    stack: list[tuple[Any, int, set[int]]] = [(ModelProto.DESCRIPTOR, len(data), set())]
    position, count, said = 0, 0, set[str]()
    while stack:
        descriptor, end, seen = stack[-1]
        if position == end:
            stack.pop()
            continue
        count += 1
        if count > limits.max_fields:
            yield Oddity("G-FIELDS", f"It has more than {limits.max_fields} protobuf fields.")
            return
        tag, position = _varint(data, position, end)
        number, kind = tag >> 3, tag & 7
        field = _fields(descriptor).get(number)
        oddity = _field_oddity(descriptor.name, number, kind, field, seen)
        if oddity is not None and oddity.code not in said:
            said.add(oddity.code)
            yield oddity
        seen.add(number)
        start, position = _payload(data, position, end, kind)
        if kind == _BYTES and field is not None and field.message is not None:
            if len(stack) >= limits.max_depth:
                yield Oddity("G-NESTING", f"Messages nest deeper than {limits.max_depth}.")
                return
            stack.append((field.message, position, set()))
            position = start


def _field_oddity(
    message: str, number: int, kind: int, field: _Field | None, seen: set[int]
) -> Oddity | None:
    # a known number in a foreign wire type is unknown to parsers too
    if field is None or kind not in field.kinds:
        return Oddity("G-UNKNOWN-FIELD", f"{message} holds field {number} as wire type {kind}.")
    if not field.repeated and number in seen:
        return Oddity("G-REPEATED-FIELD", f"{message}.{field.name} is given more than once.")
    return None


def _payload(data: bytes, position: int, end: int, kind: int) -> tuple[int, int]:
    """Where a field's payload starts and ends."""
    if kind == _BYTES:
        length, start = _varint(data, position, end)
    elif kind == _VARINT:
        return position, _varint(data, position, end)[1]
    elif kind in _WIDTH:
        length, start = _WIDTH[kind], position
    else:
        raise _BrokenError(f"Byte {position} starts a protobuf group or nothing known.")
    if start + length > end:
        raise _BrokenError(f"A field at byte {position} runs past the end of its message.")
    return start, start + length


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """The number at `position` and the position after it."""
    value = 0
    for index in range(position, min(end, position + _LONGEST_VARINT)):
        byte = data[index]
        value |= (byte & 0x7F) << (7 * (index - position))
        if byte < 0x80:
            return value, index + 1
    raise _BrokenError(f"A number at byte {position} has no end.")

"""A walk over a file's raw protobuf fields, before any parser builds anything.

A protobuf parser turns two bytes into a message of a hundred or more, so a small file can fill the
memory; and where a field is unknown or given twice, two parsers may read two different models. This
walk counts fields against a budget and the members of every list against its own, follows only
lengths, and copies nothing but names. It is written for speed: a million fields take about a
second. What holds for fields holds for every kind of message: all comes from ONNX's descriptors.

Source: the protocol buffers encoding specification (tag, wire type, varint, length-delimited).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto

from evaluator.gate.subject import GateLimits

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
# descriptor type -> wire type; the rest are varints
_KINDS = {1: _EIGHT, 2: _FOUR, 6: _EIGHT, 7: _FOUR, 15: _FOUR, 16: _EIGHT}
_KINDS |= dict.fromkeys((9, 11, 12), _BYTES)
_WIDTH = {_EIGHT: 8, _FOUR: 4}
_LONGEST_VARINT = 10
# Members of one kind of list in a whole file. An honest network of 20,000 nodes has 125,000 notes.
MEMBERS = 250_000
# Given one by one, each a field of its own, in the tables of a forest of up to 200,000 nodes. They
# make no messages, so they have these limits and do not count as fields.
_TABLES = {
    "AttributeProto.floats": 2_000_000,
    "AttributeProto.ints": 4_000_000,
    "AttributeProto.strings": 200_000,
}
_MEMBERS_OF = {
    **_TABLES,
    "ModelProto.opset_import": 1_000,
    **dict.fromkeys(
        ("AttributeProto.graphs", "ModelProto.functions", "ModelProto.training_info"), 10_000
    ),
    # weights outside raw_data: a byte of a packed varint becomes up to eight in memory
    **dict.fromkeys(("TensorProto.int64_data", "TensorProto.uint64_data"), 1 << 24),
    "TensorProto.int32_data": 1 << 25,  # converters keep fp16 there
    # as wide in memory as in the file
    **dict.fromkeys(("TensorProto.float_data", "TensorProto.double_data"), 1 << 30),
}


_FOREST = " Of a forest, limit max_leaf_nodes, max_depth or the number of trees."


class Oddity(NamedTuple):
    """Why a file is not read on."""

    code: str
    detail: str


class _Field(NamedTuple):
    name: str
    repeated: bool
    text: bool
    message: Any  # the descriptor of a submessage, or None
    once: str | int  # what may be given once: the field, or the oneof that it belongs to
    most: int  # members in a whole file, where repeated
    packable: bool
    width: int  # bytes of a packed member; 0 for varints


class _BrokenError(ValueError):
    """The bytes are not a protobuf message."""


@cache
def _fields(descriptor: Any) -> dict[int, _Field]:
    """The fields of a message by their tag, number and wire type in one."""
    table = {}
    for field in descriptor.fields:
        text = field.type == field.TYPE_STRING
        name = f"{descriptor.name}.{field.name}"
        kind, oneof = _KINDS.get(field.type, _VARINT), field.containing_oneof
        once = field.number if oneof is None else oneof.name
        most, width = _MEMBERS_OF.get(name, MEMBERS), _WIDTH.get(kind, 0)
        entry = _Field(
            name, field.is_repeated, text, field.message_type, once, most, kind != _BYTES, width
        )
        table[field.number << 3 | kind] = entry
        if field.is_repeated:
            table[field.number << 3 | _BYTES] = entry  # its values may come packed
    return table


def oddities(data: bytes, limits: GateLimits) -> tuple[Oddity, ...]:
    """Reasons not to hand `data` to a parser; one of each kind, none for an honest file."""
    found: dict[str, Oddity] = {}
    try:
        for oddity in _walk(data, limits):
            found.setdefault(oddity.code, oddity)
    except _BrokenError as error:
        return (Oddity("G-FORMAT", str(error)),)
    return tuple(found.values())


def _walk(data: bytes, limits: GateLimits) -> Iterator[Oddity]:
    fields, end, seen = _fields(ModelProto.DESCRIPTOR), len(data), set[str | int]()
    outer: list[tuple[dict[int, _Field], int, set[str | int]]] = []
    members: dict[str, int] = {}
    position = 0
    left = limits.max_fields
    while left > 0:
        while position == end and outer:
            fields, end, seen = outer.pop()
        if position == end:
            return
        tag = data[position]
        position += 1
        if tag >= 0x80:
            tag, position = _varint(data, position - 1, end)
        field = fields.get(tag)
        if field is None:
            # a known number in a foreign wire type is unknown to parsers too
            yield Oddity("G-UNKNOWN-FIELD", f"Field {tag >> 3}, wire type {tag & 7}, is unknown.")
        elif not field.repeated:
            if field.once in seen:
                yield Oddity("G-REPEATED-FIELD", f"{field.name} is given more than once.")
            seen.add(field.once)
        left -= field is None or field.name not in _TABLES
        start, after = _payload(data, position, end, kind=tag & 7)
        if field is not None and field.repeated:
            packed = tag & 7 == _BYTES and field.packable
            added = _packed(data, start, after, width=field.width) if packed else 1
            members[field.name] = members.get(field.name, 0) + added
            if members[field.name] > field.most:
                few = _FOREST if field.name in _TABLES else ""
                yield Oddity("G-FIELDS", f"It has more than {field.most} of {field.name}.{few}")
                return
        if field is None or field.message is None:
            if field and field.text and not _is_text(data[start:after]):
                yield Oddity("G-TEXT", f"{field.name} is not UTF-8.")
            position = after
            continue
        if len(outer) >= limits.max_depth:
            yield Oddity("G-NESTING", f"Messages nest deeper than {limits.max_depth}.")
            return
        outer.append((fields, end, seen))
        fields, position, end, seen = _fields(field.message), start, after, set()
    yield Oddity("G-FIELDS", f"It has {limits.max_fields} protobuf fields or more.")


def _packed(data: bytes, start: int, after: int, *, width: int) -> int:
    """How many numbers a packed list has: each varint ends with a byte below 128."""
    if width:
        return (after - start) // width
    return int(np.count_nonzero(np.frombuffer(data, np.uint8, after - start, start) < 0x80))


def _is_text(data: bytes) -> bool:
    """Whether these bytes are UTF-8; parsers differ in what they make of a string that is not."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _payload(data: bytes, position: int, end: int, *, kind: int) -> tuple[int, int]:
    """Where a field's payload starts and ends."""
    if kind == _VARINT:
        return position, _varint(data, position, end)[1]
    if kind == _BYTES:
        length, position = _varint(data, position, end)
    elif kind in _WIDTH:
        length = _WIDTH[kind]
    else:
        raise _BrokenError(f"Byte {position} starts a protobuf group or nothing known.")
    if position + length > end:
        raise _BrokenError(f"A field at byte {position} runs past the end of its message.")
    return position, position + length


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """The number at `position` and the position after it."""
    if position < end and data[position] < 0x80:
        return data[position], position + 1
    value = 0
    for index in range(position, min(end, position + _LONGEST_VARINT)):
        byte = data[index]
        value |= (byte & 0x7F) << (7 * (index - position))
        if byte < 0x80:
            return value, index + 1
    raise _BrokenError(f"A number at byte {position} has no end.")

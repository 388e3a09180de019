"""Protobuf bytes that no library writes: any field of any ONNX message, any number of times."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.message import Message
from onnx import ModelProto

from tests.support.corpus.honest import tiny

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_KINDS = {1: _EIGHT, 2: _FOUR, 9: _BYTES, 11: _BYTES, 12: _BYTES}


def varint(number: int) -> bytes:
    """A number in protobuf's base 128."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def block(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | _BYTES) + varint(len(payload)) + payload


def once(field: Any) -> bytes:
    """A field with the value 1, the text `1`, or an empty message."""
    kind = _KINDS.get(field.type, _VARINT)
    if kind == _BYTES:
        return block(field.number, b"" if field.message_type else b"1")
    return (
        varint(field.number << 3 | kind) + {_VARINT: b"\1", _EIGHT: bytes(8), _FOUR: bytes(4)}[kind]
    )


def packed(field: Any, count: int) -> bytes:
    """A list of `count` ones or zeros in one field."""
    size = {_EIGHT: 8, _FOUR: 4}.get(_KINDS.get(field.type, _VARINT), 1)
    return block(field.number, bytes(size) * count)


@cache
def paths() -> dict[str, tuple[Any, ...]]:
    """Kind of message -> the fields that lead to one from a model, shortest first."""
    found: dict[str, tuple[Any, ...]] = {"onnx.ModelProto": ()}
    kinds = {"onnx.ModelProto": ModelProto.DESCRIPTOR}
    waiting = [ModelProto.DESCRIPTOR]
    while waiting:
        kind = waiting.pop(0)
        for field in kind.fields:
            inner = field.message_type
            if inner is not None and inner.full_name not in found:
                found[inner.full_name] = (*found[kind.full_name], field)
                kinds[inner.full_name] = inner
                waiting.append(inner)
    return found


@cache
def all_fields() -> tuple[Any, ...]:
    """Every field of every kind of message in a model."""
    ends = {
        name: path[-1].message_type if path else ModelProto.DESCRIPTOR
        for name, path in paths().items()
    }
    return tuple(field for kind in ends.values() for field in kind.fields)


def model_with(field: Any, extra: bytes) -> bytes:
    """The smallest honest model, with `extra` for one of its messages' `field`."""
    path = paths()[field.containing_type.full_name]
    return _encode(tiny(), path, field, extra=extra)


def _encode(message: Message, path: tuple[Any, ...], field: Any, *, extra: bytes) -> bytes:
    if not path:
        message.ClearField(field.name)
        return message.SerializeToString() + extra
    step, *rest = path
    if step.is_repeated:
        child = getattr(message, step.name).add()
        getattr(message, step.name).pop()
    else:
        child = getattr(message, step.name)
        own = child.__class__.FromString(child.SerializeToString())
        message.ClearField(step.name)
        child = own
    return message.SerializeToString() + block(
        step.number, _encode(child, tuple(rest), field, extra=extra)
    )

"""Checks on the bytes of one tensor: as many as its shape and type say, and finite numbers.

Pure functions on one TensorProto. Nothing is decoded before its size is known to fit, and large
tensors are looked at in chunks, on the bits: a value is infinite or NaN where every exponent bit is
set (IEEE 754; bfloat16 has the exponent of binary32).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

_CHUNK = 1 << 22  # elements
_CEILING = 1 << 62
_READABLE = 64  # elements of a constant that a rule wants to read, such as a shape


class _Layout(NamedTuple):
    bits: int
    field: str  # where values lie that are not in raw_data
    dtype: Any  # little-endian, for reading; None where no rule reads it
    exponent: int = 0  # mask of the exponent's bits, for floats


_T = TensorProto
_LAYOUTS: dict[int, _Layout] = {
    _T.FLOAT: _Layout(32, "float_data", "<u4", 0x7F800000),
    _T.DOUBLE: _Layout(64, "double_data", "<u8", 0x7FF0000000000000),
    _T.FLOAT16: _Layout(16, "int32_data", "<u2", 0x7C00),
    _T.BFLOAT16: _Layout(16, "int32_data", "<u2", 0x7F80),
    _T.INT64: _Layout(64, "int64_data", "<i8"),
    _T.INT32: _Layout(32, "int32_data", "<i4"),
    _T.INT16: _Layout(16, "int32_data", "<i2"),
    _T.INT8: _Layout(8, "int32_data", "<i1"),
    _T.UINT64: _Layout(64, "uint64_data", "<u8"),
    _T.UINT32: _Layout(32, "uint64_data", "<u4"),
    _T.UINT16: _Layout(16, "int32_data", "<u2"),
    _T.UINT8: _Layout(8, "int32_data", "<u1"),
    _T.BOOL: _Layout(8, "int32_data", "<u1"),
    _T.INT4: _Layout(4, "int32_data", None),
    _T.UINT4: _Layout(4, "int32_data", None),
}
# What values may travel in a network: no text, no complex numbers, no 8-bit floats.
ELEMENT_TYPES = frozenset(_LAYOUTS)
FLOATS = frozenset((_T.FLOAT, _T.DOUBLE, _T.FLOAT16, _T.BFLOAT16))
_FIELDS = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data")


def elements(tensor: TensorProto) -> int:
    """The number of values that the shape promises; negative sizes count as 0.

    Cut at 2**62, and just that for more than 64 dimensions: a million of them would make a number
    that takes hours to multiply.
    """
    if len(tensor.dims) > 64:
        return _CEILING
    total = 1
    for size in tensor.dims:
        total = min(_CEILING, total * max(0, size))
    return total


def byte_width(code: int) -> int:
    """Bytes of a whole number of this type; 1 for floats and what has no layout."""
    layout = _LAYOUTS.get(code)
    return 1 if layout is None or code in FLOATS else max(1, layout.bits // 8)


def type_name(code: int) -> str:
    """The name of an element type, also of one that does not exist."""
    return str(_T.DataType.Name(code)) if code in _T.DataType.values() else f"type {code}"


def storage_trouble(tensor: TensorProto) -> str | None:
    """Why the stored values are not what shape and type promise, or None where they are."""
    layout = _LAYOUTS.get(tensor.data_type)
    if layout is None:
        return f"its element type is {type_name(tensor.data_type)}"
    if tensor.HasField("segment"):
        return "it is a segment of a larger tensor"
    used = [name for name in _FIELDS if len(getattr(tensor, name))]
    count = elements(tensor)
    if tensor.HasField("raw_data"):
        wanted = (count * layout.bits + 7) // 8
        if used:
            return f"it has both raw_data and {used[0]}"
        stored = len(tensor.raw_data)
        return None if stored == wanted else f"it has {stored} bytes, its shape says {wanted}"
    if any(name != layout.field for name in used):
        return f"it has {used[0]}, its type is kept in {layout.field}"
    wanted = (count + 1) // 2 if layout.bits == 4 else count
    stored = len(getattr(tensor, layout.field))
    return None if stored == wanted else f"it has {stored} values, its shape says {wanted}"


def infinities(tensor: TensorProto) -> tuple[bool, bool]:
    """(has an infinite value, has a NaN) for a float tensor with sound storage, else no and no."""
    exponent = _LAYOUTS[tensor.data_type].exponent
    infinite = nan = False
    if exponent:
        for chunk in _bit_chunks(tensor):
            special = chunk[(chunk & exponent) == exponent]
            fraction = special & _fraction(tensor.data_type)
            infinite |= bool((fraction == 0).any())
            nan |= bool((fraction != 0).any())
    return infinite, nan


def _fraction(data_type: int) -> int:
    """The mask of the bits below the exponent."""
    exponent = _LAYOUTS[data_type].exponent
    return (exponent & -exponent) - 1


def _bit_chunks(tensor: TensorProto) -> Iterator[NDArray[Any]]:
    layout = _LAYOUTS[tensor.data_type]
    if tensor.HasField("raw_data"):
        flat = np.frombuffer(tensor.raw_data, layout.dtype)
    else:
        flat = _typed(tensor, layout).view(layout.dtype)
    for start in range(0, flat.size, _CHUNK):
        yield flat[start : start + _CHUNK]


def _typed(tensor: TensorProto, layout: _Layout) -> NDArray[Any]:
    """The values of a tensor that is not raw, in an array whose bits are the type's own."""
    stored = getattr(tensor, layout.field)
    if layout.field in ("float_data", "double_data"):
        return np.fromiter(stored, f"<f{layout.bits // 8}", len(stored))
    wide = np.fromiter(stored, "<u8" if layout.field == "uint64_data" else "<i8", len(stored))
    return wide.astype(layout.dtype)


def small_values(tensor: TensorProto | None) -> list[float] | None:
    """The values of a small, sound tensor, as Python numbers; None for any other."""
    if tensor is None or tensor.data_type not in _LAYOUTS or len(tensor.external_data):
        return None
    layout = _LAYOUTS[tensor.data_type]
    if layout.dtype is None or elements(tensor) > _READABLE or storage_trouble(tensor) is not None:
        return None
    bits = np.concatenate([*_bit_chunks(tensor), np.zeros(0, layout.dtype)])
    if tensor.data_type == _T.BFLOAT16:
        return [float(x) for x in (bits.astype("<u4") << 16).view("<f4")]
    if tensor.data_type in FLOATS:
        return [float(x) for x in bits.view(f"<f{layout.bits // 8}")]
    return [int(x) for x in bits]

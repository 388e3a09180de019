"""Sixteen numbers at once: the vector arithmetic of the compiled loops.

A search for the smallest of many sums of squares has one answer a loop, which the compiler does not
turn into vector instructions by itself. `Vector` is a vector of 16 doubles for numba, with the few
operations that the search is made of, written in LLVM's language. Each is at most a handful of
instructions on any processor. Squares of pixels are whole numbers below 2^53, hence exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

SIZE = 16
NONE = 23000  # steps, where a column has no boundary: beyond the diagonal of 16,000 x 16,000

_INDEX, _SHORT = ir.IntType(32), ir.IntType(16)
_VECTOR = ir.VectorType(ir.DoubleType(), SIZE)
_RAMP = ir.Constant(_VECTOR, [float(k) for k in range(SIZE)])
_FAR = ir.Constant(_VECTOR, [float("inf")] * SIZE)
Typed = tuple[Any, Callable[..., Any]]


class Vector(types.Type):
    """The vector, as numba's type."""

    def __init__(self) -> None:
        super().__init__("Vector")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):  # type: ignore[misc]  # numba carries no types
    """The vector, as LLVM's type."""

    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, _VECTOR)


VECTOR_TYPE = Vector()


def _all(builder: Any, value: Any) -> Any:
    """A value in each element."""
    nothing = ir.Constant(ir.VectorType(value.type, SIZE), ir.Undefined)
    one = builder.insert_element(nothing, value, _INDEX(0))
    first = ir.Constant(ir.VectorType(_INDEX, SIZE), [0] * SIZE)
    return builder.shuffle_vector(one, nothing, first)


def _smaller(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", one, other), one, other)


def _aside(builder: Any, aside: Any) -> Any:
    """The squares of aside, aside + 1, ..."""
    ramp = builder.fadd(_all(builder, aside), _RAMP)
    return builder.fmul(ramp, ramp, flags=["contract"])


def _pointer(context: Any, builder: Any, of: Any, array: Any) -> Any:
    return context.make_array(of)(context, builder, array).data


@intrinsic  # type: ignore[untyped-decorator]
def far(_: Any) -> Typed:
    """Infinity in each element."""
    return VECTOR_TYPE(), lambda *_: _FAR


@intrinsic  # type: ignore[untyped-decorator]
def load(_: Any, array: Any, at: Any, more: Any) -> Typed:
    """Element k is array[at + k] + more."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = _pointer(context, builder, signature.args[0], arguments[0])
        start = builder.bitcast(builder.gep(data, [arguments[1]]), _VECTOR.as_pointer())
        return builder.fadd(builder.load(start, align=8), _all(builder, arguments[2]))

    return VECTOR_TYPE(array, types.int64, types.float64), code


@intrinsic  # type: ignore[untyped-decorator]
def store(_: Any, vector: Any, array: Any, at: Any) -> Typed:
    """array[at + k] becomes element k."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = _pointer(context, builder, signature.args[1], arguments[1])
        start = builder.bitcast(builder.gep(data, [arguments[2]]), _VECTOR.as_pointer())
        builder.store(arguments[0], start, align=8)
        return context.get_dummy_value()

    return types.void(vector, array, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def around(_: Any, steps: Any, at: Any, aside: Any, ratio: Any) -> Typed:
    """Element k is ratio * steps[at + k]^2 + (aside + k)^2, infinite where there is no boundary."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        row, at, aside, ratio = arguments
        data = _pointer(context, builder, signature.args[0], row)
        kind = ir.VectorType(_SHORT, SIZE)
        up = builder.load(builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), align=2)
        none = builder.icmp_unsigned(">=", up, ir.Constant(kind, [NONE] * SIZE))
        number = builder.sitofp(builder.zext(up, ir.VectorType(_INDEX, SIZE)), _VECTOR)
        square = builder.fmul(_all(builder, ratio), builder.fmul(number, number))
        return builder.fadd(
            builder.select(none, _FAR, square), _aside(builder, aside), flags=["contract"]
        )

    return VECTOR_TYPE(steps, types.int64, types.float64, types.float64), code


@intrinsic  # type: ignore[untyped-decorator]
def meet(_: Any, vector: Any, up: Any, aside: Any) -> Typed:
    """Element k, or up + (aside + k)^2 where that is smaller."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        vector, up, aside = arguments
        way = builder.fadd(_aside(builder, aside), _all(builder, up), flags=["contract"])
        return _smaller(builder, way, vector)

    return VECTOR_TYPE(vector, types.float64, types.float64), code


@intrinsic  # type: ignore[untyped-decorator]
def lesser(_: Any, one: Any, other: Any) -> Typed:
    """The smaller of two, element by element."""
    return VECTOR_TYPE(one, other), lambda _c, builder, _s, both: _smaller(builder, *both)


@intrinsic  # type: ignore[untyped-decorator]
def noted(_: Any, one: Any, other: Any, number: Any, notes: Any) -> Typed:
    """Notes with the number written into the vector where one is smaller than other."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        one, other, number, notes = arguments
        smaller = builder.fcmp_ordered("<", one, other)
        return builder.select(smaller, _all(builder, number), notes)

    return VECTOR_TYPE(one, other, types.float64, notes), code


@intrinsic  # type: ignore[untyped-decorator]
def pick(_: Any, vector: Any, k: Any) -> Typed:
    """Element k."""
    return types.float64(vector, types.uint32), lambda _c, builder, _s, at: builder.extract_element(
        *at
    )


@intrinsic  # type: ignore[untyped-decorator]
def least(_: Any, vector: Any) -> Typed:
    """The smallest element."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        rest, size = arguments[0], SIZE
        while size > 1:
            size //= 2
            kind = ir.VectorType(_INDEX, size)
            halves = (ir.Constant(kind, [*range(start, start + size)]) for start in (0, size))
            rest = _smaller(builder, *(builder.shuffle_vector(rest, rest, half) for half in halves))
        return builder.extract_element(rest, _INDEX(0))

    return types.float64(vector), code


def _compared(sign: str) -> Any:
    def typed(_: Any, vector: Any, value: Any) -> Typed:
        def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            found = builder.fcmp_ordered(sign, arguments[0], _all(builder, arguments[1]))
            return builder.zext(builder.bitcast(found, _SHORT), ir.IntType(64))

        return types.uint64(vector, types.float64), code

    return intrinsic(typed)


equal = _compared("==")  # a word whose bit k says whether element k is the value
above = _compared(">")  # or more than it

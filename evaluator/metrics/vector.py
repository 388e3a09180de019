"""Sixteen numbers at once: the vector arithmetic of the compiled loops.

A search for the smallest of many sums of squares has one answer a loop, which the compiler does not
turn into vector instructions by itself. `Vector` is a vector of 16 numbers for numba, with the few
operations that the search is made of, written in LLVM's language. Each is at most a handful of
instructions on any processor. Squares of pixels are whole numbers, hence exact: below 2^53 in
double precision, up to 2^24 in single. Products are never fused into sums, which would round
otherwise on a processor that can.
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

_INDEX, _SHORT, _LONG = ir.IntType(32), ir.IntType(16), ir.IntType(64)
Typed = tuple[Any, Callable[..., Any]]


class Vector(types.Type):
    """The vector of numbers of one type, as numba's type."""

    def __init__(self, element: Any) -> None:
        self.element = element
        super().__init__(f"Vector({element})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):  # type: ignore[misc]  # numba carries no types
    """The vector, as LLVM's type."""

    def __init__(self, manager: Any, of: Any) -> None:
        super().__init__(manager, of, _vector(of.element))


def _vector(element: Any) -> Any:
    return ir.VectorType(ir.FloatType() if element == types.float32 else ir.DoubleType(), SIZE)


def _same(kind: Any, number: float) -> Any:
    """A constant in each element."""
    return ir.Constant(kind, [number] * SIZE)


def _all(builder: Any, value: Any, kind: Any) -> Any:
    """A value in each element, after it was converted to the vector's type."""
    if value.type == _LONG:
        value = builder.sitofp(value, kind.element)
    elif value.type != kind.element:
        value = builder.fptrunc(value, kind.element)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, _INDEX(0))
    first = ir.Constant(ir.VectorType(_INDEX, SIZE), [0] * SIZE)
    return builder.shuffle_vector(one, one, first)


def _smaller(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", one, other), one, other)


def _aside(builder: Any, aside: Any, kind: Any) -> Any:
    """The squares of aside, aside + 1, ..."""
    ramp = ir.Constant(kind, [float(k) for k in range(SIZE)])
    sums = builder.fadd(_all(builder, aside, kind), ramp)
    return builder.fmul(sums, sums)


def _place(context: Any, builder: Any, of: Any, array: Any, at: Any) -> tuple[Any, int]:
    """Where the array's elements from `at` on are, as a vector, and their alignment in bytes."""
    data = context.make_array(of)(context, builder, array).data
    kind = ir.VectorType(data.type.pointee, SIZE)
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), of.dtype.bitwidth // 8


def _read(context: Any, builder: Any, of: Any, array: Any, at: Any) -> Any:
    """The array's elements from `at`."""
    start, width = _place(context, builder, of, array, at)
    return builder.load(start, align=width)


@intrinsic  # type: ignore[untyped-decorator]
def far(_: Any, like: Any) -> Typed:
    """Infinity in each element, of an array's type."""
    vector = Vector(like.dtype)
    return vector(like), lambda *_: _same(_vector(like.dtype), float("inf"))


@intrinsic  # type: ignore[untyped-decorator]
def load(_: Any, array: Any, at: Any, more: Any) -> Typed:
    """Element k is array[at + k] + more."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = _read(context, builder, signature.args[0], *arguments[:2])
        return builder.fadd(found, _all(builder, arguments[2], found.type))

    return Vector(array.dtype)(array, types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def store(_: Any, vector: Any, array: Any, at: Any) -> Typed:
    """array[at + k] becomes element k."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, width = _place(context, builder, signature.args[1], *arguments[1:])
        builder.store(arguments[0], start, align=width)
        return context.get_dummy_value()

    return types.void(vector, array, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def around(_: Any, steps: Any, at: Any, aside: Any, ratio: Any) -> Typed:
    """Element k is ratio * steps[at + k]^2 + (aside + k)^2, infinite where there is no boundary."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        row, at, aside, ratio = arguments
        up = _read(context, builder, signature.args[0], row, at)
        kind = _vector(signature.return_type.element)
        none = builder.icmp_unsigned(">=", up, _same(up.type, NONE))
        number = builder.sitofp(builder.zext(up, ir.VectorType(_INDEX, SIZE)), kind)
        square = builder.fmul(_all(builder, ratio, kind), builder.fmul(number, number))
        up = builder.select(none, _same(kind, float("inf")), square)
        return builder.fadd(up, _aside(builder, aside, kind))

    return Vector(types.float64)(steps, types.int64, types.int64, types.float64), code


@intrinsic  # type: ignore[untyped-decorator]
def beside(_: Any, squares: Any, at: Any, aside: Any) -> Typed:
    """Element k is squares[at + k] + (aside + k)^2."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        up = _read(context, builder, signature.args[0], *arguments[:2])
        return builder.fadd(up, _aside(builder, arguments[2], up.type))

    return Vector(squares.dtype)(squares, types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def meet(_: Any, vector: Any, up: Any, aside: Any) -> Typed:
    """Element k, or up + (aside + k)^2 where that is smaller."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        vector, up, aside = arguments
        square = _aside(builder, aside, vector.type)
        way = builder.fadd(square, _all(builder, up, vector.type))
        return _smaller(builder, way, vector)

    return vector(vector, vector.element, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def lesser(_: Any, one: Any, other: Any) -> Typed:
    """The smaller of two, element by element."""
    return one(one, other), lambda _c, builder, _s, both: _smaller(builder, *both)


@intrinsic  # type: ignore[untyped-decorator]
def noted(_: Any, one: Any, other: Any, number: Any, notes: Any) -> Typed:
    """Notes with the number written into the vector where one is smaller than other."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        one, other, number, notes = arguments
        smaller = builder.fcmp_ordered("<", one, other)
        return builder.select(smaller, _all(builder, number, one.type), notes)

    return one(one, other, types.int64, notes), code


@intrinsic  # type: ignore[untyped-decorator]
def pick(_: Any, vector: Any, k: Any) -> Typed:
    """Element k."""
    return vector.element(
        vector, types.uint32
    ), lambda _c, builder, _s, at: builder.extract_element(*at)


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

    return vector.element(vector), code


def _compared(sign: str) -> Any:
    def typed(_: Any, vector: Any, value: Any) -> Typed:
        def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            vector, value = arguments
            found = builder.fcmp_ordered(sign, vector, _all(builder, value, vector.type))
            return builder.zext(builder.bitcast(found, _SHORT), _LONG)

        return types.uint64(vector, value if value == types.int64 else vector.element), code

    return intrinsic(typed)


equal = _compared("==")  # a word whose bit k says whether element k is the value
above = _compared(">")  # or more than it

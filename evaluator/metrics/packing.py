"""Two masks read once: their counts and their bits, 64 pixels a word.

A processor compares 64 bytes with zero in one to four instructions, and turns the answers into the
bits of a word in as many. Numba cannot express that, so `_packed` writes it in LLVM's language.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.cpython.unsafe.numbers import leading_zeros, trailing_zeros
from numba.extending import intrinsic
from numpy.typing import NDArray

from evaluator.compiled import compiled, inlined

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Survey = tuple[int, int, int, int, int, int, int]

WORD = 64  # pixels in a word
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)

MASK = numba.types.Array(numba.uint8, 2, "C", readonly=True)
WORDS = numba.uint64[:, :, ::1]
SURVEY = numba.types.UniTuple(numba.int64, 7)


@intrinsic  # type: ignore[untyped-decorator]  # numba carries no types
def _packed(_: Any, pixels: Any, at: Any) -> tuple[Any, Callable[..., Any]]:
    """The 64 bytes from `at` as a word: its bit k says whether byte k is not zero."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(ir.IntType(8), WORD)
        start = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        found = builder.icmp_unsigned("!=", builder.load(start, align=1), vector(None))
        return builder.bitcast(found, ir.IntType(WORD))

    return numba.uint64(pixels, at), code


@intrinsic  # type: ignore[untyped-decorator]
def _ones(_: Any, word: Any) -> tuple[Any, Callable[..., Any]]:
    """How many bits of a word are set."""
    return word(word), lambda _context, builder, _signature, words: builder.ctpop(*words)


@inlined
def _pack(mask: Bytes, words: Words) -> None:
    """Pack a mask into words; the last word of a row is filled up with zeros."""
    height, width = mask.shape
    size = height * width
    pixels = mask.reshape(size)
    if size < WORD:
        pixels = np.zeros(WORD, np.uint8)
        pixels[:size] = mask.reshape(size)
    whole = width // WORD
    beyond = np.uint64(WORD * (whole + 1) - width)
    for y in range(height):
        for k in range(whole):
            words[y + 1, k + 1] = _packed(pixels, y * width + WORD * k)
        if beyond < WORD:  # the bytes that follow are the next row's, or there are none
            at = y * width + WORD * whole
            start = max(min(at, size - WORD), 0)
            last = _packed(pixels, start) >> np.uint64(at - start)
            words[y + 1, whole + 1] = last << beyond >> beyond


@compiled(numba.types.Tuple((WORDS, SURVEY))(MASK, MASK, numba.boolean))
def survey(prediction: Bytes, reference: Bytes, outside: bool) -> tuple[Words, Survey]:
    """Pack both masks, count them and their overlap.

    Args:
        prediction, reference: 2-D, C-contiguous, read-only, zero for background.
        outside: whether what lies beyond the image is foreground.

    Returns:
        Both masks as words, with a border of one row and one word around them; and (prediction's
        pixels, reference's, those of both, top, bottom, left, right). The box is half-open and the
        smallest that contains both masks.
    """
    height, width = prediction.shape
    border = FULL if outside else np.uint64(0)
    words = np.full((2, height + 2, (width + WORD - 1) // WORD + 2), border)
    _pack(prediction, words[0])
    _pack(reference, words[1])
    predicted, lesion, both = np.uint64(0), np.uint64(0), np.uint64(0)
    top, bottom = height, 0
    columns = np.zeros(words.shape[2] - 2, np.uint64)
    for y in range(height):
        ours, theirs = words[0, y + 1, 1:-1], words[1, y + 1, 1:-1]
        some = np.uint64(0)
        for k in range(columns.size):
            some |= ours[k] | theirs[k]
        if some:
            top, bottom = min(top, y), y + 1
            for k in range(columns.size):
                columns[k] |= ours[k] | theirs[k]
                predicted += _ones(ours[k])
                lesion += _ones(theirs[k])
                both += _ones(ours[k] & theirs[k])
    left, right = 0, 0
    for k in range(columns.size):
        if columns[k]:
            if right == 0:
                left = WORD * k + trailing_zeros(columns[k])
            right = WORD * (k + 1) - leading_zeros(columns[k])
    return words, (int(predicted), int(lesion), int(both), top, bottom, left, right)

"""The kinds of output: what a network may give, and the probability of lesion that it means.

The gate checks it on four images of its own, inference on every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.submission import OutputKind, OutputSpec

Maps = NDArray[np.float32]
_LOGIT_LIMIT = 80.0  # exp(80) is finite in float32, and sigmoid is 0 or 1 long before
_OUTSIDE = 0.05  # a quantised sigmoid may pass 0 and 1 by a step
_SUM = 0.01  # of two fp16 probabilities, around 1


class Trouble(NamedTuple):
    """What is wrong with a result: its class, and a sentence with numbers."""

    what: Literal["TYPE", "SHAPE", "NON-FINITE", "RANGE"]
    detail: str

    @property
    def without_numbers(self) -> str:
        """A sentence for results on hidden images, whose numbers would tell of them."""
        return _IN_GENERAL[self.what]


_IN_GENERAL = {
    "TYPE": "It gives another type than float32 and float16.",
    "SHAPE": "It gives another shape than declared.",
    "NON-FINITE": "It gives NaN or infinite values.",
    "RANGE": "It gives values that are none of the declared kind.",
}


def _sigmoid(logits: NDArray[np.floating[Any]]) -> Maps:
    # in its own memory: several steps over many maps would fetch new memory each
    found: Maps = np.clip(logits, -_LOGIT_LIMIT, _LOGIT_LIMIT).astype(np.float32, copy=False)
    np.exp(np.negative(found, out=found), out=found)
    found += 1
    return np.divide(1, found, out=found)


def _is_finite(output: Maps) -> bool:
    return bool(np.isfinite(output).all())


def _may_pass_as_probabilities(output: Maps) -> bool:
    return bool(-_OUTSIDE <= output.min() <= output.max() <= 1 + _OUTSIDE)


def _takes_the_softmax_twice(output: Maps) -> bool:
    return _may_pass_as_probabilities(output) and bool((abs(output.sum(axis=1) - 1) < _SUM).all())


class _Kind(NamedTuple):
    foreground: Callable[[Maps], Maps]  # (..., K, H, W) -> probability (..., H, W)
    is_sound: Callable[[Maps], bool]  # of maps (N, K, H, W); none with NaN or infinity is
    otherwise: str


_KINDS: Mapping[OutputKind, _Kind] = {
    "logits": _Kind(lambda maps: _sigmoid(maps[..., 0, :, :]), _is_finite, ""),
    "probabilities": _Kind(
        lambda maps: maps[..., 0, :, :],
        _may_pass_as_probabilities,
        "It gives {low:.3g} to {high:.3g} as probabilities.",
    ),
    "softmax": _Kind(
        # the softmax of two is the sigmoid of their difference, which may overflow float32
        lambda maps: _sigmoid(np.diff(maps.astype(np.float64), axis=-3)[..., 0, :, :]),
        lambda maps: _is_finite(maps) and not _takes_the_softmax_twice(maps),
        "Its two maps add up to 1: leave the softmax out of the export.",
    ),
    "mask": _Kind(
        lambda maps: maps[..., 0, :, :],
        lambda maps: bool(((maps == 0) | (maps == 1)).all()),
        "It gives {low:.3g} to {high:.3g} as a mask, which has zeros and ones alone.",
    ),
}


def find_bent(output: Maps, spec: OutputSpec) -> str | None:
    """How a network gives probabilities or masks as logits, in two sentences; None where not.

    Args:
        output: maps of several unlike images by a network that bends its values at the end; logits
            would be below 0 somewhere.
    """
    if spec.kind not in ("logits", "softmax") or not _may_pass_as_probabilities(output):
        return None
    given = f"It gives {output.min():.3g} to {output.max():.3g} as logits"
    if _KINDS["mask"].is_sound(output):
        return f"{given}, zeros and ones alone: declare `kind: mask`, or export the logits."
    return f"{given}, so its sigmoid is in it: declare `kind: probabilities`, or leave that out."


def background(kind: OutputKind) -> Maps:
    """The maps (K, 1, 1) of a pixel that is surely no lesion."""
    values = {"probabilities": [0.0], "mask": [0.0], "logits": [-_LOGIT_LIMIT]}
    return np.reshape(values.get(kind, [0.0, -_LOGIT_LIMIT]), (-1, 1, 1)).astype(np.float32)


def foreground(maps: Maps, kind: OutputKind) -> Maps:
    """The probability of lesion (..., H, W) that maps (..., K, H, W) mean."""
    return _KINDS[kind].foreground(maps)


def find_trouble(output: object, batch: tuple[int, ...], spec: OutputSpec) -> Trouble | None:
    """What is wrong with the result of a batch of shape (N, C, H, W), or None.

    Args:
        output: (N, K, H, W) float32, or float16 as a network may give it, if all is well; of any
            type and shape otherwise.
    """
    if not isinstance(output, np.ndarray) or output.dtype not in (np.float32, np.float16):
        return Trouble("TYPE", f"It gives {getattr(output, 'dtype', type(output).__name__)}.")
    wanted = (batch[0], spec.maps, *batch[2:])
    if output.shape != wanted:
        return Trouble("SHAPE", f"It gives {output.shape} for {wanted}.")
    kind = _KINDS[spec.kind]
    if kind.is_sound(output):
        return None
    if not _is_finite(output):
        return Trouble("NON-FINITE", "It gives NaN or infinite values.")
    span = {"low": float(output.min()), "high": float(output.max())}
    return Trouble("RANGE", kind.otherwise.format(**span))

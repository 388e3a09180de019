"""The cost of a precision other than fp32: the same models on the same public cases, in both.

RUNS/val-<id>/fold-<k>/        validation cases of fold k, in the precision
RUNS/val-<id>/fold-<k>/fp32/   the same in fp32
RUNS/val-<id>/precision.json   what differs
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from evaluator.documents.base import Contract, Digest
from evaluator.errors import BusbenchError, Code
from evaluator.predictions import bits_file, open_predictions, read_packed
from harness.ledger.report import PrecisionLoss

COMPARISON = "precision.json"
REFERENCE = "fp32"  # the folder of a fold's reference, named after its precision


class Comparison(Contract):
    """`precision.json`: a submission's masks in one precision, compared with those in fp32."""

    schema_: Literal["busbench/precision/v1"] = Field(
        default="busbench/precision/v1", alias="schema"
    )
    submission_sha256: Digest
    split_digest: Digest
    loss: PrecisionLoss


def count_differences(folds: Iterable[Path]) -> tuple[int, int, int]:
    """Cases, masks that differ, and pixels that differ, over validation folds with a reference.

    Raises:
        BusbenchError: `predictions-invalid` where two folders are not of the same cases.
    """
    cases = masks = pixels = 0
    for place in folds:
        found, wanted = (open_predictions(each / "infer") for each in (place, place / REFERENCE))
        if (found.cases, found.folds) != (wanted.cases, wanted.folds):
            message = f"{place} and its {REFERENCE} are not of the same cases."
            raise BusbenchError(Code.PREDICTIONS_INVALID, message, "Remove both, and run it again.")
        bits = Path("infer", bits_file(found.folds[0]))
        both = zip(
            read_packed(place / bits, found.cases),
            read_packed(place / REFERENCE / bits, wanted.cases),
            strict=True,
        )
        for (_, packed), (_, reference) in both:
            differing = np.frombuffer(packed, np.uint8) ^ np.frombuffer(reference, np.uint8)
            count = int(np.bitwise_count(differing).sum(dtype=np.int64))
            cases, masks, pixels = cases + 1, masks + (count > 0), pixels + count
    return cases, masks, pixels


def require_small_loss(loss: PrecisionLoss, limit: float | None) -> None:
    """Refuse a submission that loses more in its track's precision than the track allows.

    Raises:
        BusbenchError: `precision-loss`, with the loss and the limit.
    """
    problem = loss.check(limit)
    if problem is not None:
        raise BusbenchError(
            Code.PRECISION_LOSS,
            f"The submission loses more than challenge.yaml allows: {problem}.",
            "Look at the values that overflow or vanish in it, or hand in on a track in fp32.",
        )

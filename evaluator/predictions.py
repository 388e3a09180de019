"""Predicted masks on disk: bit-packed, one file a model, data only.

`infer` writes them; `score` parses them as hostile data: everything is bounded and checked before
a pixel is read. The layout is told in `contract.Predictions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.contract import PredictedCase, Predictions, read
from evaluator.errors import BusbenchError

DOCUMENT = "predictions.json"
REMEDY = "Evaluate the submission again; predictions are written by the infer stage only."


def bits_file(fold: int | None) -> str:
    """The name of the packed masks of one fold's model."""
    return "fold-all.bits" if fold is None else f"fold-{fold}.bits"


def packed_bytes(height: int, width: int) -> int:
    """Bytes of one packed mask."""
    return (height * width + 7) // 8


def pack(mask: NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as packed bits."""
    return np.packbits(mask, axis=None).tobytes()


def open_predictions(folder: Path) -> Predictions:
    """Read and check the document and the sizes of the files beside it.

    Raises:
        BusbenchError: `predictions-invalid` where an id or a fold stands twice, a file is missing,
            a link, or not of the size that its cases need.
    """
    document = read(Predictions, folder / DOCUMENT, "predictions-invalid", REMEDY)
    ids = [case.case_id for case in document.cases]
    for what, values in (("case id", ids), ("fold", document.folds)):
        if len(set(values)) != len(values):
            raise BusbenchError(
                "predictions-invalid", f"{folder / DOCUMENT} names a {what} twice.", REMEDY
            )
    expected = sum(packed_bytes(case.height, case.width) for case in document.cases)
    for fold in document.folds:
        path = folder / bits_file(fold)
        if path.is_symlink() or not path.is_file() or path.stat().st_size != expected:
            raise BusbenchError(
                "predictions-invalid", f"{path} is not a file of {expected} bytes.", REMEDY
            )
    return document


def read_masks(
    folder: Path, document: Predictions, fold: int | None
) -> Iterator[tuple[PredictedCase, NDArray[np.bool_]]]:
    """Each case with its mask (H, W), one at a time, in the document's order."""
    with (folder / bits_file(fold)).open("rb") as handle:
        for case in document.cases:
            data = handle.read(packed_bytes(case.height, case.width))
            bits = np.unpackbits(np.frombuffer(data, np.uint8), count=case.height * case.width)
            yield case, bits.reshape(case.height, case.width).astype(np.bool_)

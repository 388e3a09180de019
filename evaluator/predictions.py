"""Predicted masks on disk: bit-packed, one file a model, data only.

`infer` writes them; `score` parses them as hostile data: everything is bounded and checked before
a pixel is read. The layout is described in `documents.predictions.Predictions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.consistency import draw
from evaluator.documents.base import Digest, read
from evaluator.documents.predictions import PredictedCase, Predictions
from evaluator.documents.sealed import SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file

DOCUMENT, RUNTIME = "predictions.json", "runtime.json"
REMEDY = "Evaluate the submission again; predictions are written by the infer stage only."


def bits_file(fold: int | None, transformed: bool = False) -> str:
    """The name of the packed masks of one fold's model, on the plain or transformed images."""
    name = "all" if fold is None else str(fold)
    return f"fold-{name}.transformed.bits" if transformed else f"fold-{name}.bits"


def packed_bytes(height: int, width: int) -> int:
    """Bytes of one packed mask."""
    return (height * width + 7) // 8


def pack(mask: NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as packed bits."""
    return np.packbits(mask, axis=None).tobytes()


def open_predictions(folder: Path) -> Predictions:
    """Read and check the document and the sizes of the files beside it.

    Raises:
        BusbenchError: `predictions-invalid` where an id or a fold is given twice, a file is
            missing, a link, not of the size that its cases need, or of another digest, or where it
            names a file that no fold has.
    """
    path = folder / DOCUMENT
    if not _is_regular(path):
        raise _refused(f"{path} is missing or is no regular file")
    document = read(Predictions, path, Code.PREDICTIONS_INVALID, remedy=REMEDY)
    for what, values in (
        ("case id", [case.case_id for case in document.cases]),
        ("transformed case id", [case.case_id for case in document.transformed]),
        ("fold", document.folds),
    ):
        if len(set(values)) != len(values):
            raise _refused(f"{path} names a {what} twice")
    files = {bits_file(fold, moved) for fold in document.folds for moved in (False, True)}
    if surplus := sorted(document.masks.keys() - files):
        raise _refused(f"{path} names {surplus[0]}, which belongs to none of its folds")
    for fold in document.folds:
        _check_masks(folder / bits_file(fold), document.cases, document.masks)
        if document.transformed:
            path = folder / bits_file(fold, transformed=True)
            _check_masks(path, document.transformed, document.masks)
    return document


def predicted_cases(
    index: SealedIndex,
) -> tuple[tuple[PredictedCase, ...], tuple[PredictedCase, ...]]:
    """Every sealed case with the size of its plain image, and those of the transformed ones."""
    plain = tuple(
        PredictedCase(case_id=case.case_id, height=case.height, width=case.width)
        for case in index.cases
    )
    seed = index.consistency_seed
    if seed is None:
        return plain, ()
    drawn = ((case.case_id, draw(seed, case.case_id, (case.height, case.width))) for case in plain)
    return plain, tuple(
        PredictedCase(case_id=case_id, height=shape.height, width=shape.width)
        for case_id, shape in drawn
    )


def require_bound(
    document: Predictions, submission: Digest, folds: Sequence[int | None], *, index: SealedIndex
) -> None:
    """Refuse predictions of anything but all declared models on all sealed cases, once each.

    A hostile model may have taken over the process that wrote them, and would report the best of
    its folds, or the cases that it is good at, alone.

    Args:
        document: from `open_predictions`.
        submission: digest of the submission, which declares `folds`.
        index: of the sealed images.

    Raises:
        BusbenchError: `predictions-invalid`, naming the first that is missing or too many.
    """
    plain, transformed = predicted_cases(index)
    if document.submission_sha256 != submission:
        raise _refused(f"{DOCUMENT} is of another submission")
    if document.split_digest != index.split_digest:
        raise _refused(f"{DOCUMENT} is of another split")
    for what, found, expected in (
        ("fold", document.folds, folds),
        ("case", document.cases, plain),
        ("transformed case", document.transformed, transformed),
    ):
        _require_same(what, found, expected)


def _require_same(what: str, found: Sequence[object], expected: Sequence[object]) -> None:
    for said, missing in (("lacks", {*expected} - {*found}), ("adds", {*found} - {*expected})):
        for each in sorted(map(_named, missing)):
            raise _refused(f"{DOCUMENT} {said} the {what} {each}")
    if len(found) != len(expected):
        raise _refused(f"{DOCUMENT} names a {what} twice")


def _named(item: object) -> str:
    if isinstance(item, PredictedCase):
        return item.case_id  # its size would tell of the secret transform
    return "of all folds" if item is None else str(item)


def _check_masks(path: Path, cases: Sequence[PredictedCase], digests: Mapping[str, Digest]) -> None:
    expected = sum(packed_bytes(case.height, case.width) for case in cases)
    if not _is_regular(path) or path.stat().st_size != expected:
        raise _refused(f"{path} has another size than its masks")
    if digests.get(path.name) != sha256_file(path):
        raise _refused(f"{path} is not the file that was predicted")


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _refused(why: str) -> BusbenchError:
    return BusbenchError(Code.PREDICTIONS_INVALID, f"{why}.", REMEDY)


def read_packed(
    path: Path, cases: Sequence[PredictedCase]
) -> Iterator[tuple[PredictedCase, bytes]]:
    """Each case of a checked `.bits` file with its packed mask, one at a time, in order."""
    with path.open("rb") as handle:
        for case in cases:
            yield case, handle.read(packed_bytes(case.height, case.width))


def unpack(packed: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """The mask (H, W) in what `pack` gave; its size is best compared with the truth's before."""
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=height * width)
    return bits.reshape(height, width).astype(np.bool_)

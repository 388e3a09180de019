"""Predicted masks on disk: bit-packed, one file a model, data only.

`infer` writes them; `score` parses them as hostile data: everything is bounded and checked before
a pixel is read. The layout is described in `documents.predictions.Predictions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.consistency import draw, window_seeds
from evaluator.documents.base import Digest, read
from evaluator.documents.predictions import PredictedCase, Predictions
from evaluator.documents.sealed import SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file

DOCUMENT, RUNTIME = "predictions.json", "runtime.json"
LEVELS = 255  # of a probability, above 0
REMEDY = "Evaluate the submission again; predictions are written by the infer stage only."


def bits_file(fold: int | None, window: int = 0) -> str:
    """The name of the packed masks of one fold's model.

    Args:
        window: of the transformed images, from 1; 0: the plain images.
    """
    name = "all" if fold is None else str(fold)
    passes = "" if window == 0 else ".transformed" if window == 1 else f".transformed-{window}"
    return f"fold-{name}{passes}.bits"


def maps_file(fold: int | None) -> str:
    """The name of the probabilities of one fold's model on the plain images."""
    return f"fold-{'all' if fold is None else fold}.maps"


def level(probability: float) -> int:
    """A probability as a byte of a map: 255 times as much, rounded, halves up.

    Of single precision, in which masks are cut: where it is above a threshold, its level is not
    below the threshold's.
    """
    return int(min(max(float(np.float32(probability)), 0.0), 1.0) * LEVELS + 0.5)


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
        *(("transformed case id", [case.case_id for case in w]) for w in document.transformed),
        ("fold", document.folds),
    ):
        if len(set(values)) != len(values):
            raise _refused(f"{path} names a {what} twice")
    masks = {
        bits_file(fold, number): sum(packed_bytes(case.height, case.width) for case in cases)
        for fold in document.folds
        for number, cases in enumerate((document.cases, *document.transformed))
    }
    pixels = sum(case.height * case.width for case in document.cases)
    maps = {maps_file(fold): pixels for fold in document.folds if document.maps}
    if (document.threshold is None) != (not maps):
        raise _refused(f"{path} has maps without a threshold, or a threshold without maps")
    for sizes, digests in ((masks, document.masks), (maps, document.maps)):
        if surplus := sorted(digests.keys() - sizes.keys()):
            raise _refused(f"{path} names {surplus[0]}, which belongs to none of its folds")
        for name, size in sizes.items():
            _check_file(folder / name, size, digests)
    return document


def predicted_cases(
    index: SealedIndex,
) -> tuple[tuple[PredictedCase, ...], tuple[tuple[PredictedCase, ...], ...]]:
    """Every sealed case with the size of its plain image, and those of each window."""
    plain = tuple(
        PredictedCase(case_id=case.case_id, height=case.height, width=case.width)
        for case in index.cases
    )
    return plain, tuple(
        tuple(_window(seed, case) for case in plain) for seed in window_seeds(index)
    )


def _window(seed: Digest, case: PredictedCase) -> PredictedCase:
    drawn = draw(seed, case.case_id, (case.height, case.width))
    return PredictedCase(case_id=case.case_id, height=drawn.height, width=drawn.width)


def require_bound(
    document: Predictions,
    submission: Digest,
    folds: Sequence[int | None],
    *,
    index: SealedIndex,
    threshold: float | None = None,
) -> None:
    """Refuse predictions of anything but all declared models on all sealed cases, once each.

    A hostile model may have taken over the process that wrote them, and would report the best of
    its folds, or the cases that it is good at, alone.

    Args:
        document: from `open_predictions`.
        submission: digest of the submission, which declares `folds`.
        index: of the sealed images.
        threshold: that the submission declares, where its probabilities are due; null where not.

    Raises:
        BusbenchError: `predictions-invalid`, naming the first that is missing or too many.
    """
    plain, transformed = predicted_cases(index)
    if document.submission_sha256 != submission:
        raise _refused(f"{DOCUMENT} is of another submission")
    if document.split_digest != index.split_digest:
        raise _refused(f"{DOCUMENT} is of another split")
    if document.threshold != threshold:
        lacks = "lacks the maps" if document.threshold is None else "adds maps, or their threshold"
        raise _refused(f"{DOCUMENT} {lacks} that were asked for")
    if len(document.transformed) != len(transformed):
        raise _refused(
            f"{DOCUMENT} has {len(document.transformed)} windows of each case and not "
            f"{len(transformed)}"
        )
    windows = zip(document.transformed, transformed, strict=True)
    for what, found, expected in (
        ("fold", document.folds, folds),
        ("case", document.cases, plain),
        *(("transformed case", one, due) for one, due in windows),
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


def _check_file(path: Path, size: int, digests: Mapping[str, Digest]) -> None:
    if not _is_regular(path) or path.stat().st_size != size:
        raise _refused(f"{path} has another size than its cases need")
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


def read_maps(path: Path, cases: Sequence[PredictedCase]) -> Iterator[bytes]:
    """The probabilities of each case in a checked `.maps` file, a byte a pixel, in order."""
    with path.open("rb") as handle:
        for case in cases:
            yield handle.read(case.height * case.width)


def majority(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """What more than half of the masks (H, W) mark: their mean, cut at 0.5."""
    return np.asarray(2 * np.sum(masks, axis=0, dtype=np.int16) > len(masks))


def unpack(packed: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """The mask (H, W) in what `pack` gave; its size is best compared with the truth's before."""
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=height * width)
    return bits.reshape(height, width).astype(np.bool_)

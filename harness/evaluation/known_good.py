"""Inputs of our own, on which every stage ends well where the machine and the limits are right.

A stage that dies on a submission's data is the submission's fault until it dies on one of these,
too: else a submission that crashes our parser would get a free try, and another, and another.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.documents.base import write
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.predictions import PredictedCase, Predictions
from evaluator.documents.sealed import SealedIndex
from evaluator.documents.submission import AnySubmission, ModelFile, OutputSpec, Submission
from evaluator.files import disk_errors, sha256_bytes, sha256_file
from evaluator.images.naming import Shown
from evaluator.predictions import DOCUMENT, bits_file, maps_file, pack, predicted_cases
from harness.folders import let_all_read
from harness.submission import assemble

# A rectifier of 32 × 32 logits, as ONNX: the harness has no library to write one with.
NETWORK = bytes.fromhex(
    "08083a510a0c0a0178120179220452656c75120572656164795a1c0a017812170a15080112110a0312016e"
    "0a0208010a0208200a020820621c0a017912170a15080112110a0312016e0a0208010a0208200a02082042"
    "040a001011"
)


def write_submission(place: Path) -> None:
    """Write a submission that the gate accepts."""
    submission = Submission(
        team="busbench",
        method="rectifier",
        track="any",
        input=InputSpec(height=32, width=32, resize="letterbox"),
        output=OutputSpec(),
        models=(ModelFile(file="all.onnx", sha256=sha256_bytes(NETWORK)),),
        opset=17,
    )
    assemble(submission, lambda _: NETWORK, place)


def write_predictions(
    place: Path, submission: AnySubmission, index: SealedIndex, *, threshold: float | None = None
) -> None:
    """Write the predictions that `submission` owes, each mask with a lesion in its middle.

    Args:
        index: of the sealed images.
        threshold: as `require_bound` takes it.
    """
    cases, transformed = predicted_cases(index)
    folds = submission.folds
    digests, maps = {}, dict[str, str]()
    with disk_errors(place):
        place.mkdir(parents=True)
        for fold in folds:
            for window, shown in enumerate((cases, *transformed)):
                path = place / bits_file(fold, window)
                with path.open("wb") as sink:
                    sink.writelines(map(_lesion, shown))
                digests[path.name] = sha256_file(path)
            if threshold is not None:
                path = place / maps_file(fold)
                with path.open("wb") as sink:
                    sink.writelines(map(_certain, cases))
                maps[path.name] = sha256_file(path)
    document = Predictions(
        submission_sha256=submission.digest,
        split_digest=index.split_digest,
        folds=folds,
        cases=cases,
        transformed=transformed,
        masks=digests,
        maps=maps,
        threshold=threshold,
    )
    write(document, place / DOCUMENT)
    let_all_read(place)


def write_masks(place: Path, images: Iterable[Shown]) -> None:
    """Write the PNG masks that a container image owes for `images`."""
    with disk_errors(place):
        place.mkdir(parents=True)
        for image in images:
            Image.fromarray(_ellipse(image.height, image.width)).save(place / image.file, "PNG")
    let_all_read(place)


def _lesion(case: PredictedCase) -> bytes:
    """The packed mask of an ellipse."""
    return pack(_ellipse(case.height, case.width))


def _certain(case: PredictedCase) -> bytes:
    """The probabilities of an ellipse that is certain."""
    return (_ellipse(case.height, case.width) * np.uint8(255)).tobytes()


def _ellipse(height: int, width: int) -> NDArray[np.bool_]:
    """A mask (H, W) of an ellipse, half as wide and high as the image."""
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    return np.asarray(rows**2 + columns**2 <= 0.25)

"""Record of a prediction: which images, by what, and the masks that were made."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from evaluator.documents.base import CASE_BY_CASE, Contract, Digest, Fold, read
from evaluator.documents.inference import Backend, Device, Precision
from evaluator.documents.reading import Bounds
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file
from harness.folders import require_same
from harness.prepare import RefusedCase
from harness.sandbox.stage import RunnerName

RECORD = "predict.json"
Chosen = Fold | Literal["all"]


class PredictedImage(Contract):
    """One image and its mask."""

    image: str
    mask: str  # relative to the record
    mask_sha256: Digest  # of the file
    height: int
    width: int
    lesion_px: int
    spacing_mm: tuple[float, float] | None  # (row, column), as the file or --spacing says
    repairs: tuple[str, ...]  # what was changed in the image before it was predicted


class PredictRecord(Contract):
    """`predict.json`: the images that were predicted, and what decided their masks."""

    bounds: ClassVar[Bounds] = CASE_BY_CASE
    schema_: Literal["busbench/predict/v2"] = Field(default="busbench/predict/v2", alias="schema")
    busbench: str
    submission_sha256: Digest
    fold: Chosen
    images_sha256: Digest  # over the names of the masks, pixels and spacings of the images
    spacing: tuple[float, float] | None  # of images that state none
    device: Device
    precision: Precision
    backend: Backend
    runner: RunnerName
    images: tuple[PredictedImage, ...] = ()
    refused: tuple[RefusedCase, ...] = ()

    def differing(self, other: PredictRecord) -> dict[str, bool]:
        """Whether each setting of another run differs, by its name on the command line."""
        fields = {
            "submission": "submission_sha256",
            "--fold": "fold",
            "content of the images": "images_sha256",
            "--spacing": "spacing",
            "--device": "device",
            "--precision": "precision",
            "--backend": "backend",
            "--runner": "runner",
            "version of busbench": "busbench",
        }
        return {
            name: getattr(self, value) != getattr(other, value) for name, value in fields.items()
        }


def made_before(out: Path, wanted: PredictRecord) -> PredictRecord:
    """The record of finished masks, which must be those that are wanted, and whole.

    Raises:
        BusbenchError: `output-exists` where they are others, or one was changed or removed.
    """
    remedy = "Name a new folder with --out."
    before = read(PredictRecord, out / RECORD, Code.OUTPUT_EXISTS, remedy=remedy)
    require_same(out, before.differing(wanted))
    for each in before.images:
        path = out / each.mask
        if not path.is_file() or sha256_file(path) != each.mask_sha256:
            message = f"{path} was changed or removed after it was predicted."
            raise BusbenchError(Code.OUTPUT_EXISTS, message, remedy)
    return before

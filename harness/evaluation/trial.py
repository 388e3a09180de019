"""Trial of an image that predicts, on a few images, before it is handed in.

It is run as in an evaluation: the same sandbox and limits, random names, two starts, and the same
intake of its masks. Images are of a training bundle, or drawn here where there is none.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.base import read
from evaluator.documents.inference import Runtime
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import ImageSubmission
from evaluator.errors import Code
from evaluator.files import disk_errors
from evaluator.predictions import RUNTIME, bits_file, open_predictions, read_packed, unpack
from harness.evaluation.ephemeral import seal_once
from harness.evaluation.forecast import passes
from harness.evaluation.images import PLACES, predict_masks
from harness.evaluation.sealed_files import SealedImages
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.validation import seal_public
from harness.sandbox.cached import AGAIN, Context
from harness.sealing.training import TrainingSet
from harness.submission import DOCUMENT, write_document

TRIED = 8  # images of a bundle
# Height and width of drawn images: upright, wide, odd, small. No two are alike, so that a program
# that takes one size alone, or batches what differs, shows it here.
SIZES = ((480, 640), (600, 400), (255, 301), (64, 48))
DARK, BRIGHT, SPECKLE = 35.0, 120.0, 0.25  # grey levels, and the spread of a factor around 1


@dataclass(frozen=True)
class TriedImage:
    """An image that was shown, and how much of it the mask marks."""

    name: str
    height: int
    width: int
    lesion_px: int


@dataclass(frozen=True)
class Trial:
    """What the image made of a few images, and what it took."""

    images: tuple[TriedImage, ...]
    seconds: float  # of the first start, from its begin to its end
    host_memory_mb: int | None  # the largest sample; null: it ended too soon to be sampled
    test_images: int | None  # that an evaluation shows it; null: there is no bundle that says
    limit_seconds: int
    limit_memory_mb: int

    @property
    def most_seconds(self) -> float | None:
        """The time of the test set, were it no faster on more images than on these few."""
        if self.test_images is None:
            return None
        return self.seconds / len(self.images) * max(self.test_images, len(self.images))

    @property
    def lines(self) -> Iterator[tuple[str, str]]:
        """Head and text of what it took, for people."""
        time = f"{self.seconds:.1f} s for {len(self.images)} images, its start included"
        if (most := self.most_seconds) is not None:
            verdict = "within" if most <= self.limit_seconds else "MORE THAN"
            time += f"; were it no faster on more, {max(1, round(most))} s for the "
            time += f"{self.test_images} of the test set, windows included, {verdict} the limit of "
            time += f"{self.limit_seconds} s"
        yield "time", time
        found = self.host_memory_mb
        sampled = "not measured, it ended too soon" if found is None else f"{found} MB at its peak"
        yield "memory", f"{sampled}; the limit is {self.limit_memory_mb} MB"
        for what, count in (("empty", 0), ("the whole image", 1)):
            alike = sum(each.lesion_px == count * each.height * each.width for each in self.images)
            if alike:
                yield "masks", f"{alike} of {len(self.images)}: {what}"

    def document(self) -> dict[str, Any]:
        """The trial, for scripts."""
        return {**asdict(self), "most_seconds": self.most_seconds}


def try_image(
    submission: ImageSubmission,
    training: TrainingSet | None,
    *,
    context: Context,
    log: Path | None = None,
) -> Trial:
    """Run an image twice on a few images, as test images are run, and take its masks in.

    Args:
        training: whose images are shown; null: images that are drawn here.
        log: where all goes that the image printed, however it ends.

    Raises:
        BusbenchError: whatever the prediction of an evaluation ends with.
    """
    with tempfile.TemporaryDirectory(prefix="busbench-trial-") as name:
        work = Path(name)
        write_document(submission, work / "submission" / DOCUMENT)
        files = _drawn(work) if training is None else _chosen(training, work)
        try:
            predict_masks(work, submission, files, settings=EvaluateSettings(), context=context)
        finally:
            if log is not None:
                _keep_logs(work, log)
        ran = read(Runtime, work / "infer" / RUNTIME, Code.STAGE_CRASHED, remedy=AGAIN).measured
        images = tuple(_found(work / "infer"))
    limits = context.challenge.limits.infer
    return Trial(
        images=images,
        seconds=ran.seconds,
        host_memory_mb=ran.host_memory_mb,
        test_images=None
        if training is None
        else passes(training.bundle.windows) * training.bundle.test_cases,
        limit_seconds=limits.seconds,
        limit_memory_mb=limits.memory_mb,
    )


def _found(place: Path) -> Iterator[TriedImage]:
    predictions = open_predictions(place)
    for case, data in read_packed(place / bits_file(None), predictions.cases):
        marked = int(unpack(data, case.height, case.width).sum())
        yield TriedImage(case.case_id, case.height, case.width, marked)


def _keep_logs(work: Path, log: Path) -> None:
    """Write what the starts printed to one file, one after the other."""
    logs = [work / f"{place}.log" for place in PLACES.values()]
    with disk_errors(log), log.open("wb") as sink:
        for path in filter(Path.is_file, logs):
            with path.open("rb") as source:
                shutil.copyfileobj(source, sink)


def _chosen(training: TrainingSet, work: Path) -> SealedImages:
    step = max(1, len(training.cases) // TRIED)
    cases = [each.case for each in training.cases[::step]][:TRIED]
    return seal_public(training, cases, work / "sealed")


def _drawn(work: Path) -> SealedImages:
    """Sealed images of `SIZES`, each with a dark ellipse in speckle, and one that is black."""
    drawn = {f"drawn-{h}x{w}": _speckle(h, w) for h, w in SIZES}
    drawn["black"] = np.zeros(SIZES[0], np.uint8)
    cases = [
        SealedCase(case_id=name, height=pixels.shape[0], width=pixels.shape[1], file=f"{name}.grey")
        for name, pixels in sorted(drawn.items())
    ]
    content = (drawn[case.case_id].tobytes() for case in cases)
    archive = work / "sealed" / "images.age"
    return SealedImages(*seal_once(archive, cases, content, split_digest="0" * 64))


def _speckle(height: int, width: int) -> NDArray[np.uint8]:
    """An image (H, W) uint8 of a dark ellipse, half as wide and high as it, on bright speckle."""
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    level = np.where(rows**2 + columns**2 <= 0.25, DARK, BRIGHT)
    noise = np.random.default_rng(height).normal(1, SPECKLE, (height, width))
    return np.clip(level * noise, 0, 255).astype(np.uint8)

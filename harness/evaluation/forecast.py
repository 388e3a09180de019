"""Forecast of a submission's inference time on the test set, from a measurement on this machine."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.documents.base import read
from evaluator.documents.inference import GateVerdict, Runtime, repeated_cases
from evaluator.errors import Code
from evaluator.predictions import RUNTIME
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.stage_commands import infer_stage
from harness.evaluation.validation import narrow, seal_public
from harness.sandbox.cached import AGAIN, Context
from harness.sealing.bundle import WINDOWS
from harness.sealing.training import TrainingSet
from harness.submission import take

TRIED = 4  # images that are measured; each is run several times
RUNS_AGAIN = 3  # of each repeated case: twice alone, once in other company


@dataclass(frozen=True)
class Forecast:
    """How long inference on the test set will take, were its machine as fast as this one."""

    latency_ms: float  # of one image, by the slowest model to compute
    cases: int
    models: int
    windows: int | None  # transformed images of each case; None where the bundle does not say
    limit_seconds: int
    cpus: float
    device_name: str

    @property
    def images(self) -> int:
        """How often a model is run on an image, all in all."""
        return (
            self.models
            * passes(self.windows)
            * (self.cases + RUNS_AGAIN * repeated_cases(self.cases))
        )

    @property
    def seconds(self) -> float:
        """The time of the networks alone."""
        return self.images * self.latency_ms / 1000

    @property
    def fits(self) -> bool:
        """Whether that is within the limit."""
        return self.seconds <= self.limit_seconds

    @property
    def lines(self) -> tuple[str, str]:
        """The forecast, and what it assumes, for people."""
        verdict = "within" if self.fits else "MORE THAN"
        product = (
            f"{self.latency_ms:.1f} ms an image × {self.images} runs ({self.cases} test cases × "
            f"{self.models} models × {passes(self.windows)} passes, and cases that are run again)"
        )
        total = (
            f"about {max(1, round(self.seconds))} s, {verdict} the limit of {self.limit_seconds} s"
        )
        assumed = (
            f"a machine like this one ({self.device_name}, {self.cpus:g} CPUs), one image at a "
            "time, the network alone; batches save time, reading and resizing take some; "
            f"{passes(self.windows) - 1} transformed windows of each image, "
            + (
                "as many as is usual: the bundle does not say"
                if self.windows is None
                else "as the bundle says"
            )
        )
        return f"{total}: {product}", assumed

    def document(self) -> dict[str, Any]:
        """The forecast, for scripts."""
        return {**vars(self), "seconds": round(self.seconds, 3), "fits": self.fits}


def passes(windows: int | None) -> int:
    """How often a case is run: plain, and in its windows; as many as is usual where unknown."""
    return 1 + (WINDOWS if windows is None else windows)


def forecast(
    folder: Path,
    verdict: GateVerdict,
    training: TrainingSet,
    *,
    context: Context,
) -> Forecast:
    """Run the model with most work on some training images, as the test images are run.

    Args:
        folder: the submission, which the gate has accepted.
        verdict: the gate's.

    Raises:
        BusbenchError: whatever inference ends with.
    """
    largest = max(verdict.models, key=lambda model: model.gmacs or 0)
    with tempfile.TemporaryDirectory(prefix="busbench-forecast-") as name:
        work = Path(name)
        submission = take(folder, work / "submission")
        declared = next(model for model in submission.models if model.sha256 == largest.sha256)
        part = submission.model_copy(update={"models": (declared,)})
        narrow(work, verdict, part, place=work / "one")
        chosen = [each.case for each in training.cases[:: max(1, len(training.cases) // TRIED)]]
        files = seal_public(training, chosen[:TRIED], work / "sealed")
        challenge = context.challenge
        context.run_once(
            infer_stage(work / "one", files, settings=EvaluateSettings(), challenge=challenge)
        )
        found = read(Runtime, work / "one" / "infer" / RUNTIME, Code.STAGE_CRASHED, remedy=AGAIN)
    limits = challenge.limits.infer
    assert found.measured.latency_ms is not None  # of ONNX files it is measured
    return Forecast(
        latency_ms=found.measured.latency_ms,
        cases=training.bundle.test_cases,
        windows=training.bundle.windows,
        models=len(verdict.models),
        limit_seconds=limits.seconds,
        cpus=limits.cpus,
        device_name=found.measured.device_name,
    )

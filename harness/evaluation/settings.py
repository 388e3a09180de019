"""Settings of an evaluation: what inference runs on, and how masks are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evaluator.documents.inference import (
    Backend,
    BatchSize,
    Device,
    EfficiencyLimits,
    Precision,
    require_precision,
)
from evaluator.documents.submission import AnySubmission, ImageSubmission
from evaluator.metrics.profiles import DEFAULT
from harness.challenge import Challenge, Component
from harness.sandbox import Runner
from harness.sandbox.sources import sources_digest


@dataclass(frozen=True)
class EvaluateSettings:
    """How inference is run; the device is used or refused, never changed silently."""

    device: Device = "cpu"
    batch_size: BatchSize = "auto"
    backend: Backend = "onnxruntime"
    precision: Precision = "fp32"
    profile: str = DEFAULT  # that masks are measured by; the track's
    efficiency: EfficiencyLimits | None = None  # of the track; on validation folds none
    probabilities: bool = False  # whether the track asks for them; on validation folds not

    def __post_init__(self) -> None:
        require_precision(self.device, self.precision)

    def due_threshold(self, submission: AnySubmission) -> float | None:
        """The threshold of the probabilities that a submission owes; None where it owes none.

        A container image, and a network that gives masks, have none to give.
        """
        if not self.probabilities or isinstance(submission, ImageSubmission):
            return None
        return None if submission.output.kind == "mask" else submission.output.threshold

    @property
    def component(self) -> Component:
        """The image that the model runs in.

        A Triton server is in the image of its client, whose container has no network to reach
        another; CUDA's libraries, which are large, are in an image of their own.
        """
        if self.backend == "triton":
            return "triton"
        return "infer" if self.device == "cpu" else "infer-gpu"

    @property
    def components(self) -> Mapping[str, Component]:
        """The image of each stage; first that of inference, which may need a device."""
        return {"infer": self.component, "gate": "infer", "score": "score"}

    def identify(self, runner: Runner) -> dict[str, str]:
        """What each stage runs, and what that is made from; see `Runner`."""
        found = {stage: runner.identify(image) for stage, image in self.components.items()}
        return {**found, "base": runner.identify_base()}

    def decides(self, runner: str, challenge: Challenge) -> dict[str, Any]:
        """What of an evaluation's code and settings decides its result, for a job's key."""
        sources = {
            stage: sources_digest(image, challenge.images)
            for stage, image in self.components.items()
        }
        limits = None if self.efficiency is None else self.efficiency.document()
        settings = {**asdict(self), "efficiency": limits}
        return {"evaluator": sources, "runner": runner, "settings": settings}

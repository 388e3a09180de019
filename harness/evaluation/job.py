"""The job that evaluates one submission on its track.

RUNS/jobs/<key>.json    its presence, with a report whose digest holds, means done
RUNS/<id>/              the evaluation itself, see `harness.evaluation.evaluate`
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluator.documents.base import Digest
from evaluator.documents.submission import Submission
from evaluator.progress import Progress, quiet
from harness.challenge import Component
from harness.evaluation.evaluate import REPORT, evaluate, identify, run_id
from harness.execution.inputs import Input
from harness.execution.job import ExecutionEnvironment, key_of, write_result
from harness.sandbox.images import sources_digest
from harness.sandbox.stage import StageName
from harness.sealing.bundle import Bundles
from harness.sealing.documents import SealedBundle
from harness.sealing.keys import Keys

STAGES: tuple[StageName, ...] = ("gate", "infer", "score")


@dataclass(frozen=True)
class EvaluateSubmission:
    """One submission on one track."""

    submission: Input
    facts: Submission
    bundle: Input  # the folder with both bundles
    sealed: SealedBundle
    keys: Path
    runs: Path
    environment: ExecutionEnvironment
    kind = "evaluate"

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"evaluate {self.facts.method} of {self.facts.team} on {self.sealed.track}"

    @property
    def key(self) -> Digest:
        """The submission, what it is tested on, and what tests it."""
        images = self.environment.challenge.images
        return key_of(
            kind="evaluate",
            submission=self.facts.digest,
            split=self.sealed.split_digest,
            images=self.sealed.images_sha256,
            labels=self.sealed.labels_sha256,
            evaluator=[sources_digest(component, images) for component in self._components],
            runner=self.environment.runner,
            settings=asdict(self.environment.evaluate),
        )

    @property
    def _components(self) -> tuple[Component, ...]:
        return self.environment.evaluate.component, "score"

    @property
    def result(self) -> Path:
        """See `Job`."""
        return self.runs / "jobs" / f"{self.key[:16]}.json"

    @property
    def gpu(self) -> bool:
        """See `Job`."""
        return self.environment.evaluate.device != "cpu"

    @property
    def stage(self) -> StageName | None:
        """See `Job`."""
        if self.environment.runner != "process":
            return None
        with self.environment.open_runner(quiet) as runner:
            identities = identify(runner, self.environment.evaluate)
        folder = self.runs / run_id(self.facts, self.sealed, identities, self.environment.evaluate)
        begun = (name for name in STAGES if (folder / f"{name}.partial").exists())
        return next(begun, None)

    def run(self, progress: Progress) -> None:
        """Evaluate; finished stages of a killed evaluation are kept."""
        submission, bundles = self.submission.here(), Bundles.open(self.bundle.here())
        with self.environment.open_runner(progress, gpu=self.gpu) as runner:
            done = evaluate(
                submission,
                bundles,
                Keys.open(self.keys),
                self.runs,
                runner,
                self.environment.challenge,
                self.environment.evaluate,
                progress,
            )
        report = done.folder / REPORT
        name = os.path.relpath(report, self.result.parent)
        write_result(self, {name: report})

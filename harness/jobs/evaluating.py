"""The job that evaluates one submission on its track.

RUNS/jobs/<key>.json    its presence, with a report whose digest holds, means done
RUNS/<id>/              the evaluation itself, see `harness.lanes.evaluate`
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluator.contract import Digest, SealedBundle, Submission
from evaluator.progress import Progress, quiet
from harness.challenge import Room
from harness.jobs.inputs import Input
from harness.jobs.job import Site, key_of, write_result
from harness.lanes.evaluate import REPORT, evaluate, identify, run_id
from harness.sandbox.images import sources_digest
from harness.sandbox.stage import StageName
from harness.sealing.bundle import Bundles
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
    site: Site
    kind = "evaluate"

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"evaluate {self.facts.method} of {self.facts.team} on {self.sealed.track}"

    @property
    def key(self) -> Digest:
        """The submission, what it is tested on, and what tests it."""
        images = self.site.challenge.images
        return key_of(
            kind="evaluate",
            submission=self.facts.digest,
            split=self.sealed.split_digest,
            images=self.sealed.images_sha256,
            labels=self.sealed.labels_sha256,
            evaluator=[sources_digest(room, images) for room in self._rooms],
            runner=self.site.runner,
            settings=asdict(self.site.evaluate),
        )

    @property
    def _rooms(self) -> tuple[Room, ...]:
        return self.site.evaluate.room, "score"

    @property
    def result(self) -> Path:
        """See `Job`."""
        return self.runs / "jobs" / f"{self.key[:16]}.json"

    @property
    def gpu(self) -> bool:
        """See `Job`."""
        return self.site.evaluate.device != "cpu"

    @property
    def stage(self) -> StageName | None:
        """See `Job`."""
        if self.site.runner != "process":
            return None
        with self.site.open_runner(quiet) as runner:
            identities = identify(runner, self.site.evaluate)
        folder = self.runs / run_id(self.facts, self.sealed, identities, self.site.evaluate)
        begun = (name for name in STAGES if (folder / f"{name}.partial").exists())
        return next(begun, None)

    def run(self, progress: Progress) -> None:
        """Evaluate; finished stages of a killed evaluation are kept."""
        submission, bundles = self.submission.here(), Bundles.open(self.bundle.here())
        with self.site.open_runner(progress, gpu=self.gpu) as runner:
            done = evaluate(
                submission,
                bundles,
                Keys.open(self.keys),
                self.runs,
                runner,
                self.site.challenge,
                self.site.evaluate,
                progress,
            )
        report = done.folder / REPORT
        name = os.path.relpath(report, self.result.parent)
        write_result(self, {name: report})

"""Job that scores the kept predictions of one run anew.

    RUNS/<id>/rescored/<key>/score/            scores, every case   made by the score container
    RUNS/<id>/rescored/<key>/report.dsse.json  signed
    RUNS/<id>/rescored/<key>/result.json       last: its presence means done

All that the earlier report says of what was scored, who made it and where, stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from evaluator.documents.base import Digest
from evaluator.documents.scores import Scores
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors
from evaluator.metrics import profile_version
from evaluator.predictions import open_predictions
from evaluator.progress import Progress
from harness.evaluation.evaluate import REPORT, finished_run, require_keys_of
from harness.evaluation.stage_commands import score_stage, write_left_out
from harness.evaluation.stage_output import RESCORED, read_scores
from harness.execution.job import ExecutionEnvironment, key_of, write_result
from harness.ledger import SignedReport, sign, write_report
from harness.ledger.report import Report
from harness.sandbox.sources import sources_digest
from harness.sandbox.stage import StageName
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys


@dataclass(frozen=True)
class ScoreAnew:
    """The kept predictions of one report, scored by a version of a metric profile."""

    run_folder: Path
    report: Report  # the one that counts now
    bundles: Bundles  # with the labels that it was scored with
    profile: str
    label_keys: Path  # the folder of keys that open them
    environment: ExecutionEnvironment  # with the organiser's keys, which sign
    kind: ClassVar[str] = "rescore"
    gpu: ClassVar[bool] = False
    stage: ClassVar[StageName | None] = None  # nothing of a participant's is run

    @property
    def label(self) -> str:
        part = ", final part" if self.report.part == "final" else ""
        return f"rescore {self.report.method} of {self.report.team} on {self.report.track}{part}"

    @property
    def key(self) -> Digest:
        """The report, the labels, and what scores it."""
        return key_of(
            kind=self.kind,
            report=self.report.origin(),  # the same once what this gives is recorded
            labels=self.bundles.sealed.labels_sha256,
            profile=profile_version(self.profile).identity.document(),
            evaluator=sources_digest("score", self.environment.challenge.images),
            runner=self.environment.runner,
        )

    @property
    def folder(self) -> Path:
        """Where all of it is kept."""
        return self.run_folder / RESCORED / self.key[:16]

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    def run(self, progress: Progress) -> None:
        """Score and sign; a score stage that had ended before a kill is kept.

        Raises:
            BusbenchError: `cases-invalid` where the masks are not those that were scored;
                `keys-invalid`.
        """
        self._require_kept()
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.parent.chmod(0o700)
        with self.environment.open(progress) as context:
            assert context.keys is not None
            keys, label_keys = Keys.open(context.keys), Keys.open(self.label_keys)
            require_keys_of(self.bundles, label_keys)
            stage = score_stage(
                self.run_folder / "infer",
                self.folder,
                labels=self.bundles.labels,
                key=label_keys.labels.identity,
                profile=self.profile,
                challenge=context.challenge,
                left_out=write_left_out(self.folder, self.report.left_out),
            )
            context.run_once(stage)
            scorer = context.runner.identify("score")
        report = scored_anew(self.report, read_scores(self.folder), scorer)
        write_report(sign(report, keys), self.folder / REPORT)
        write_result(self, {REPORT: self.folder / REPORT})

    def _require_kept(self) -> None:
        """Refuse masks that changed since they were kept; nobody but the organiser had them."""
        try:
            open_predictions(self.run_folder / "infer")
        except BusbenchError as error:
            remedy = "Restore the run from a backup, or leave it as it is with --partial."
            raise BusbenchError(Code.CASES_INVALID, error.message, remedy) from error

    def finished(self) -> SignedReport:
        """What the finished job left; what an earlier key of the ledger signed is signed anew.

        Raises:
            BusbenchError: `ledger-invalid` where its report is not what the organiser signed.
        """
        assert self.environment.keys is not None
        keys = Keys.open(self.environment.keys)
        return finished_run(self.folder, keys, self.environment.known_keys).signed


def scored_anew(report: Report, scores: Scores, scorer: str) -> Report:
    """The report with other scores of the same predictions.

    Args:
        scorer: what the score stage ran, see `Runner.identify`.

    Raises:
        ValueError: where the scores are of other predictions: a bug.
    """
    document = report.document()
    evaluator = {**report.provenance.evaluator, "score": scorer}
    whole = report.scores.invalid > 0 or report.status == "complete"  # else a fold is missing
    document["scores"] = scores.document()
    document["status"] = "complete" if whole and scores.invalid == 0 else "incomplete"
    document["provenance"]["evaluator"] = evaluator
    return Report.model_validate(document)

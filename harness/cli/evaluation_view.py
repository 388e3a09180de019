"""Output of evaluations and validations, for people and for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evaluator.harmless import harmless
from harness.cli.app import out
from harness.cli.run_view import Batch, Failure, do_jobs
from harness.cli.show import print_report, print_validation
from harness.evaluation.evaluate import EvaluateSubmission
from harness.evaluation.validation import ValidateSubmission
from harness.ledger.report import Report

if TYPE_CHECKING:
    from harness.quotas.recording import LedgerRecorder


def print_evaluations(
    batch: Batch[EvaluateSubmission], recorder: LedgerRecorder | None, *, as_json: bool
) -> None:
    """Print what a batch of evaluations gave, and end with the status of its failures."""
    results = [job.finished() for job in batch.done]
    if as_json:
        shown = [_document(result.report, is_kept=recorder is not None) for result in results]
        batch.print_json("reports", shown, stage_seconds=[result.seconds for result in results])
    else:
        for job, result in zip(batch.done, results, strict=True):
            if recorder is None or result.report.part == "test":
                print_report(result)
            if recorder is not None and (accepted := recorder.accepted.get(job.key)):
                own = accepted.own
                out.print(harmless(f"received         {own.day}, in the phase {own.phase}"))
                out.print(harmless(f"for the team     {accepted.folder}"))
                if accepted.appended is None:
                    what = f"{own.method} of {own.team}, by `busbench finalise` after the phase"
                    out.print(harmless(f"to be recorded   {what}"))
    batch.exit()


def _document(report: Report, *, is_kept: bool) -> dict[str, Any]:
    """A report for scripts; of a final, which is kept until its end, without scores."""
    document = report.document()
    if is_kept and report.part == "final":
        del document["scores"]
    return document


def validate(
    jobs: list[ValidateSubmission], refused: list[Failure], *, cluster: str | None, as_json: bool
) -> None:
    """Do a batch of validations, print what it gave, and end with the status of its failures."""
    batch = do_jobs(jobs, cluster, refused=refused)
    results = [job.finished() for job in batch.done]
    if as_json:
        scores = [
            {
                "folder": str(result.folder),
                "submission": result.submission.document(),
                "scores": result.scores.document(),
                "mean_of_cases": result.cases.mean,
                "hints": result.cases.hints,
                "stage_seconds": result.seconds,
            }
            for result in results
        ]
        batch.print_json("validations", scores)
    else:
        for result in results:
            print_validation(result)
    batch.exit()

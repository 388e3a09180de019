"""Runs as `busbench evaluate` leaves them: every case, and a signed report that sums it up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.documents.sealed import SealedCase
from evaluator.files import write_atomically
from evaluator.metrics import METRICS
from evaluator.metrics.lesions import LesionCounts
from evaluator.scoring.score import cases_parquet
from evaluator.scoring.summary import CaseScore, summarise
from harness.evaluation.evaluate import REPORT
from harness.evaluation.stage_output import CASES
from harness.ledger import append, sign, write_report
from harness.ledger.report import Report
from harness.sealing.keys import Keys
from tests.support.factories import digest_of, make_report


@dataclass
class Organiser:
    """A ledger, and the runs behind it."""

    root: Path
    keys: Keys
    cases: int = 16
    patients: int = 8
    windows: int = 0  # of the consistency pass
    ledger: Path = field(init=False)
    runs: Path = field(init=False)

    def __post_init__(self) -> None:
        self.ledger, self.runs = self.root / "ledger.jsonl", self.root / "runs"

    def submit(
        self, method: str, skill: float = 0.5, folds: int = 2, loss: float = 0.0, **how: Any
    ) -> Path:
        """Evaluate a submission of that skill, record its report, and give the run's folder.

        Args:
            loss: what it loses of Dice on each window, about.
        """
        seed = len(method) + int(1000 * skill)
        rows = self.rows(skill, folds, seed=seed)
        windows = [
            self.rows(skill - loss, folds, seed=seed + number)
            for number in range(1, self.windows + 1)
        ]
        report = report_of(rows, make_report(method=method, folds=folds, **how), windows)
        signed = sign(report, self.keys)
        folder = self.runs / digest_of(repr((method, skill, how)))[:16]
        write_atomically(folder / CASES, cases_parquet(rows, windows, defaultdict(str)))
        write_report(signed, folder / REPORT)
        append(self.ledger, signed, self.keys)
        return folder

    def rows(self, skill: float, folds: int, seed: int) -> list[CaseScore]:
        """What such a submission gets on every case of every fold."""
        random = np.random.default_rng(seed)
        found = []
        for fold in [None] if folds == 1 else range(folds):
            for n in range(self.cases):
                dice = float(np.clip(random.normal(skill, 0.1), 0, 1))
                ranked = {"dice": dice, "iou": dice / (2 - dice), "hd95": 100 * (1 - dice)}
                values = dict.fromkeys(METRICS, 0.5) | ranked
                counts = LesionCounts(1, 1, 0)
                found.append(CaseScore(fold, self.case(n), 30 + n, "ok", values, counts, ranked))
        return found

    def case(self, number: int) -> SealedCase:
        """A test case; each patient has as many as the others."""
        return SealedCase(
            case_id=f"c{number:03}",
            height=64,
            width=64,
            file=f"c{number:03}.png",
            label="benign",
            patient_group=f"p{number % self.patients}",
        )


def report_of(
    rows: list[CaseScore], report: Report, windows: Sequence[list[CaseScore]] = ()
) -> Report:
    """The report with the scores that the rows amount to."""
    scores = summarise(
        rows,
        windows,
        predictions_sha256=report.provenance.predictions_sha256,
        labels_sha256=report.scores.labels_sha256,
        in_mm=False,
    )
    return report.model_copy(update={"scores": scores})

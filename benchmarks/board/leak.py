"""The price of a leak: one recipe on a split by image against a split by patient.

    python -m benchmarks.board.leak BY_PATIENT/runs BY_IMAGE/runs --method unext --track bus-uclm

prints Dice of all folds on each test part as a table in Markdown, with 95 % t intervals over
patients, and the difference. The two test parts are drawn from the same release and share some
patients, so the interval of the difference, which takes them for independent, is an approximation.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.special

from benchmarks.timing import head, row
from evaluator.documents.base import read
from evaluator.errors import BusbenchError, Code
from evaluator.scoring.intervals import LEVEL, mean_intervals
from harness.evaluation.evaluate import REPORT
from harness.evaluation.stage_output import CASES
from harness.ledger.attestation import SignedReport, stated_report

RULES = ("by patient", "by image")


@dataclass(frozen=True)
class Measured:
    """Dice of one method on one test part, the fold models averaged."""

    cases: int
    patients: int
    mean: float
    interval: tuple[float, float]

    @property
    def error(self) -> float:
        """The standard error, from half the interval."""
        low, high = self.interval
        return float((high - low) / 2 / scipy.special.stdtrit(self.patients - 1, (1 + LEVEL) / 2))


def measure(cases: pd.DataFrame) -> Measured:
    """Dice over patients, from the rows of every fold and case."""
    by_case = cases.groupby(["patient_group", "case_id"])["dice"].mean()
    by_patient = by_case.groupby("patient_group").agg(["sum", "count"])
    sums = by_patient["sum"].to_numpy()[:, None]
    low, high = mean_intervals(sums, by_patient["count"].to_numpy(float))[:, 0]
    return Measured(len(by_case), len(by_patient), float(by_case.mean()), (float(low), float(high)))


def difference(one: Measured, other: Measured) -> tuple[float, float, float]:
    """The difference of the means, and its 95 % interval by Welch's t (Biometrika 34, 1947)."""
    errors = np.array([one.error, other.error]) ** 2
    sizes = np.array([one.patients, other.patients]) - 1
    freedom = errors.sum() ** 2 / (errors**2 / sizes).sum()
    half = scipy.special.stdtrit(freedom, (1 + LEVEL) / 2) * math.sqrt(errors.sum())
    apart = one.mean - other.mean
    return apart, apart - half, apart + half


def find(runs: Path, method: str, track: str) -> pd.DataFrame:
    """The case table of the one run of a method on the track that it was trained on.

    Raises:
        BusbenchError: `cases-invalid` where there is none, or more than one.
    """
    found = [path for path in sorted(runs.glob(f"*/{REPORT}")) if _is_of(path, method, track)]
    if len(found) != 1:
        message = f"{runs} contains {len(found)} runs of {method} on {track}, and not one."
        raise BusbenchError(Code.CASES_INVALID, message, "Evaluate it, in a folder of its own.")
    return pd.read_parquet(found[0].parent / CASES)


def _is_of(path: Path, method: str, track: str) -> bool:
    signed = read(SignedReport, path, Code.CASES_INVALID, remedy="Evaluate it again.")
    report = stated_report(signed, str(path))
    return (report.method, report.track, report.home) == (method, track, None)


def price(runs: Sequence[Path], *, method: str, track: str) -> list[tuple[object, ...]]:
    """The rows of the table of one method: split, test cases, patients, Dice.

    Args:
        runs: those of the split by patient, then those of the split by image.
    """
    found = [measure(find(folder, method, track)) for folder in runs]
    rows: list[tuple[object, ...]] = []
    for rule, each in zip(RULES, found, strict=True):
        low, high = np.clip(each.interval, 0, 1)
        rows.append((rule, each.cases, each.patients, f"{each.mean:.3f} ({low:.3f} to {high:.3f})"))
    apart = "{:.3f} ({:.3f} to {:.3f})".format(*difference(found[1], found[0]))
    return [*rows, ("by image, less by patient", "", "", apart)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs=2, help="of the split by patient, then by image")
    parser.add_argument("--method", required=True)
    parser.add_argument("--track", required=True)
    chosen = parser.parse_args()
    try:
        rows = price(chosen.runs, method=chosen.method, track=chosen.track)
    except BusbenchError as error:
        raise SystemExit(str(error)) from error
    print(
        "\n".join(
            [head("split", "test cases", "patients", "Dice (95 %)"), *(row(*r) for r in rows)]
        )
    )


if __name__ == "__main__":
    main()

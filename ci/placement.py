"""Place of a scored submission among a track's results, before the ledger has it.

By the means alone, as `harness.ranking.assembly` orders a track that has no ranking yet. Nothing of
the ledger is shown while a phase hides exact results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge
from harness.ledger import RecordedReport, verify_ledger
from harness.ledger.report import Report
from harness.quotas.publication import require_results_open
from harness.ranking.assembly import rank
from harness.ranking.board import Row, Track

BASELINE_TEAM = "BUSBench reference"  # as `reference_models` calls itself
LAST = 10**9  # the entry number of what is not in the ledger yet: the newest
NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Placement:
    """A submission's row on its track, and the rows that it is compared with."""

    track: Track
    own: Row
    baseline: Row | None  # the best reference network; null where no other has been evaluated
    best: Row | None  # of all others, the first in rank


def place(report: Report, ledger: Path, challenge: Challenge) -> Placement | None:
    """Where a report would stand; None while a phase hides exact results.

    Raises:
        BusbenchError: `ledger-invalid`, and what else `require_results_open` raises.
    """
    recorded = verify_ledger(ledger).reports if ledger.exists() else ()
    try:
        if recorded:
            require_results_open(ledger, challenge)
    except BusbenchError as error:
        if error.code != Code.RESULTS_CLOSED:
            raise
        return None
    return find_place(recorded, report, challenge)


def find_place(
    recorded: Sequence[RecordedReport], report: Report, challenge: Challenge
) -> Placement:
    """The rows that a report is shown with, were it the newest in the ledger."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    new = RecordedReport(LAST, NO_DIGEST, now, load=lambda: report)
    tracks = rank([*recorded, new], ranked=challenge.ranking.metrics)
    track, own = next((track, row) for track in tracks for row in track.rows if row.entry == LAST)
    others = [row for row in track.ranked if row is not own]
    baseline = next((row for row in others if row.team == BASELINE_TEAM), None)
    best = next((row for row in others if row is not baseline), None)
    return Placement(track, own, baseline, best)

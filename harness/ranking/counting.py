"""Reports that count, and tables that they share.

Results are comparable, and so share a table, where track, split and its part, metric profile, units
and the sealing agree: another sealing may have other labels, and has other secret seeds.
Of a team's entries for one method the latest counts; the earlier ones stay in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from evaluator.documents.base import Digest
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes
from harness.challenge import Challenge, Reference
from harness.declared import require_track
from harness.ledger import LedgerVerdict, RecordedReport
from harness.ledger.report import Report
from harness.ranking.board import Row
from harness.ranking.metrics import METRICS
from harness.team_names import one_spelling


def require_declared(ledger: LedgerVerdict, challenge: Challenge) -> None:
    """Refuse a ledger whose reports are not on tracks as challenge.yaml declares, within limits.

    Raises:
        BusbenchError: `challenge-invalid`, naming the first entry that contradicts it.
    """
    left = ledger.left
    for entry in ledger.reports:
        where, stated = f"Entry {entry.number} of the ledger", entry.report.stated_track
        if entry.digest in left:  # by name: it is in a table of its own
            stated = replace(stated, metric_profile=None)
        require_track(challenge, stated, where)
        problem = _over_limits(challenge, entry.report)
        if problem is not None:
            message = f"{where} is not within the limits of track {entry.report.track}: {problem}."
            remedy = "Evaluate it again with this challenge.yaml, or retract it."
            raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)


def _over_limits(challenge: Challenge, report: Report) -> str | None:
    """Which of its track's limits a report is over, in half a sentence; None where none."""
    limits, loss = challenge.efficiency_of(report.track), report.precision_loss
    over = None if limits is None else limits.check(report.runtime.measured)
    if over is None and loss is not None:
        over = loss.check(challenge.max_dice_loss_of(report.track))
    return over


def by_track(reports: Iterable[RecordedReport]) -> list[list[RecordedReport]]:
    """The reports that may be ranked, track by track, in order of team and method."""
    found = grouped(entry for entry in reports if entry.report.home is None)
    return [found[key] for key in sorted(found)]


def grouped(reports: Iterable[RecordedReport]) -> dict[tuple[str, ...], list[RecordedReport]]:
    """The reports that count, by what they must agree on, in order of team and method.

    Of a team's method the newest counts, however the team's name is spelled in it; a result that
    was scored anew is as old as what it replaces.
    """
    tracks: dict[tuple[str, ...], dict[tuple[str, ...], RecordedReport]] = {}
    for recorded in sorted(reports, key=lambda entry: entry.place):
        of_track = tracks.setdefault(comparable(recorded.report), {})
        of_track[entry_name(recorded.report)] = recorded
    return {
        key: sorted(found.values(), key=lambda entry: (entry.report.team, entry.report.method))
        for key, found in tracks.items()
    }


def entry_name(report: Report) -> tuple[str, ...]:
    """What two reports of one row share: team, in one spelling, method, and where it was trained.

    The last is empty where that is the report's own track.
    """
    home = () if report.home is None else (report.home.track, report.home.split_digest)
    return (*whose(report), *home)


def whose(result: Report | Row) -> tuple[str, str]:
    """The team, in one spelling, and the method."""
    return one_spelling(result.team) or result.team, result.method


def comparable(report: Report) -> tuple[str, ...]:
    """What two reports must agree on to share a table."""
    digest = report.provenance.split_digest
    split = (report.track, report.dataset, report.split_version, digest, report.part)
    units = sorted(f"{metric}={unit}" for metric, unit in report.scores.units.items())
    profiles = (report.scores.metric_profile, report.scores.awesome_bus_2025.metric_profile)
    measured = (f"{profile.label}={profile.digest}" for profile in profiles)
    return (*split, *measured, *units, sealing_of(report))


def sealing_of(report: Report) -> Digest:
    """What a report's test set was sealed as: its images with all seeds, its labels, who has them.

    Sealing the same split again gives another one.
    """
    made = report.provenance
    sealed = [made.sealed_images_sha256, made.sealed_labels_sha256, report.labels]
    return sha256_bytes(canonical_json(sealed))


def is_reference(result: Report | Row, declared: Reference | None) -> bool:
    """Whether a result is of the reference that challenge.yaml declares for its track."""
    wanted = None if declared is None else (one_spelling(declared.team), declared.method)
    return (one_spelling(result.team), result.method) == wanted


def is_complete(report: Report) -> bool:
    """Complete by its own word, and every ranked metric is really there."""
    everything = report.scores.groups.get("all")
    present = set() if everything is None else everything.metrics.keys()
    return report.status == "complete" and present >= {metric.key for metric in METRICS}

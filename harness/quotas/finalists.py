"""Choice of finalists: one submission of each team on a track.

It is what the team handed in in the final phase; else what it named, in a table of the organiser's;
else its best on the test part, by the challenge's own ranking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluator.documents.base import Digest, Name, Title
from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge, Phase
from harness.ledger import LedgerVerdict, RecordedReport
from harness.ledger.report import Report
from harness.quotas.policy import Submitted
from harness.ranking.assembly import rank
from harness.ranking.board import Row
from harness.ranking.document import read_rankings
from harness.sealing.bundle import Bundles
from harness.sealing.documents import SealedBundle
from harness.team_names import one_spelling

# It came in the final phase, or an earlier run of the command entered it; or the table names it; or
# no other of its team is better on the test part.
Why = Literal["entered", "chosen", "best"]
EVALUATE = "Evaluate it with `busbench evaluate`, then run this command again."


@dataclass(frozen=True)
class Finalist:
    """The submission of a team that enters the final on a track."""

    track: Name
    team: Title
    method: Title
    why: Why
    submission_sha256: Digest
    run: Path | None  # whose files are scored, or which is scored already; null: it is missing
    bundle: Path  # the folder with the final part
    source: Report | None  # its report on the test part; null where it was handed in for the final

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.method} of {self.team} on {self.track}"

    @property
    def rival(self) -> tuple[str, str]:
        """Whose it is: the track, and the team however it is spelled."""
        return self.track, one_spelling(self.team)


@dataclass(frozen=True)
class LineUp:
    """Who enters the final, and who does not."""

    phase: Phase
    finalists: tuple[Finalist, ...]
    left_out: tuple[str, ...]  # teams without a submission that could enter, and why
    missing: tuple[BusbenchError, ...]  # what is to be done before anything is recorded


@dataclass(frozen=True)
class Choice:
    """A row of the table in which teams name their submissions."""

    team: Title
    method: Title
    track: Name | None  # null: whichever has it


@dataclass(frozen=True)
class Record:
    """What is known of all submissions so far."""

    verdict: LedgerVerdict
    log: Sequence[Submitted]
    runs: Mapping[Digest, Path]  # the identity of a report -> its run


def read_choices(path: Path) -> tuple[Choice, ...]:
    """The rows of a table with the columns `team`, `method` and, where there are several, `track`.

    Raises:
        BusbenchError: `raw-missing` where it is no such table.
    """
    from harness.datasets.layout import read_table  # noqa: PLC0415  takes half a second to import

    rows = read_table(path, ("team", "method"), ("track",)).rows
    return tuple(Choice(row["team"], row["method"], row.get("track") or None) for row in rows)


def line_up(
    record: Record,
    challenge: Challenge,
    bundles: Iterable[Bundles],
    *,
    choices: Sequence[Choice] = (),
) -> LineUp:
    """Choose the finalists of every track.

    Args:
        bundles: one of each track, opened at its final part.

    Raises:
        BusbenchError: `challenge-invalid` where no phase scores the final part; `usage` where a
            choice names nothing that could enter, or contradicts what the team handed in.
    """
    phase = challenge.final_phase
    if phase is None:
        message = "challenge.yaml has no phase that scores the final part."
        remedy = "Declare the last phase with `part: final`, `steps: {}` and the day it closes."
        raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)
    finalists, left_out, missing, used = [], list[str](), list[BusbenchError](), set[Choice]()
    for one in bundles:
        track = _Track.of(record, challenge, one, choices=choices)
        for team in track.teams:
            found = track.finalist(team)
            used |= track.choices_of(team)
            match found:
                case Finalist():
                    finalists.append(found)
                    missing += _missing(found)
                case BusbenchError():
                    missing.append(found)
                case str():
                    left_out.append(found)
    for choice in choices:
        if choice not in used:
            on = f" on {choice.track}" if choice.track else ""
            message = f"{choice.method} of {choice.team}{on} has no result on the test part."
            remedy = "Correct the table: team and method as `busbench rank` shows them."
            raise BusbenchError(Code.USAGE, message, remedy)
    return LineUp(phase, tuple(finalists), tuple(left_out), tuple(missing))


def _missing(finalist: Finalist) -> list[BusbenchError]:
    if finalist.run is not None:
        return []
    message = f"No run contains {finalist.label}, which enters the final."
    remedy = "Name its folder with --runs, or evaluate the submission again in the final phase "
    remedy += "with --received."
    return [BusbenchError(Code.CASES_INVALID, message, remedy)]


@dataclass(frozen=True)
class _Track:
    """What decides the finalists of one track."""

    name: Name
    bundles: Bundles  # at the final part
    phase: Phase
    handed_in: tuple[Submitted, ...]  # in the final phase, in their order
    rows: tuple[Row, ...]  # of the tables of the test part, the newest first, in order of rank
    entries: Mapping[int, RecordedReport]
    runs: Mapping[Digest, Path]
    choices: tuple[Choice, ...]

    @classmethod
    def of(
        cls, record: Record, challenge: Challenge, bundles: Bundles, *, choices: Sequence[Choice]
    ) -> _Track:
        phase, name = challenge.final_phase, bundles.sealed.track
        assert phase is not None
        test = Bundles.open(bundles.path).sealed
        entries = {
            entry.number: entry for entry in record.verdict.reports if _is_on(test, entry.report)
        }
        rules, recorded = challenge.ranking, read_rankings(record.verdict)
        tables = rank(entries.values(), recorded, rules.metrics, scheme=rules.scheme)
        newest_first = sorted(tables, key=lambda t: -max(row.entry for row in t.rows))
        return cls(
            name,
            bundles,
            phase,
            tuple(o for o in record.log if (o.phase, o.track) == (phase.name, name)),
            tuple(row for table in newest_first for row in sorted(table.rows, key=_order)),
            entries,
            record.runs,
            tuple(choice for choice in choices if choice.track in (None, name)),
        )

    @property
    def teams(self) -> list[str]:
        """All that handed in anything, in one spelling."""
        names = [*(row.team for row in self.rows), *(one.team for one in self.handed_in)]
        return sorted({one_spelling(name) for name in names})

    def choices_of(self, team: str) -> set[Choice]:
        """The choices that are met: the team has a result of that method here."""
        methods = {row.method for row in self._rows_of(team)}
        return {c for c in self.choices if one_spelling(c.team) == team and c.method in methods}

    def finalist(self, team: str) -> Finalist | BusbenchError | str:
        """The team's submission; what is to be done first; or why there is none."""
        own = next((o for o in reversed(self._handed_in_by(team)) if o.code is None), None)
        chosen = self.choices_of(team)
        if own is not None:
            for choice in chosen:
                if choice.method != own.method:
                    message = f"{own.team} handed in {own.method} in the phase {own.phase}, and"
                    message += f" the table names {choice.method}."
                    remedy = "Leave its row out: what was handed in for the final counts."
                    raise BusbenchError(Code.USAGE, message, remedy)
            return self._of_the_phase(own)
        rows = self._rows_of(team)
        for choice in chosen:
            return self._of_a_row(next(r for r in rows if r.method == choice.method), "chosen")
        best = next((row for row in rows if row.rank is not None), None)
        if best is None:
            failed = self._handed_in_by(team)
            who = rows[0].team if rows else failed[0].team
            return f"{who} on {self.name}: it has no complete result"
        return self._of_a_row(best, "best")

    def _handed_in_by(self, team: str) -> list[Submitted]:
        return [one for one in self.handed_in if one_spelling(one.team) == team]

    def _rows_of(self, team: str) -> list[Row]:
        return [row for row in self.rows if one_spelling(row.team) == team]

    def _of_the_phase(self, own: Submitted) -> Finalist | BusbenchError:
        if own.report is None:
            message = f"{own.method} of {own.team} came in the phase {own.phase} on {own.day}"
            message += ", and has no result yet."
            return BusbenchError(Code.CASES_INVALID, message, EVALUATE)
        return Finalist(
            self.name,
            own.team,
            own.method,
            "entered",
            own.submission_sha256,
            self.runs.get(own.report),
            self.bundles.path,
            None,
        )

    def _of_a_row(self, row: Row, why: Why) -> Finalist:
        report = self.entries[row.entry].report
        return Finalist(
            self.name,
            report.team,
            report.method,
            why,
            report.provenance.submission_sha256,
            self.runs.get(report.identity()),
            self.bundles.path,
            report,
        )


def _order(row: Row) -> tuple[bool, int, int]:
    """By rank, the unranked last; of equal ones the first that came."""
    return row.rank is None, row.rank or 0, row.entry


def _is_on(test: SealedBundle, report: Report) -> bool:
    """Whether a report ranks on a sealed bundle: what was sealed again is another test set."""
    made = report.provenance
    if report.home is not None:  # trained on another track, and never ranked here
        return False
    stated = (made.split_digest, made.sealed_images_sha256, made.sealed_labels_sha256)
    sealed = (test.split_digest, test.images_sha256, test.labels_sha256)
    return (report.track, report.part, *stated) == (test.track, test.part, *sealed)

"""Results of a track that no longer count, and its boards of the past.

Both follow from the ledger: a board as of entry N is what `harness.ranking` makes of the entries up
to N, which `busbench rank` says of the ledger's first N + 1 lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from evaluator.harmless import harmless
from harness.ledger import (
    Instant,
    LedgerVerdict,
    Recorded,
    RecordedRanking,
    RecordedReport,
    RecordedRescoring,
    RecordedRetraction,
)
from harness.ranking import Track
from harness.ranking.counting import by_track
from harness.ranking.document import SCHEMAS, TrackRanking, read_bodies
from harness.ranking.placing import by_coverage, place
from harness.website.edition import Edition
from harness.website.views import View

PAST = 50  # boards of a track that its page can show, the newest
Table = tuple[str, ...]  # what reports agree on that share a table


@dataclass(frozen=True)
class Withdrawn:
    """A result that was on a board, and why it no longer is."""

    entry: RecordedReport
    state: str  # `retracted`, `scored anew` or `superseded`
    why: str  # a sentence
    since: Instant


@dataclass(frozen=True)
class PastRow:
    """A result on a board of the past."""

    entry: int
    rank: int | None  # None where it was listed, not ranked
    group: str  # empty where the ledger had no ranking of just these results


@dataclass(frozen=True)
class PastBoard:
    """A track's table as of an entry of the ledger."""

    number: int
    time: Instant
    rows: tuple[PastRow, ...]  # in order of rank, the unranked last


def withdrawn(edition: Edition) -> dict[Table, list[Withdrawn]]:
    """The results that no longer count, by table, in order of entry."""
    found: dict[Table, list[Withdrawn]] = {}
    for entry in edition.reports:
        contest = edition.contests[entry.number]
        later = edition.counting.get(contest)
        if later != entry:
            found.setdefault(contest[1], []).append(_withdrawn(edition, entry, later))
    return found


def _withdrawn(edition: Edition, entry: RecordedReport, later: RecordedReport | None) -> Withdrawn:
    if gone := edition.retracted.get(entry.number):
        return Withdrawn(entry, "retracted", harmless(gone.reason), gone.time)
    if again := edition.rescored.get(entry.number):
        number, rescoring = again
        reason = harmless(rescoring.body.reason)
        why = f"Entry {number} has the same predictions, scored again: {reason}"
        return Withdrawn(entry, "scored anew", why, rescoring.time)
    if later is None:
        raise ValueError(f"entry {entry.number} neither counts nor is replaced")
    why = f"Entry {later.number} is the team's newest of this method."
    return Withdrawn(entry, "superseded", why, _since(edition, entry, later))


def _since(edition: Edition, entry: RecordedReport, later: RecordedReport) -> Instant:
    """From when on a later result of the same name has always counted in an entry's place."""
    first, contest = later, edition.contests[entry.number]
    for one in reversed(edition.reports):
        newer = edition.contests[one.number] == contest and one.place > entry.place
        gone, again = edition.retracted.get(one.number), edition.rescored.get(one.number)
        end = gone or (again and again[1])
        if newer and one.number < first.number and (end is None or end.number > first.number):
            first = one
    return first.time


def past_boards(edition: Edition, view: View) -> list[PastBoard]:
    """The boards of a track, oldest first, one for each entry that changed it: the newest `PAST`.

    The last one is the board of now. None where the edition was made without its ledger's entries.
    """
    verdict, table = edition.verdict, edition.table_of(view)
    if verdict is None:
        return []
    own = {number for number, (_, found) in edition.contests.items() if found == table}
    rankings = dict(_rankings(verdict, view.track))
    boards: list[PastBoard] = []
    for entry in [e for e in verdict.walk() if _touches(e, own, rankings)][-PAST:]:
        counting = verdict.counting_at(entry.number) & own
        rows = _rows(
            edition,
            [one for one in edition.reports if one.number in counting],
            [ranking for number, ranking in rankings.items() if number <= entry.number],
        )
        if not boards or rows != boards[-1].rows:
            boards.append(PastBoard(entry.number, entry.time, rows))
    return boards


def _rankings(verdict: LedgerVerdict, track: Track) -> Iterator[tuple[int, TrackRanking]]:
    """The rankings of a track in the ledger, by the numbers of their entries, each read once."""
    for entry in verdict.rankings:
        if entry.body.get("track") == track.track:
            for found in read_bodies([entry], TrackRanking, SCHEMAS):
                yield entry.number, found


def _touches(entry: Recorded, own: set[int], rankings: Mapping[int, TrackRanking]) -> bool:
    """Whether an entry can have changed the board of the reports `own`."""
    match entry:
        case RecordedReport():
            return entry.number in own
        case RecordedRetraction():
            return entry.retracted.number in own
        case RecordedRescoring():
            return any(old in own or new in own for old, new in entry.pairs)
        case RecordedRanking():
            return entry.number in rankings
    return False


def _rows(
    edition: Edition, reports: list[RecordedReport], rankings: list[TrackRanking]
) -> tuple[PastRow, ...]:
    rules = edition.challenge.ranking
    newest = by_coverage(rankings, rules.metrics, rules.scheme)
    return tuple(
        PastRow(one.entry.number, one.rank, one.ranked.group if one.ranked else "")
        for entries in by_track(reports)
        for one in place(entries, newest, rules.metrics)[0]
    )

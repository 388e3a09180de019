"""`busbench rank --cases`: compute the ranking from the organiser's runs, and record it.

The runs contain every case, the ledger says which reports count. Each report is found among the
runs by its identity, and its cases must add up to what it signs. One that no run contains is left
out of the ranking, which says so. Each track's ranking is an entry of its own; the same inputs give
the same bytes, and are not recorded again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evaluator.documents.base import Digest, Name
from evaluator.errors import BusbenchError, Code
from evaluator.files import rfc8785_json
from evaluator.progress import Progress, quiet
from evaluator.scoring.intervals import MIN_PATIENTS
from harness.challenge import Challenge, HiddenPart
from harness.declared import require_hidden
from harness.ledger import LedgerVerdict, Ranking, RecordedReport, append, verify_ledger
from harness.ledger.entries import MAX_RANKING_BYTES
from harness.ranking.cases import CaseTable
from harness.ranking.combined import CombinedRanking, common_keys, make_combined, read_combined
from harness.ranking.counting import (
    by_track,
    entry_name,
    is_complete,
    is_reference,
    require_declared,
)
from harness.ranking.document import TrackRanking, read_rankings
from harness.ranking.runs import FIND, read_table, run_folders, who
from harness.ranking.statistics import make_ranking
from harness.sealing.keys import Keys

State = Literal["recorded", "unchanged", "too few patients", "no run is left"]


@dataclass(frozen=True)
class Outcome:
    """What became of one track."""

    track: Name  # `combined` of several
    split_version: str  # of several, their names
    part: HiddenPart
    submissions: int
    state: State
    lost: tuple[str, ...] = ()  # who was left out, since no run contains their cases


def record_ranking(
    ledger: Path,
    runs: Sequence[Path],
    keys: Keys,
    *,
    track: Name | None = None,
    challenge: Challenge | None = None,
    progress: Progress = quiet,
) -> list[Outcome]:
    """Compute the ranking of every track that has a complete submission, and record the new ones.

    Args:
        runs: the folders of the runs behind the ledger's reports.
        track: the only one to do; all where it is None.
        challenge: whose tracks the reports must be on.

    Raises:
        BusbenchError: `challenge-invalid` where a report is not on a track as it is declared, or
            its labels are private and a phase hides nothing;
            `cases-invalid` where a report's cases contradict it, or no run of a track is there,
            before anything is recorded; `ledger-invalid`, `disk-full` as `append` does.
    """
    verdict = verify_ledger(ledger, keys.report)
    challenge = challenge or Challenge()
    require_declared(verdict, challenge)
    for entry in verdict.reports:
        require_hidden(challenge, entry.report.stated_track, f"Entry {entry.number} of the ledger")
    complete = [
        [entry for entry in entries if is_complete(entry.report)]
        for entries in by_track(verdict.reports)
        if track in (None, entries[0].report.track)
    ]
    if track is not None and not any(complete):
        message = f"{ledger} contains no complete result on the track {track}."
        raise BusbenchError(Code.USAGE, message, "`busbench rank LEDGER` shows its tracks.")
    folders = run_folders(runs)
    outcomes = []
    tables: dict[Name, Table] = {}
    for number, entries in enumerate(filter(None, complete), start=1):
        here = [entry for entry in entries if entry.report.identity() in folders]
        lost = [entry for entry in entries if entry not in here]
        found = None
        if here:
            table = read_table(here, folders)
            found = rank_table(table, here, lost, challenge=challenge)
            if found is not None and here[0].report.part == "test":
                _keep_newest(tables, here, table)
        outcomes.append((entries, lost, found))
        progress("ranking", number, len(complete))
    if outcomes and all(entries == lost for entries, lost, _ in outcomes):
        message = f"No run contains the report on {who(outcomes[0][0][0])}, nor any other."
        raise BusbenchError(Code.CASES_INVALID, message, FIND)
    known = {one.covers: one for one in read_rankings(verdict)}
    done = [
        _record(ledger, known, entries, lost=lost, found=found, keys=keys)
        for entries, lost, found in outcomes
    ]
    over_all = None if track else _combined(tables, challenge)
    if over_all is not None:
        done.append(_record_combined(ledger, verdict, over_all, keys=keys))
    return done


def rank_table(
    table: CaseTable,
    here: Sequence[RecordedReport],
    lost: Sequence[RecordedReport],
    *,
    challenge: Challenge,
) -> TrackRanking | None:
    """The ranking of one track; None where its cases are of too few patients.

    Args:
        table: every case of `here`.
        lost: results whose cases are in no run.
    """
    if len(set(table.patients)) < MIN_PATIENTS:
        return None
    report, rules = here[0].report, challenge.ranking
    declared = challenge.reference_of(report.track)
    reference = next((e.digest for e in here if is_reference(e.report, declared)), None)
    ranking = make_ranking(report, table, rules.metrics, scheme=rules.scheme, reference=reference)
    return ranking.model_copy(update={"lost": tuple(entry.digest for entry in lost)})


def _record_combined(
    ledger: Path, verdict: LedgerVerdict, found: CombinedRanking, *, keys: Keys
) -> Outcome:
    newest = {(one.tracks, one.covers): one for one in read_combined(verdict)}
    known, names = newest.get((found.tracks, found.covers)), ", ".join(found.tracks)
    if known != found:
        _append(ledger, found.document(), keys, what=names)
    state: State = "unchanged" if known == found else "recorded"
    return Outcome("combined", names, "test", len(found.submissions), state)


@dataclass(frozen=True)
class Table:
    """Every case of a track's results, and whose they are."""

    entries: tuple[RecordedReport, ...]  # one a column
    cases: CaseTable

    @property
    def newest(self) -> int:
        """The number of the newest entry."""
        return max(entry.number for entry in self.entries)


def _keep_newest(
    tables: dict[Name, Table], entries: Sequence[RecordedReport], cases: CaseTable
) -> None:
    """Keep the table of a track; of several that were sealed apart, the one with the newest."""
    new, name = Table(tuple(entries), cases), entries[0].report.track
    if name not in tables or tables[name].newest < new.newest:
        tables[name] = new


def _combined(tables: Mapping[Name, Table], challenge: Challenge) -> CombinedRanking | None:
    """The ranking over the tracks that are combined; None where no method is on all of them."""
    if not challenge.combined or not {*challenge.combined} <= tables.keys():
        return None
    chosen = {name: tables[name] for name in challenge.combined}
    places = {
        name: {entry_name(entry.report): n for n, entry in enumerate(table.entries)}
        for name, table in chosen.items()
    }
    common = common_keys(places)
    if not common:
        return None
    aligned = {
        name: table.cases.select([places[name][key] for key in common])
        for name, table in chosen.items()
    }
    return make_combined(aligned, challenge.ranking.metrics)


def _record(
    ledger: Path,
    known: Mapping[frozenset[Digest], TrackRanking],
    entries: Sequence[RecordedReport],
    *,
    lost: Sequence[RecordedReport],
    found: TrackRanking | None,
    keys: Keys,
) -> Outcome:
    report, ranked = entries[0].report, len(entries) - len(lost)
    state: State = "too few patients" if ranked else "no run is left"
    if found is not None:
        state = "unchanged" if known.get(found.covers) == found else "recorded"
    if found is not None and state == "recorded":
        _append(ledger, found.document(), keys, what=report.track)
    table = (report.track, report.split_version, report.part)
    return Outcome(*table, ranked, state, tuple(map(who, lost)))


def _append(ledger: Path, body: dict[str, Any], keys: Keys, *, what: str) -> None:
    """Record a ranking.

    Raises:
        BusbenchError: `ledger-invalid` where it is too long; what `append` raises.
    """
    size = len(rfc8785_json(body))
    if size > MAX_RANKING_BYTES:
        message = f"The ranking of {what} takes {size} bytes, too many for a ledger."
        raise BusbenchError(Code.LEDGER_INVALID, message, "Divide its submissions into tracks.")
    append(ledger, Ranking(body=body), keys)

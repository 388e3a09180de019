"""Plan of a rescoring: the runs behind a ledger's reports, and what scoring them anew changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluator.documents.base import Digest, Name
from evaluator.documents.scores import RANKED
from evaluator.errors import BusbenchError, Code
from evaluator.metrics import ranking_profile
from harness.challenge import Challenge
from harness.declared import require_hidden, require_track
from harness.execution.job import ExecutionEnvironment
from harness.ledger import LedgerVerdict, RecordedReport, SignedReport
from harness.ledger.attestation import stated_report
from harness.ledger.report import Report
from harness.ranking.assembly import rank
from harness.ranking.counting import by_track, is_complete
from harness.ranking.document import TrackRanking, read_rankings
from harness.ranking.record import rank_table
from harness.ranking.runs import kept_predictions, read_table, run_folders, who
from harness.rescoring.job import ScoreAnew
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys

NAMED = 5  # of the results whose runs are missing, in an error


@dataclass(frozen=True)
class Plan:
    """What is to be scored anew."""

    jobs: Mapping[Digest, ScoreAnew]  # by the entry of the report that counts, in their order
    missing: tuple[RecordedReport, ...]  # nobody has their predictions


def make_plan(
    ledger: LedgerVerdict,
    runs: Sequence[Path],
    bundles: Sequence[tuple[Bundles, Keys]],
    *,
    environment: ExecutionEnvironment,
    profile: str | None = None,
    track: Name | None = None,
) -> Plan:
    """The jobs that score all results that count anew.

    Args:
        runs: the folders that `busbench evaluate --out` filled.
        bundles: of all tracks and hidden parts concerned, each with its keys.
        profile: null: that of each track in challenge.yaml.
        track: the only one to do; all where it is None.

    Raises:
        BusbenchError: `usage` where there is no such track or profile; `challenge-invalid` where
            challenge.yaml declares another profile, or a report is on no track of it;
            `bundle-invalid` where no bundle has the labels of a result.
    """
    challenge = environment.challenge
    chosen = [one for one in ledger.reports if track in (None, one.report.track)]
    if not chosen:
        where = "" if track is None else f" on the track {track}"
        message = f"The ledger contains no result{where} that counts."
        raise BusbenchError(Code.USAGE, message, "`busbench ledger entries LEDGER` lists them.")
    for one in chosen:
        _require_declared(one, challenge)
    kept = kept_predictions(runs)
    by_labels = {opened[0].sealed.labels_sha256: opened for opened in bundles}
    jobs, missing = {}, []
    for one in chosen:
        made, folder = one.report.provenance, kept.get(one.report.provenance.predictions_sha256)
        label = _profile_of(one.report.track, profile, challenge)
        if folder is None:
            missing.append(one)
            continue
        found = by_labels.get(made.sealed_labels_sha256)
        if found is None:
            more = "; those of a final part take --final-keys" if one.report.part == "final" else ""
            message = f"No bundle has the sealed labels of {who(one)}{more}."
            remedy = f"Name the one whose labels.age has SHA-256 {made.sealed_labels_sha256}."
            raise BusbenchError(Code.BUNDLE_INVALID, message, remedy)
        jobs[one.digest] = ScoreAnew(
            *(folder, one.report, found[0], label, found[1].path, environment)
        )
    return Plan(jobs, tuple(missing))


def _require_declared(one: RecordedReport, challenge: Challenge) -> None:
    where, stated = f"Entry {one.number} of the ledger", one.report.stated_track
    require_track(challenge, replace(stated, metric_profile=None), where)
    require_hidden(challenge, stated, where)


def _profile_of(track: Name, profile: str | None, challenge: Challenge) -> str:
    """The profile that a track is to be scored by."""
    declared = challenge.profile_of(track)
    if profile is None:
        return declared
    try:
        label = ranking_profile(profile).label
    except ValueError as error:
        remedy = "Name one of them, or leave --profile out to take challenge.yaml's."
        raise BusbenchError(Code.USAGE, f"--profile: {error}.", remedy) from error
    if track in challenge.tracks and label != declared:
        message = f"challenge.yaml measures track {track} by {declared}, not by {label}."
        remedy = f"Declare `metric_profile: {label}` of the track, then run this again."
        raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)
    return label


def require_all(missing: Sequence[RecordedReport]) -> None:
    """Refuse to rescore some results and not others.

    Raises:
        BusbenchError: `cases-invalid`, naming those whose predictions are missing.
    """
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        named = "; ".join(map(who, missing[:NAMED]))
        raise BusbenchError(
            Code.CASES_INVALID,
            f"No run contains the predictions of {named}{more}.",
            "Name every folder of runs with --runs; or leave these as they are, in a table of "
            "their own, with --partial.",
        )


# --- the difference ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A result before and after."""

    before: RecordedReport
    signed: SignedReport
    report: Report
    ranks: tuple[int | None, int | None]  # on the board

    @property
    def means(self) -> dict[str, tuple[float, float]]:
        """Metric -> mean over all cases, before and after: those that rank, or change."""
        old, new = (each.scores.means.get("all", {}) for each in (self.before.report, self.report))
        return {
            name: (old[name], new[name])
            for name in old
            if name in new and (name in RANKED or old[name] != new[name])
        }

    def document(self) -> dict[str, Any]:
        """The change, for scripts."""
        return {
            "entry": self.before.number,
            "team": self.report.team,
            "method": self.report.method,
            "track": self.report.track,
            "metric_profile": [
                each.scores.metric_profile.label for each in (self.before.report, self.report)
            ],
            "status": [self.before.report.status, self.report.status],
            "means": self.means,
            "ranks": self.ranks,
        }


def find_changes(
    ledger: LedgerVerdict,
    scored: Mapping[Digest, SignedReport],
    runs: Sequence[Path],
    *,
    challenge: Challenge,
) -> list[Change]:
    """The results whose scores are other ones now, in the order of their entries.

    Args:
        scored: by the entry of a report that counts, what scoring it anew gave.
        challenge: by whose rules they rank.
    """
    found = []
    for one in ledger.reports:
        signed = scored.get(one.digest)
        if signed is not None:
            report = stated_report(signed, who(one))
            if (report.scores, report.status) != (one.report.scores, one.report.status):
                found.append((one, signed, report))
    before = _ranks(ledger.reports, read_rankings(ledger), challenge)
    after = _ranks_after(
        ledger, {one.number: report for one, _, report in found}, runs, challenge=challenge
    )
    return [
        Change(one, signed, report, (before.get(one.number), after.get(one.number)))
        for one, signed, report in found
    ]


def _ranks(
    reports: Iterable[RecordedReport], rankings: Iterable[TrackRanking], challenge: Challenge
) -> dict[int, int | None]:
    rules = challenge.ranking
    tracks = rank(reports, rankings, rules.metrics, scheme=rules.scheme)
    return {row.entry: row.rank for track in tracks for row in track.rows}


def _ranks_after(
    ledger: LedgerVerdict,
    scored: Mapping[int, Report],
    runs: Sequence[Path],
    *,
    challenge: Challenge,
) -> dict[int, int | None]:
    """The ranks once the reports in `scored` count, in the place of the entries of these numbers.

    A track that has a ranking of every case now is ranked by every case then, too.
    """
    reports = [
        one if one.number not in scored else replace(one, load=_giving(scored[one.number]))
        for one in ledger.reports
    ]
    if not scored:
        return {}
    names = {ranking.track for ranking in read_rankings(ledger)}
    folders, rankings = run_folders(runs), []
    for entries in by_track(reports):
        complete = [one for one in entries if is_complete(one.report)]
        here = [one for one in complete if one.report.identity() in folders]
        if here and entries[0].report.track in names:
            lost = [one for one in complete if one not in here]
            table = read_table(here, folders)
            rankings.append(rank_table(table, here, lost, challenge=challenge))
    return _ranks(reports, filter(None, rankings), challenge)


def _giving(report: Report) -> Any:
    return lambda: report

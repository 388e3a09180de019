"""Record of a rescoring: new entries, which count all at once by one more, and what follows.

Killed at any moment, the ledger says what it said before, or all that is new: entries of reports
that were scored anew have no effect until the rescoring that names them. Feedback and rankings
follow it; doing it again finishes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from evaluator.documents.base import Digest, Name
from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge
from harness.ledger import (
    Recorded,
    RecordedReport,
    Replacement,
    Rescored,
    Rescoring,
    append,
    require_writable,
    verify_ledger,
)
from harness.ledger.entries import MAX_REPLACED
from harness.quotas import SubmissionLog
from harness.quotas.due import answers, scored_anew
from harness.quotas.policy import phase_of
from harness.ranking.combined import read_combined
from harness.ranking.counting import by_track, is_complete
from harness.ranking.document import read_rankings
from harness.ranking.record import Outcome, record_ranking
from harness.ranking.runs import who
from harness.rescoring.plan import Change
from harness.sealing.keys import Keys


@dataclass(frozen=True)
class Written:
    """What became of a rescoring."""

    entry: Recorded | None  # the rescoring; null where nothing changed
    answers: int  # of the submission log, that changed
    rankings: tuple[Outcome, ...] = ()
    unranked: BusbenchError | None = None  # why a ranking could not be computed yet


def require_apart(changes: Sequence[Change], missing: Sequence[RecordedReport]) -> None:
    """Refuse to leave a result in one table with others that were scored otherwise since.

    Raises:
        BusbenchError: `cases-invalid`.
    """
    new = {change.report.scores.metric_profile for change in changes}
    for one in missing:
        if one.report.scores.metric_profile in new:
            label = one.report.scores.metric_profile.label
            message = f"{who(one)} would share a table of {label} with numbers scored otherwise."
            remedy = "Name its run with --runs, retract it, or rescore by another version."
            raise BusbenchError(Code.CASES_INVALID, message, remedy)


def make_rescoring(reason: str, changes: Sequence[Change], after: Sequence[Digest]) -> Rescoring:
    """The entry by which the changes count, without what it leaves.

    Raises:
        BusbenchError: `usage` where the reason is no line of text, or there are too many changes.
    """
    try:
        return Rescoring(
            reason=reason,
            replaced=tuple(
                Replacement(before=one.before.digest, after=new, means=one.means, ranks=one.ranks)
                for one, new in zip(changes, after, strict=True)
            ),
        )
    except ValidationError as error:
        remedy = f"Give one line of 1 to 500 characters; take at most {MAX_REPLACED} results at "
        remedy += "once, track by track with --track."
        raise BusbenchError(Code.USAGE, "This makes no entry of a ledger.", remedy) from error


def record(
    ledger: Path,
    changes: Sequence[Change],
    missing: Sequence[RecordedReport],
    *,
    keys: Keys,
    reason: str,
    runs: Sequence[Path],
    challenge: Challenge,
    progress: Progress = quiet,
) -> Written:
    """Record the changes, and bring answers to teams and rankings up to them.

    Raises:
        BusbenchError: `cases-invalid` where a missing result would share a table with the new ones;
            `usage`; what `append` and `SubmissionLog.answer_again` raise.
    """
    require_apart(changes, missing)
    log = SubmissionLog.beside(ledger)
    for answered in log.submissions:
        phase_of(answered, challenge)  # before anything is recorded
    entry = None
    if changes:
        make_rescoring(reason, changes, [one.before.digest for one in changes])  # as well
        require_writable(ledger, keys)
        entry = _append(ledger, changes, missing, keys=keys, reason=reason, progress=progress)
    verdict = verify_ledger(ledger, keys.report)
    changed = log.answer_again(scored_anew(answers(verdict)), challenge)
    try:
        rankings = _rank_again(ledger, runs, keys, challenge=challenge, progress=progress)
    except BusbenchError as error:  # such as a track that is still to be rescored
        return Written(entry, changed, unranked=error)
    return Written(entry, changed, tuple(rankings))


def _append(
    ledger: Path,
    changes: Sequence[Change],
    missing: Sequence[RecordedReport],
    *,
    keys: Keys,
    reason: str,
    progress: Progress,
) -> Recorded:
    after = []
    for number, one in enumerate(changes, start=1):
        body = Rescored(replaces=one.before.digest, envelope=one.signed)
        after.append(append(ledger, body, keys).entry.digest)
        progress("recording", number, len(changes))
    left = tuple(one.digest for one in missing)
    rescoring = make_rescoring(reason, changes, after).model_copy(update={"left": left})
    return append(ledger, rescoring, keys).entry


def _rank_again(
    ledger: Path, runs: Sequence[Path], keys: Keys, *, challenge: Challenge, progress: Progress
) -> list[Outcome]:
    """Record the ranking of each track that had one; of all, with that over several, if there is.

    A track on which no complete result counts any more has nothing to be ranked.
    """
    verdict = verify_ledger(ledger, keys.report)
    complete = (one for table in by_track(verdict.reports) for one in table)
    counting = {one.report.track for one in complete if is_complete(one.report)}
    ranked = {one.track for one in read_rankings(verdict)} & counting
    every = bool(ranked) and bool(challenge.combined) and any(read_combined(verdict))
    tracks: list[Name | None] = [None] if every else [*sorted(ranked)]
    return [
        outcome
        for track in tracks
        for outcome in record_ranking(
            ledger, runs, keys, track=track, challenge=challenge, progress=progress
        )
    ]

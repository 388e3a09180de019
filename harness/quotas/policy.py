"""Quota and feedback policy: whether a team may submit now, and what of its report it may see.

A hidden test set leaks through its scores: a team that may ask often and finely enough approaches
its labels (docs/feedback.md has numbers). So a team sees few numbers, rounded, and only those that
beat its own best by a step: the Ladder of Blum & Hardt (ICML 2015). Everything here is pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any, Literal, Protocol

from pydantic import Field

from evaluator.documents.base import Contract, Digest, Name, Title
from evaluator.documents.scores import Ranked
from evaluator.errors import BusbenchError, Code, Fault
from harness.challenge import WITHOUT_PHASES, Challenge, Phase
from harness.declared import require_hidden
from harness.ledger.report import Report
from harness.ranking.metrics import METRICS
from harness.sandbox.participant_error import ParticipantError, participant_error
from harness.team_names import one_spelling, require_single

Shown = dict[str, dict[str, float]]  # group of cases -> metric -> what is shown
ALWAYS = Phase(name=WITHOUT_PHASES)
HIGHER_IS_BETTER: dict[str, bool] = {metric.key: metric.higher_is_better for metric in METRICS}


class HandedIn(Protocol):
    """What a team submits: a submission, or an image that is going to make one."""

    @property
    def team(self) -> Title:
        """Who."""

    @property
    def method(self) -> Title:
        """What they call it."""

    @property
    def track(self) -> Name:
        """Where."""

    @property
    def digest(self) -> Digest:
        """What decides whether it is the same again."""


class Submitted(Contract):
    """A submission that was received, and what it was answered."""

    submission_sha256: Digest  # of an image that trained here: what its pull request declared
    team: Title
    method: Title
    track: Name
    phase: Name
    day: date  # UTC, on which it was received: phase and quota go by it
    stated: date | None = None  # when the organiser stated `day`; null: it came on that day
    counts: bool = True  # towards the quota: not while it waits, nor after a failure of ours
    shown: Shown | None = None  # null while it is evaluated, and where it failed
    report: Digest | None = None  # the identity of what `shown` is of; null in logs of version 1
    code: str | None = None  # of the failure

    @classmethod
    def now(cls, handed_in: HandedIn, phase: Phase, day: date) -> Submitted:
        """A submission as it enters the submission log."""
        return cls(
            submission_sha256=handed_in.digest,
            team=handed_in.team,
            method=handed_in.method,
            track=handed_in.track,
            phase=phase.name,
            day=day,
        )

    @property
    def rival(self) -> tuple[str, str, str]:
        """Whose quota it takes: the phase, the track, the team however it is spelled."""
        return self.phase, self.track, one_spelling(self.team)

    def is_same(self, other: Submitted) -> bool:
        """Whether both are the same files of the same team in the same phase."""
        return (self.rival, self.submission_sha256) == (other.rival, other.submission_sha256)


class Feedback(Contract):
    """What a participant may read of an evaluation."""

    schema_: Literal["busbench/feedback/v2"] = Field(default="busbench/feedback/v2", alias="schema")
    team: Title
    method: Title
    track: Name
    phase: Name
    submission_sha256: Digest
    status: Literal["complete", "incomplete", "failed"]
    scores: Shown | None = None  # the team's best so far, where the phase has a ladder
    units: dict[str, str] = Field(default_factory=dict)
    error: ParticipantError | None = None  # of the failure
    counted: bool  # towards the quota
    left_today: int | None  # null: no quota
    left: int | None
    cases_open: bool  # whether per-case results may be read, too


def phase_on(challenge: Challenge, day: date) -> Phase:
    """The phase that takes submissions on `day`.

    Raises:
        BusbenchError: `phase-closed` where there is none.
    """
    if not challenge.phases:
        return ALWAYS
    for phase in challenge.phases:
        if phase.is_open(day):
            return phase
    coming = [p for p in challenge.phases if p.opens is not None and p.opens > day]
    remedy = (
        f"Submit again from {coming[0].opens} on, in the phase {coming[0].name}."
        if coming
        else "The challenge is over; run `busbench check` and --part val on your own side."
    )
    raise BusbenchError(Code.PHASE_CLOSED, f"No phase takes submissions on {day}.", remedy)


def phase_of(own: Submitted, challenge: Challenge) -> Phase:
    """The phase of an entry of the submission log, as challenge.yaml declares it now.

    What was answered before there were phases is shown again, and nothing more.

    Raises:
        BusbenchError: `challenge-invalid` where the phase is not declared.
    """
    if own.phase == ALWAYS.name:
        return Phase(name=ALWAYS.name, steps={}) if challenge.phases else ALWAYS
    for phase in challenge.phases:
        if phase.name == own.phase:
            return phase
    message = f"The submission log contains the phase {own.phase}, which challenge.yaml lacks."
    remedy = "Name the challenge.yaml of this ledger with --challenge, or declare the phase again."
    raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)


def left(log: Iterable[Submitted], new: Submitted, phase: Phase) -> tuple[int | None, int | None]:
    """How many more submissions the team of `new` has on its day, and in all; null: no quota."""
    own = [one for one in log if one.counts and one.rival == new.rival]
    today = sum(one.day == new.day for one in own)
    return (
        None if phase.quota_per_day is None else max(0, phase.quota_per_day - today),
        None if phase.quota is None else max(0, phase.quota - len(own)),
    )


def receive(
    log: Sequence[Submitted],
    handed_in: HandedIn,
    challenge: Challenge,
    *,
    day: date,
    received: date | None = None,
) -> Submitted:
    """The entry of a submission: its own of an earlier day, or one that does not count yet.

    The same files keep the phase in which they came, whatever phase it is now.

    Args:
        day: today.
        received: the day on which it came by another way, which the organiser states.

    Raises:
        BusbenchError: `phase-closed`; `usage` where `received` is to come, or contradicts the log.
    """
    known = None if received else _known(log, handed_in, challenge)
    if known is not None:
        return known
    came = received or day
    if came > day:
        message = f"--received {came} is a day to come: today is {day} (UTC)."
        raise BusbenchError(Code.USAGE, message, "Name the day on which it was received.")
    new = Submitted.now(handed_in, phase_on(challenge, came), came)
    new = new.model_copy(update={"counts": False, "stated": received and day})
    same = next((one for one in log if one.is_same(new)), None)
    if same is None or not same.counts:
        return new
    if same.day != came:
        message = f"{new.method} of {new.team} is in the submission log, received on {same.day}."
        raise BusbenchError(Code.USAGE, message, "Leave --received out: that day is kept.")
    return same


def _known(log: Sequence[Submitted], handed_in: HandedIn, challenge: Challenge) -> Submitted | None:
    """The newest entry of the same files; one without a phase only while that says something."""
    names = {phase.name for phase in challenge.phases}
    own = (one_spelling(handed_in.team), handed_in.track, handed_in.digest)
    found = [
        one
        for one in log
        if (one_spelling(one.team), one.track, one.submission_sha256) == own
        and (one.phase in names or not names or one.shown is not None)
    ]
    return found[-1] if found else None


def admit(
    log: Sequence[Submitted],
    handed_in: HandedIn,
    challenge: Challenge,
    *,
    day: date,
    received: date | None = None,
) -> Submitted:
    """The entry under which a submission is evaluated, which counts from now on.

    The same files teach nothing new, so they take no quota again. A team keeps the spelling of its
    name that it began with, and nobody else may have one that reads like it.

    Raises:
        BusbenchError: `quota-exceeded`, with the day from which the team may submit again;
            `submission-invalid` where the name reads like that of a team in `log`, or like nothing;
            what `receive` raises.
    """
    own = receive(log, handed_in, challenge, day=day, received=received)
    if own.counts:
        return own
    problem = _used_up(log, own, phase_of(own, challenge))
    if problem is not None and own.day < day and received is None:  # it waited, and may come today
        own = Submitted.now(handed_in, phase_on(challenge, day), day)
        problem = _used_up(log, own, phase_of(own, challenge))
    if problem is not None:
        raise problem
    require_single(own.team, {one.team for one in log if one.counts})
    return own.model_copy(update={"counts": True})


def _used_up(log: Sequence[Submitted], own: Submitted, phase: Phase) -> BusbenchError | None:
    """Why the team of `own` has no quota left for it; None where it has."""
    left_today, left_in_all = left(log, own, phase)
    if left_in_all == 0:
        message = f"{own.team} has used its {phase.quota} submissions of the phase {phase.name}."
        return BusbenchError(Code.QUOTA_EXCEEDED, message, "Wait for the next phase.")
    if left_today == 0:
        message = f"{own.team} has used its {phase.quota_per_day} submissions of {own.day}."
        return BusbenchError(Code.QUOTA_EXCEEDED, message, "Submit again tomorrow (UTC).")
    return None


def consumes(error: BusbenchError) -> bool:
    """Whether a failure takes quota: only one that the submission is to blame for."""
    return error.fault is Fault.SUBMISSION


def rounded(value: float, step: float) -> float:
    """`value` to the nearest multiple of `step`, without digits that floating point adds."""
    return round(round(value / step) * step, max(0, 2 - math.floor(math.log10(step))))


def show(log: Iterable[Submitted], own: Submitted, report: Report, *, phase: Phase) -> Shown:
    """The numbers of a report that its team may see.

    Args:
        log: what was shown to anyone so far; only the same team's matters.
    """
    means = report.scores.means
    if phase.steps is None:
        return means
    if not phase.steps:
        return {}
    earlier = [
        one.shown
        for one in log
        if one.rival == own.rival and not one.is_same(own) and one.shown is not None
    ]
    return {
        group: {
            metric: _step(means[group][metric], step, metric, best=_best(earlier, group, metric))
            if phase.ladder
            else rounded(means[group][metric], step)
            for metric, step in phase.steps.items()
            if metric in means[group]
        }
        for group in phase.groups
        if group in means
    }


def _best(earlier: Iterable[Shown], group: str, metric: Ranked) -> float | None:
    values = [shown[group][metric] for shown in earlier if metric in shown.get(group, {})]
    return _better(metric)(values) if values else None


def _better(metric: Ranked) -> Callable[[Iterable[float]], float]:
    return max if HIGHER_IS_BETTER[metric] else min


def _step(value: float, step: float, metric: Ranked, *, best: float | None) -> float:
    """One step of the Ladder: the rounded score if it beats the best by a step, else the best."""
    if best is None:
        return rounded(value, step)
    gain = value - best if HIGHER_IS_BETTER[metric] else best - value
    return rounded(value, step) if gain > step else best


def require_open(
    log: Iterable[Submitted], challenge: Challenge, day: date, *, reports: Iterable[Report] = ()
) -> None:
    """Refuse to publish exact results that a phase hides still.

    Args:
        reports: those in the ledger. Of private labels they open when those of all phases do,
            whatever the log says: it may be of an earlier declaration, or be lost.

    Raises:
        BusbenchError: `results-closed`, naming the phase; `challenge-invalid` where private labels
            are not hidden at all.
    """
    phases = {phase.name: phase for phase in (*challenge.phases, ALWAYS)}
    names = {one.phase for one in log if one.shown is not None}
    for report in reports:
        require_hidden(challenge, report.stated_track, "The ledger")
        if report.labels == "private":
            names |= {phase.name for phase in challenge.phases}
    for name in sorted(names):
        if name not in phases:
            message = f"The phase {name} of earlier submissions is not in challenge.yaml."
            raise BusbenchError(
                Code.RESULTS_CLOSED, message, "Name the right one with --challenge."
            )
        if not phases[name].shows_all(day):
            opens = phases[name].results_open or "a day that challenge.yaml does not name yet"
            message = f"Exact results of the phase {name} are closed until {opens}."
            remedy = "Hand out the feedback folders; publish when results_open has come."
            raise BusbenchError(Code.RESULTS_CLOSED, message, remedy)


def feedback(
    log: Sequence[Submitted], own: Submitted, phase: Phase, *, day: date, report: Report
) -> Feedback:
    """What the team may read of a finished evaluation, on `day`."""
    return _feedback(
        log, own, phase, day=day, status=report.status, scores=own.shown, units=report.scores.units
    )


def failure(
    log: Sequence[Submitted], own: Submitted, phase: Phase, *, day: date, error: BusbenchError
) -> Feedback:
    """What the team may read of an evaluation that failed: the participant-facing error alone."""
    return _feedback(log, own, phase, day=day, status="failed", error=participant_error(error))


def _feedback(
    log: Sequence[Submitted], own: Submitted, phase: Phase, *, day: date, **found: Any
) -> Feedback:
    today = left(log, own.model_copy(update={"day": day}), phase)
    left_today, left_in_all = today if phase.is_open(day) else (0, 0)
    return Feedback(
        team=own.team,
        method=own.method,
        track=own.track,
        phase=own.phase,
        submission_sha256=own.submission_sha256,
        counted=any(one.counts and one.is_same(own) for one in log),
        left_today=left_today,
        left=left_in_all,
        cases_open=phase.shows_all(day),
        **found,
    )

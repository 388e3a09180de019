"""The pull request's comment: only what the feedback policy lets a team see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ci.placement import Placement
from ci.public import Public
from evaluator.errors import BusbenchError, Fault
from harness.quotas import Feedback
from harness.quotas.policy import Shown
from harness.quotas.recording import RefusedError
from harness.ranking.board import Row, Track
from harness.ranking.metrics import METRICS, MISSING
from harness.ranking.names import Markup, code, markdown

NOTHING = Markup("")
COARSE = Markup("As the phase lets it be shown: without spread, rank and baseline.")
HIDDEN = Markup(
    "What it says stays with the organiser, since it could tell of hidden images. "
    "`busbench evaluate --part val` runs the same on images of your own."
)
WHO = {
    Fault.SUBMISSION: "The submission has to change.",
    Fault.ORGANISER: "This is the organiser's fault; nothing was counted.",
    Fault.INFRASTRUCTURE: "This is the machine's fault; nothing was counted. It will be run again.",
    Fault.USAGE: "This is the organiser's fault; nothing was counted.",
}


MAX_COMMENT = 60_000  # characters; forges refuse more than 65,536


def result(feedback: Feedback, commit: str, placement: Placement | None = None) -> str:
    """The comment on a finished evaluation: the ranked metrics first, then group by group.

    Args:
        placement: among the track's results; null where the policy hides it.
    """
    lines = [_line("### {} by {} on {}", feedback.method, feedback.team, feedback.track), NOTHING]
    if placement is not None:
        lines += [_summary(placement), NOTHING, *_compared(placement), NOTHING]
    elif feedback.scores:
        lines += [*_shown(feedback, feedback.scores), NOTHING, COARSE, NOTHING]
    if feedback.status == "incomplete":
        said = "Incomplete: not every fold gave a valid mask of every case. Not ranked."
        lines += [Markup(said), NOTHING]
    if placement is not None:
        lines += [*_by_group(placement), NOTHING]
    end = _line("Scored at {}. It enters the ledger with the merge.", commit)
    return _comment([*lines, _quota(feedback), NOTHING, end])


def _summary(placement: Placement) -> Markup:
    """The numbers of the whole test set in one line."""
    units = placement.track.units
    numbers = [
        f"{metric.title(units)} {metric.mean_and_std(placement.own.summary(metric.key))}"
        for metric in METRICS
    ]
    n, rank = _cells(placement.own, "all")[0], _rank(placement.own, placement.track)
    return Markup(f"**{' · '.join([*numbers, f'n = {n}', rank])}**")


def _rank(row: Row, track: Track) -> str:
    return "not ranked" if row.rank is None else f"rank {row.rank} of {len(track.ranked)}"


def _compared(placement: Placement) -> list[Markup]:
    """The submission beside the baseline and the best."""
    track, baseline, best = placement.track, placement.baseline, placement.best
    compared = [(Markup("**this submission**"), placement.own)]
    compared += [(Markup(f"baseline, {code(baseline.method)}"), baseline)] if baseline else []
    compared += [(Markup(f"best so far, {code(best.method)}"), best)] if best else []
    rows = [[name, *_cells(row, "all"), Markup(str(row.rank or MISSING))] for name, row in compared]
    said = "" if baseline else " No other reference network is on the board yet."
    note = (
        "n: test cases; ±: standard deviation over the fold models; rank: by the means, until the "
        f"organiser ranks case by case.{said}"
    )
    return [*_table([*_heads(track), Markup("rank")], rows), NOTHING, Markup(note)]


def _by_group(placement: Placement) -> list[Markup]:
    own = placement.own
    rows = [[markdown(group), *_cells(own, group)] for group in own.groups if group != "all"]
    table = _table(_heads(placement.track), rows)
    return [Markup("Group by group:"), NOTHING, *table] if rows else []


def _heads(track: Track) -> list[Markup]:
    return [NOTHING, Markup("n"), *(Markup(metric.title(track.units)) for metric in METRICS)]


def _cells(row: Row, group: str) -> list[Markup]:
    """n, then each metric with what it varies by."""
    found = [metric.mean_and_std(row.summary(metric.key, group)) for metric in METRICS]
    scores = row.groups.get(group)
    return [Markup(cell) for cell in (str(scores.cases) if scores else MISSING, *found)]


def _shown(feedback: Feedback, scores: Shown) -> list[Markup]:
    """What a phase that hides exact numbers shows, the ranked metrics first."""
    known = {metric for shown in scores.values() for metric in shown}
    metrics = [metric for metric in METRICS if metric.key in known]
    heads = [Markup("cases"), *(Markup(metric.title(feedback.units)) for metric in metrics)]
    rows = [
        [markdown(group), *(_coarse(shown.get(metric.key)) for metric in metrics)]
        for group, shown in scores.items()
    ]
    return _table(heads, rows)


def _coarse(value: float | None) -> Markup:
    return Markup(MISSING if value is None else f"{value:g}")


def _table(heads: Sequence[Markup], rows: Sequence[Sequence[Markup]]) -> list[Markup]:
    rules = [Markup(rule) for rule in ("---", *["---:"] * (len(heads) - 1))]
    return [Markup("| " + " | ".join(row) + " |") for row in (heads, rules, *rows)]


def refusal(
    error: BusbenchError,
    feedback: Feedback | None,
    commit: str,
    *,
    roots: Sequence[Path] = (),
) -> str:
    """The comment on a refusal or a failure: what `ci.public` lets out.

    Args:
        roots: the organiser's folders, which no public word names.
    """
    public = Public.of(error if feedback is None else RefusedError(error, feedback), roots)
    lines = [Markup("### Not scored"), NOTHING, _line("{}: {}", public.code, public.meaning)]
    if public.remedy:
        lines.append(code(public.remedy))
    if public.stage:
        last = _line(" It ends with: {}", public.last_line) if public.last_line else NOTHING
        lines += [NOTHING, Markup(_line("The stage {} failed.", public.stage) + last)]
        lines += [HIDDEN] if public.stage == "infer" else []
    lines += [NOTHING, Markup(WHO[error.fault])]
    if feedback is not None:
        lines += [NOTHING, _quota(feedback)]
    return _comment([*lines, NOTHING, _line("Tried at {}.", commit)])


def _quota(feedback: Feedback) -> Markup:
    left = [
        f"{count} {when}"
        for count, when in ((feedback.left_today, "today"), (feedback.left, "in this phase"))
        if count is not None
    ]
    return Markup(f"Submissions left: {', '.join(left)}." if left else "There is no quota.")


def _line(ours: str, *texts: object) -> Markup:
    """Words of ours, with texts of anybody as code spans where they have braces."""
    return Markup(ours.format(*map(code, texts)))


def _comment(lines: Sequence[Markup]) -> str:
    """The lines together, as many as a forge takes."""
    text = "\n".join(lines)
    if len(text) > MAX_COMMENT:
        text = text[:MAX_COMMENT].rpartition("\n")[0] + "\n\nThis comment was too long."
    return f"{text}\n"

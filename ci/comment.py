"""The pull request's comment: only what the feedback policy lets a team see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ci.public import Public
from evaluator.errors import BusbenchError, Fault
from harness.quotas import Feedback
from harness.quotas.policy import Shown
from harness.quotas.recording import RefusedError
from harness.ranking.names import Markup, code, markdown

NOTHING = Markup("")
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


def result(feedback: Feedback, commit: str) -> str:
    """The comment on a finished evaluation."""
    lines = [_line("### {} by {} on {}", feedback.method, feedback.team, feedback.track), NOTHING]
    if feedback.scores:
        lines += [*_table(feedback, feedback.scores), NOTHING]
    if feedback.status == "incomplete":
        said = "Incomplete: not every fold gave a valid mask of every case. Not ranked."
        lines += [Markup(said), NOTHING]
    end = _line("Scored at {}. It enters the ledger with the merge.", commit)
    return _comment([*lines, _quota(feedback), NOTHING, end])


def _table(feedback: Feedback, scores: Shown) -> list[Markup]:
    metrics = sorted({metric for shown in scores.values() for metric in shown})
    heads = [f"{m} [{u}]" if (u := feedback.units.get(m)) else m for m in metrics]
    rows = [[markdown(head) for head in ("cases", *heads)]]
    rows.append([Markup(rule) for rule in ("---", *["---:"] * len(metrics))])
    for group, shown in scores.items():
        cells = [Markup(f"{shown[m]:g}" if m in shown else "–") for m in metrics]
        rows.append([markdown(group), *cells])
    return [Markup("| " + " | ".join(row) + " |") for row in rows]


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

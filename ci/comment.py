"""The pull request's comment: only what the feedback policy lets a team see."""

from __future__ import annotations

from evaluator.documents.base import Title
from evaluator.errors import CODES, BusbenchError, Fault
from harness.quotas import Feedback
from harness.ranking.names import markdown
from harness.sandbox.participant_error import ParticipantError

WHO = {
    Fault.SUBMISSION: "The submission has to change.",
    Fault.ORGANISER: "This is the organiser's fault; nothing was counted.",
    Fault.INFRASTRUCTURE: "This is the machine's fault; nothing was counted. It will be run again.",
    Fault.USAGE: "This is the organiser's fault; nothing was counted.",
}


def result(feedback: Feedback, commit: str) -> str:
    """The comment on a finished evaluation."""
    lines = [f"### {_text(feedback.method)} by {_text(feedback.team)} on {feedback.track}", ""]
    if feedback.scores:
        metrics = sorted({metric for shown in feedback.scores.values() for metric in shown})
        heads = [f"{m} [{u}]" if (u := feedback.units.get(m)) else m for m in metrics]
        lines += ["| cases | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(metrics)]
        for group, shown in feedback.scores.items():
            cells = [f"{shown[m]:g}" if m in shown else "–" for m in metrics]
            lines.append("| " + " | ".join([_text(group), *cells]) + " |")
        lines.append("")
    if feedback.status == "incomplete":
        lines += ["Incomplete: not every fold gave a valid mask of every case. Not ranked.", ""]
    lines += [_quota(feedback), "", f"Scored at {commit}. It enters the ledger with the merge."]
    return "\n".join(lines) + "\n"


def refusal(error: BusbenchError, feedback: Feedback | None, commit: str) -> str:
    """The comment on a refusal or a failure.

    What was refused before anything ran is shown in full, where the participant has to act. Else
    what the run's participant-facing error says: a stage's own words could carry what it saw, and
    the organiser's paths are nobody's business.
    """
    lines = ["### Not scored", ""]
    if feedback is None and error.fault is Fault.SUBMISSION:
        lines.append(f"`{error.code}`: {_text(error.message)} {_text(error.remedy)}")
    else:
        lines.append(f"`{error.code}`: {CODES[error.code][1]}")
    if feedback is not None and feedback.error is not None:
        lines += _stage(feedback.error)
    lines += ["", WHO[error.fault]]
    if feedback is not None:
        lines += ["", _quota(feedback)]
    return "\n".join([*lines, "", f"Tried at {commit}."]) + "\n"


def _stage(error: ParticipantError) -> list[str]:
    if not error.stage:
        return []
    line = f" It ends with: {_text(error.last_line)}" if error.last_line else ""
    return ["", f"The stage {error.stage} failed.{line}"]


def _quota(feedback: Feedback) -> str:
    left = [
        f"{count} {when}"
        for count, when in ((feedback.left_today, "today"), (feedback.left, "in this phase"))
        if count is not None
    ]
    return f"Submissions left: {', '.join(left)}." if left else "There is no quota."


def _text(name: Title) -> str:
    """Literal text that calls nobody and links nowhere."""
    return markdown(name).replace("@", "&#64;").replace("://", ":&#47;&#47;")

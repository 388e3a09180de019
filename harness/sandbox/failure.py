"""Who is to blame when a stage ends badly?

One exit code carries many outcomes: 137 is a memory limit, a time limit or an operator's kill. The
engine knows which, so it is asked first; what the stage itself says comes last, because a model
that took the process over could have written it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evaluator.errors import CODES, BusbenchError, Fault
from harness.sandbox.stage import Outcome, Stage

OUT_OF_MEMORY_EXITS = (137, -9)
FILE_TOO_LARGE_EXITS = (153, -25)  # SIGXFSZ: one file beyond the output's limit
MAX_TEXT = 400


@dataclass(frozen=True)
class Rule:
    """A sign of trouble, and what it means."""

    when: Callable[[Outcome], bool]
    code: str
    says: str  # may hold {stage} and the limits' names
    remedy: str


# The first rule that applies wins.
RULES: tuple[Rule, ...] = (
    Rule(
        lambda o: o.timed_out,
        "limit-time",
        "{stage} ran past its limit of {seconds} s and was stopped.",
        "Make it faster, or ask the organiser for a higher limit in challenge.yaml.",
    ),
    Rule(
        lambda o: o.output_full or o.exit_code in FILE_TOO_LARGE_EXITS,
        "limit-disk",
        "{stage} wrote more than the {output_mb} MB its output may hold.",
        "Write less, or ask the organiser for a higher limit in challenge.yaml.",
    ),
    Rule(
        lambda o: o.oom_killed or o.exit_code in OUT_OF_MEMORY_EXITS,
        "limit-memory",
        "{stage} took more than its {memory_mb} MB of memory and was stopped.",
        "Use a smaller network or batch, or ask the organiser for a higher limit.",
    ),
)

# What an unexplained end of a stage means: in the first three a participant's work runs.
UNEXPLAINED: Mapping[str, tuple[str, str]] = {
    "train": ("training-failed", "Look at the log; run the image with the same limits yourself."),
    "gate": ("gate-refused", "Export the model again; `busbench check` tells what the gate sees."),
    "infer": ("model-failed", "Load the model with the same ONNX Runtime on your side first."),
    "score": ("stage-crashed", "Run the same command again; if it stays, report it with the log."),
}
# What a stage's own error.json may claim: the scorer alone is beyond a participant's reach.
CREDIBLE: Mapping[str, tuple[Fault, ...]] = {
    "train": (Fault.SUBMISSION,),
    "gate": (Fault.SUBMISSION,),
    "infer": (Fault.SUBMISSION, Fault.ORGANISER, Fault.INFRASTRUCTURE),
    "score": (Fault.SUBMISSION, Fault.ORGANISER, Fault.INFRASTRUCTURE),
}


def explain(stage: Stage, outcome: Outcome) -> BusbenchError:
    """The error that a stage's bad end amounts to."""
    limits = stage.limits.model_dump()
    for rule in RULES:
        if rule.when(outcome):
            return BusbenchError(
                rule.code, rule.says.format(stage=f"The {stage.name} stage", **limits), rule.remedy
            )
    said = outcome.error or {}
    code = said.get("code", "")
    if code in CODES and CODES[code][0] in CREDIBLE[stage.name]:
        return BusbenchError(code, _tame(said.get("message", "")), _tame(said.get("remedy", "")))
    code, remedy = UNEXPLAINED[stage.name]
    line = f": {_tame(outcome.last_line)}" if outcome.last_line else ""
    return BusbenchError(
        code, f"The {stage.name} stage ended with exit status {outcome.exit_code}{line}.", remedy
    )


def killed(what: str, stage: str | None, times: int) -> BusbenchError:
    """The error of a job that ended every process it was given to.

    In a container a participant's work cannot reach the process outside, so there it is ours.

    Args:
        stage: where a participant's work ran outside a container when it happened, else None.
    """
    code, remedy = UNEXPLAINED[stage or "score"]
    return BusbenchError(code, f"{what} was set aside: its worker died {times} times.", remedy)


def _tame(text: str) -> str:
    """A stage's words without control characters, and short."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:MAX_TEXT]

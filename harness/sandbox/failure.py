"""Classification of a stage's bad end: the code, and so whose fault it is.

One exit code carries many outcomes: 137 is a memory limit, a time limit or an operator's kill. The
engine knows which, so it is asked first; what the stage itself says comes last, because a model
that took the process over could have written it. Nothing that a participant's work can write, a
log, an exit status or the name of a program, ever moves the blame from the participant: a free
retry would be for the asking. Where the machine could be to blame all the same, a container without
the participant's work is asked. Tables are read from the top, and the first row that applies wins.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evaluator.errors import CODES, BusbenchError, Code, Fault
from evaluator.harmless import harmless
from harness.sandbox.failure_patterns import ENGINE_PATTERNS, LOG_PATTERNS, START_IT_YOURSELF
from harness.sandbox.stage import Outcome, Stage, StageName

OUT_OF_MEMORY_EXITS = (137, -9)
FILE_TOO_LARGE_EXITS = (153, -25)  # SIGXFSZ: one file beyond the output's limit
CANNOT_START_EXITS = (126, 127)
MAX_TEXT = 400


@dataclass(frozen=True)
class Rule:
    """A symptom, and what it means."""

    when: Callable[[Outcome], bool]
    code: Code
    says: str  # may contain {stage}, {oddity} and the limits' names
    remedy: str


# What the engine or the system reports of an end.
RULES: tuple[Rule, ...] = (
    Rule(
        lambda o: o.timed_out,
        Code.LIMIT_TIME,
        "{stage} ran past its limit of {seconds} s and was stopped.",
        "Make it faster, or ask the organiser for a higher limit in challenge.yaml.",
    ),
    Rule(
        lambda o: o.stopped and not o.oom_killed,
        Code.STAGE_STOPPED,
        "{stage} was stopped from outside, through the engine.",
        "Run the same command again.",
    ),
    Rule(
        lambda o: bool(o.oddity),
        Code.OUTPUT_REFUSED,
        "{stage} left {oddity} in its output.",
        "Leave regular files and folders only, with plain names; none begins with a dot.",
    ),
    Rule(
        lambda o: o.output_full or o.exit_code in FILE_TOO_LARGE_EXITS,
        Code.LIMIT_DISK,
        "{stage} filled its output of {output_mb} MB and {output_files} files.",
        "Write less, or ask the organiser for a higher limit in challenge.yaml.",
    ),
    Rule(
        lambda o: o.oom_killed or o.exit_code in OUT_OF_MEMORY_EXITS,
        Code.LIMIT_MEMORY,
        "{stage} took more than its {memory_mb} MB of memory and was stopped.",
        "Use a smaller network or batch, or ask the organiser for a higher limit.",
    ),
)


_AGAIN = "Run the same command again; if it stays, report it with the log."
_OF_GATE = (
    Code.GATE_REFUSED,
    "Export the model again; `busbench check` shows what the gate sees.",
)
# What an unexplained end of a stage means: in all but ready, score, probe, unseal and collect a
# participant's work is read or run.
UNEXPLAINED: Mapping[StageName, tuple[Code, str]] = {
    "train": (
        Code.TRAINING_FAILED,
        "Look at the log; run the image with the same limits yourself.",
    ),
    "gate": _OF_GATE,
    "verdict": _OF_GATE,
    "infer": (Code.MODEL_FAILED, "Load the model with the same ONNX Runtime on your side first."),
    "ready": (
        Code.STAGE_CRASHED,
        "See that other models run here, then run the same command again.",
    ),
    "score": (Code.STAGE_CRASHED, _AGAIN),
    "probe": (Code.STAGE_CRASHED, _AGAIN),
    "unseal": (Code.STAGE_CRASHED, _AGAIN),
    "predict": (
        Code.MODEL_FAILED,
        "Run the image yourself with the same limits, as docs/images.md shows.",
    ),
    "collect": (Code.STAGE_CRASHED, _AGAIN),
}
# What a stage's own error.json may claim: where a participant's work runs, only its own fault.
CREDIBLE: Mapping[StageName, tuple[Fault, ...]] = {
    "train": (Fault.SUBMISSION,),
    "gate": (Fault.SUBMISSION,),
    "verdict": (Fault.SUBMISSION,),
    "infer": (Fault.SUBMISSION,),
    "ready": (Fault.ORGANISER, Fault.INFRASTRUCTURE),
    "score": (Fault.SUBMISSION, Fault.ORGANISER, Fault.INFRASTRUCTURE),
    "probe": (Fault.INFRASTRUCTURE,),
    "unseal": (Fault.ORGANISER, Fault.INFRASTRUCTURE),
    "predict": (),
    "collect": (Fault.SUBMISSION, Fault.ORGANISER, Fault.INFRASTRUCTURE),
}
# Stages that run no participant's work: where they meet a limit, the limit is wrong.
OURS: tuple[StageName, ...] = ("ready", "score", "probe", "unseal", "collect")
# The command of a stage that tries an input of ours -> whose limits it has in challenge.yaml.
_LIMITED_AS: Mapping[str, StageName] = {
    "gate": "gate",
    "verdict": "gate",
    **dict.fromkeys(("ready", "unseal", "collect"), "infer"),
}
_LIMITS = (
    Code.LIMIT_TIME,
    Code.LIMIT_MEMORY,
    Code.LIMIT_DISK,
    Code.LIMIT_PROCESSES,
    Code.OUTPUT_REFUSED,
)


def explain(stage: Stage, outcome: Outcome) -> BusbenchError:
    """The error that a stage's bad end amounts to."""
    for rule in RULES:
        if rule.when(outcome):
            return _error(
                stage, outcome, rule.code, says=_fill(rule.says, stage, outcome), remedy=rule.remedy
            )
    said = outcome.error or {}
    code = said.get("code", "")
    if code in CODES and CODES[Code(code)][0] in CREDIBLE[stage.name]:
        message = _tame(said.get("message", ""))
        remedy = _tame(said.get("remedy", "")) + _whole_log(stage)
        return BusbenchError(
            Code(code), message, remedy, stage=stage.name, last_line=message, explained=True
        )
    return _by_patterns(stage, outcome)


def _by_patterns(stage: Stage, outcome: Outcome) -> BusbenchError:
    """By the exit status and the log: the least that can be trusted."""
    unexplained, remedy = UNEXPLAINED[stage.name]
    end = _ending(outcome)
    if stage.image is not None and outcome.exit_code in CANNOT_START_EXITS:
        says = f"A program of the image is missing or cannot be started ({end})."
        return _error(stage, outcome, Code.IMAGE_REFUSED, says=says, remedy=START_IT_YOURSELF)
    for known in LOG_PATTERNS:
        if known.pattern.search(outcome.tail):
            says = f"{_fill(known.says, stage, outcome)} ({end})."
            return _error(stage, outcome, known.code or unexplained, says=says, remedy=known.remedy)
    says = f"{_named(stage)} ended with {end}."
    return _error(stage, outcome, unexplained, says=says, remedy=remedy)


def explain_engine(stage: Stage, reason: str, *, image_alone: bool = False) -> BusbenchError:
    """The error where the engine itself failed.

    Args:
        reason: what it says, which may quote the image.
        image_alone: whether it starts another image in the same way.
    """
    fits = (p for p in ENGINE_PATTERNS if not image_alone or p.code == Code.IMAGE_REFUSED)
    known = next(p for p in fits if image_alone or p.pattern.search(reason))
    code = known.code or Code.ENGINE_UNAVAILABLE
    if code == Code.IMAGE_REFUSED and stage.image is None:
        code = Code.IMAGE_UNAVAILABLE  # one of our own
    says = f"{known.says.format(stage=_lower(_named(stage)))}: {_tame(reason)[:300]}."
    return BusbenchError(code, says, known.remedy, stage=stage.name)


def unreadable(stage: Stage, said: str) -> BusbenchError:
    """The error where a container of ours, without a participant's work, cannot read an input.

    Args:
        said: `/in/NAME/FILE: why`, by that container.
    """
    roots = ", ".join(str(path) for path in stage.inputs.values())
    says = f"The {stage.name} stage may not read its inputs: {_tame(said)}."
    remedy = f"Let everybody read them, as in `chmod -R a+rX`: {roots}."
    return BusbenchError(Code.PERMISSION_DENIED, says, remedy, stage=stage.name)


def _error(stage: Stage, outcome: Outcome, code: Code, *, says: str, remedy: str) -> BusbenchError:
    if stage.name in OURS and code in _LIMITS:
        code = Code.LIMITS_TOO_LOW
        name = _LIMITED_AS.get(stage.command[0], stage.name)
        remedy = f"Raise limits.{name} in challenge.yaml and run the same command again."
    line = _tame(outcome.last_line)
    if line:
        says = f'{says} It ends with "{line}".'
    return BusbenchError(code, says, remedy + _whole_log(stage), stage=stage.name, last_line=line)


def _whole_log(stage: Stage) -> str:
    return f" The whole log: {stage.log}." if stage.log is not None else ""


def _fill(says: str, stage: Stage, outcome: Outcome) -> str:
    return says.format(stage=_named(stage), oddity=outcome.oddity, **stage.limits.model_dump())


def _named(stage: Stage) -> str:
    return f"The {stage.name} stage"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _ending(outcome: Outcome) -> str:
    """An exit status in words: a shell's and the engine's 128 + n, or Python's -n, is a signal."""
    code = outcome.exit_code
    number = code - 128 if code > 128 else -code
    if number in set(signal.Signals):
        return f"signal {signal.Signals(number).name}"
    return f"exit status {code}"


def killed(what: str, stage: StageName | None, times: int) -> BusbenchError:
    """The error of a job that ended every process it was given to.

    In a container a participant's work cannot reach the process outside, so there it is ours.

    Args:
        stage: where a participant's work ran outside a container when it happened, else None.
    """
    code, remedy = UNEXPLAINED[stage or "score"]
    return BusbenchError(code, f"{what} was set aside: its worker died {times} times.", remedy)


def _tame(text: str) -> str:
    """A stage's words, harmless and short."""
    return harmless(text, MAX_TEXT).strip()

"""The first load of a model: what the contained processes are asked, and what their ends mean.

Two processes a model: one infers shapes and so the cost, one loads and runs it as inference will.
`explain` decides; it is pure, and its tables name every end that a process can come to.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from onnx import ModelProto

from evaluator.documents.base import parse
from evaluator.documents.canvases import Canvases
from evaluator.documents.input_spec import Size
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from evaluator.gate.contained import LOADING, STARTED, STARTING, Load, Opener, Outcome, Task
from evaluator.gate.macs import Cost, lighten
from evaluator.gate.subject import Finding, GateLimits, exceeded
from evaluator.gate.survey import label

# What a contained process may be refused for: code, what was demanded.
SENTENCES: dict[str, str] = {
    "G-TIME": "The model must end within its time.",
    "G-MEMORY": "The model must fit into its memory.",
    "G-CRASH": "The model must leave its process alive.",
    "G-COST": "The network must stay below the limits on work and tensor size.",
    "G-LOAD": "ONNX Runtime must load the model.",
    "G-RUN": "ONNX Runtime must run the model on what it declares to take.",
    "G-RESULT-TYPE": "The result must be float32 or float16.",
    "G-RESULT-SHAPE": "For all N it must give (N, 1, H, W), or (N, 2, H, W) of kind softmax.",
    "G-RESULT-NON-FINITE": "The result must be finite.",
    "G-RESULT-RANGE": "The result must be of the declared kind.",
    "G-BATCH": "The map of an image must not depend on the other images of its batch.",
}
_REPORTED = frozenset(
    code for code in SENTENCES if code.startswith("G-RESULT") or code == "G-BATCH"
)
_NO_SHAPES = "no shapes"
# Wordings of a refused allocation: glibc++'s, ONNX Runtime's, numpy's, Python's, the linker's.
_MEMORY_WORDS = (
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "Unable to allocate",
    "MemoryError",
    "Cannot allocate memory",
    "pthread_create",
    "std::length_error",
)


class Verdict(NamedTuple):
    """A refusal: the code and what is particular."""

    code: str
    detail: str


def explain(outcome: Outcome, failure: dict[str, str]) -> Verdict | None:
    """What the end of a contained process means; None where all went well.

    Args:
        failure: stage (or `*`) -> the code of an error that the libraries raised themselves.

    Raises:
        BusbenchError: `stage-crashed` where the process never came to the model.
    """
    failed = outcome.said.get("failed", "")
    if outcome.stage == STARTING or (outcome.stage == STARTED and failed):
        raise BusbenchError(
            Code.STAGE_CRASHED,
            f"The gate's own process did not start ({_last_line(failed or outcome.errors)}).",
            "Run the same command again; if it fails again, check the installation.",
        )
    return next(_ends(outcome, failed, failure), None)


def _ends(outcome: Outcome, failed: str, failure: dict[str, str]) -> Iterator[Verdict]:
    """Reasons to refuse, the surest first: a killed process may have said anything before."""
    ended, stage = -outcome.status, label(outcome.stage)
    if outcome.timed_out or ended == signal.SIGXCPU:
        yield Verdict("G-TIME", f"It was stopped {stage}.")
    starved = any(word in text for word in _MEMORY_WORDS for text in (failed, outcome.errors))
    if starved or ended == signal.SIGKILL:
        yield Verdict("G-MEMORY", f"It ran out {stage}.")
    if ended > 0:
        yield Verdict("G-CRASH", f"Signal {ended} ended it {stage}.")
    if failed:
        yield Verdict(failure.get(stage, failure["*"]), f"{label(failed, 300)} ({stage}).")
    code, _, detail = outcome.said.get("refused", "").partition(" ")
    if code in _REPORTED:
        yield Verdict(code, label(detail, 300))
    if outcome.status != 0 or "done" not in outcome.said:
        yield Verdict("G-CRASH", f"It ended with status {outcome.status} {stage}.")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return label(lines[-1], 300) if lines else "it said nothing"


def measure(
    model: ModelProto,
    submission: Submission,
    limits: GateLimits,
    *,
    opener: Opener,
    canvases: Canvases,
) -> Cost | Verdict:
    """The model's cost, from a contained process.

    Where it is native, it is that of the usual canvas; the largest must be within the limits, too.
    """
    spec = submission.input

    def measured(size: Size, each: str) -> Cost | Verdict:
        data = lighten(model, *size).SerializeToString()
        outcome = opener.run(_task(limits, limits.shape_seconds), data)
        return _cost(outcome, limits, each=each)

    if not spec.is_native:
        return measured(spec.size, "a tile" if spec.is_tiled else "an image")
    height, width = canvases.largest
    largest = measured(canvases.largest, f"an image of {height} x {width} pixels")
    if isinstance(largest, Verdict) or canvases.usual == canvases.largest:
        return largest
    return measured(canvases.usual, "an image")


def _cost(outcome: Outcome, limits: GateLimits, *, each: str) -> Cost | Verdict:
    """The cost that a process reports, where it is within the limits.

    Args:
        each: what it is the cost of, for people.
    """
    verdict = explain(outcome, {"*": _NO_SHAPES})
    if verdict is not None and verdict.code == _NO_SHAPES:
        return Cost(gmacs=None, largest=0)  # whether it runs is for the first load to say
    if verdict is not None:
        return verdict
    try:
        said = outcome.said["done"].encode()
        cost = parse(Cost, said, "cost", code=Code.GATE_REFUSED, remedy="")
    except BusbenchError:
        return Verdict("G-CRASH", "It reported nonsense while its shapes were inferred.")
    if cost.gmacs is not None and cost.gmacs > limits.model.gmacs:
        return Verdict("G-COST", exceeded(limits, "gmacs", f"{cost.gmacs:,.0f} GMACs {each}"))
    if cost.largest > limits.max_tensor_elements:
        return Verdict("G-COST", f"One of its tensors has {cost.largest} elements for {each}.")
    return cost


def first_load(
    path: Path,
    submission: Submission,
    limits: GateLimits,
    *,
    opener: Opener,
    canvases: Canvases,
    gmacs: float | None,
    bent: bool,
) -> Verdict | None:
    """Load and run the model once, contained; None where it behaves.

    Args:
        canvases: that it is run at, where it is native.
        gmacs: its cost at batch 1, which gives an honest large network the time it needs.
        bent: whether something bends its values after the last layer.
    """
    spec, pixels = submission.input, 1.0
    sizes = [spec.size] if not spec.is_native else [canvases.usual]
    if spec.is_native:
        sizes += [canvases.smallest, canvases.largest]
        pixels = sum(map(math.prod, sizes)) / math.prod(canvases.usual)
    # batch 1, then twice batch 2; then once at each other size
    seconds = limits.load_seconds + (4 + pixels) * (gmacs or 0) / limits.pace
    load = Load(
        folder=str(path.parent.resolve()),
        model=path.name,
        threads=limits.load_threads,
        input=spec,
        sizes=tuple(sizes),
        bent=bent,
        output=submission.output,
    )
    outcome = opener.run(_task(limits, seconds, size=path.stat().st_size, load=load))
    return explain(outcome, {LOADING: "G-LOAD", "*": "G-RUN"})


def _task(limits: GateLimits, seconds: float, *, size: int = 0, load: Load | None = None) -> Task:
    """A task that may take so much CPU time.

    Args:
        size: of the model's file, in bytes.
    """
    return Task(
        cpu_seconds=seconds,
        seconds=limits.patience * seconds,
        address_space=limits.load_bytes + limits.copies * size,
        load=load,
    )


def finding(verdict: Verdict, file: str) -> Finding:
    """A verdict as the finding of a file."""
    return Finding(verdict.code, file, None, f"{SENTENCES[verdict.code]} {verdict.detail}".strip())

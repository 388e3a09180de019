"""Basis of the gate's rules: limits, subjects, findings and their error.

Names inside a model are a participant's text: they reach logs and terminals through `label` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from evaluator.documents.submission import ModelLimits, Submission
from evaluator.errors import BusbenchError, Code
from evaluator.gate.survey import Survey

_SHOWN = 330  # characters of findings in the message, which whoever passes it on cuts at 400


@dataclass(frozen=True)
class GateLimits:
    """Limits of the static rules and of the first load.

    The defaults let every reference network through at 256 x 256 and refuse what no segmentation
    network of this kind needs.
    """

    model: ModelLimits = ModelLimits()  # noqa: RUF009 - frozen; the organiser's
    max_fields: int = 2_500_000  # protobuf fields: what a parser would have to build
    max_depth: int = 48  # nested protobuf messages; the parsers themselves give up at 100
    max_tensor_elements: int = 1 << 28  # of one constant or one intermediate at batch 1
    max_rank: int = 8
    min_ir: int = 3
    max_ir: int = 13  # likewise; onnx already writes 14
    max_findings: int = 200  # enough to repair a file, few enough to print
    # CPU time, so that a busy machine refuses no honest model; a bomb burns it as fast as it can
    shape_seconds: float = 4.0  # of the process that infers shapes
    load_seconds: float = 10.0  # of the first load, before what `pace` adds
    patience: float = 20.0
    # ^ wall clock over CPU time, for what neither works nor ends: where forty programs want two
    # cores, each gets a twentieth of one
    pace: float = 5.0  # GMACs a second that any machine reaches; large networks get time for it
    load_bytes: int = 4 << 30  # address space of one contained process, beside the model
    copies: int = 3  # of the model's bytes that loading it may take besides
    load_threads: int = 2


# What a participant can do about a limit of the organiser's, by its name.
CURES = {
    "megabytes": "Store weights as float16, or take a smaller network",
    "nodes": "Simplify the graph (onnxslim, onnxsim), or export without unrolled loops",
    "parameters": "Take a smaller network, and leave out constants that the result does not need",
    "gmacs": "Take a smaller input or network",
    "opset": "Export with an older opset, such as 17",
}


def exceeded(limits: GateLimits, name: str, value: str) -> str:
    """That a limit of `limits.model` is exceeded, by what, and what to do."""
    limit = getattr(limits.model, name)
    return (
        f"It has {value}, and limits.model.{name} of challenge.yaml is {limit:,}. {CURES[name]}, "
        "or ask the organiser for a higher limit."
    )


@dataclass(frozen=True)
class Subject:
    """One model under the rules."""

    survey: Survey
    submission: Submission
    limits: GateLimits


class Hit(NamedTuple):
    """One breach: the node (or None) and what is particular about it, as a sentence or empty."""

    node: str | None
    detail: str


@dataclass(frozen=True)
class Finding:
    """One reason to refuse a file.

    Args:
        code: stable, `G-...`.
        file: the declared file's name.
        node: the node's name, operator and place, where there is one.
        sentence: what is wrong and what to do.
    """

    code: str
    file: str
    node: str | None
    sentence: str

    def __str__(self) -> str:
        where = f" at {self.node}" if self.node else ""
        return f"{self.code}{where}: {self.sentence}"


class GateRefused(BusbenchError):  # noqa: N818 - named after its code, gate-refused
    """`gate-refused`, with every finding of the file or files concerned."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__(
            Code.GATE_REFUSED,
            f"{findings[0].file} was refused by {_summary(findings)}",
            "Export the model again as the participants' guide describes.",
        )
        self.findings = findings


def _summary(findings: tuple[Finding, ...]) -> str:
    """One finding of each code, as many as fit whole, and how many are left out."""
    first = {finding.code: finding for finding in reversed(findings)}
    ordered = sorted(first.values(), key=findings.index)
    shown = [str(ordered[0])]
    for finding in ordered[1:]:
        if sum(map(len, shown)) + len(str(finding)) <= _SHOWN:
            shown.append(str(finding))
    left = len(findings) - len(shown)
    if len(shown[0]) > _SHOWN:  # it quotes a runtime, at length
        shown[0] = shown[0][:_SHOWN].rpartition(" ")[0] + " ..."
    return " ".join(shown) + (f" And {left} more." if left else "")

"""The table of rules that every model passes before any runtime sees it.

A rule is a function from a `Subject` to hits, pure and linear in the model's size. It calls no
checker, no shape inference and no runtime: a small file of nested functions keeps all three busy
for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from evaluator.gate.rules_interface import input_shape, inputs, output_shape, outputs
from evaluator.gate.rules_model import (
    domains,
    duplicate_names,
    functions,
    ir_version,
    loops,
    node_count,
    operators,
    opsets,
    randomness,
    training_info,
    training_mode,
)
from evaluator.gate.rules_tensors import (
    constant_sizes,
    external_data,
    finite,
    parameter_count,
    shapes,
    sparse,
    storage,
    value_types,
)
from evaluator.gate.subject import Finding, Hit, Subject


@dataclass(frozen=True)
class Rule:
    """A stable code, what it demands in one sentence, and the function that checks it."""

    code: str
    sentence: str
    check: Callable[[Subject], Iterator[Hit]]


RULES: tuple[Rule, ...] = (
    Rule("G-EXTERNAL-DATA", "All weights lie inside the one ONNX file.", external_data),
    Rule("G-SPARSE", "Sparse tensors are not taken: store them dense.", sparse),
    Rule("G-IR", "The file's IR version must be one that ONNX Runtime reads.", ir_version),
    Rule("G-OPSET", "The opset must be in range, imported once, and as declared.", opsets),
    Rule("G-TRAINING-INFO", "A submission has no training graph.", training_info),
    Rule("G-FUNCTION", "Local functions must be plain, unique and not recursive.", functions),
    Rule("G-NODES", "The graph is too large once its functions are expanded.", node_count),
    Rule("G-RANDOM", "Operators that draw random numbers are refused.", randomness),
    Rule("G-LOOP", "Loops are refused: unroll them before the export.", loops),
    Rule("G-TRAINING-MODE", "Export the model in evaluation mode.", training_mode),
    Rule("G-DOMAIN", "Only operators of known domains are run.", domains),
    Rule("G-OPERATOR", "Only allowed operators of the declared opset are run.", operators),
    Rule("G-DUPLICATE-NAME", "Every value is defined once.", duplicate_names),
    Rule("G-TYPE", "Values are plain tensors of numbers.", value_types),
    Rule("G-SHAPE", "Shapes must be sound and of a sensible size.", shapes),
    Rule("G-STORAGE", "A tensor has just the values its shape promises.", storage),
    Rule("G-NON-FINITE", "Constants must be finite.", finite),
    Rule("G-CONSTANT-SIZE", "The graph builds a tensor of an absurd size.", constant_sizes),
    Rule("G-PARAMETERS", "The model has too many values.", parameter_count),
    Rule("G-INPUTS", "A network has one float32 input.", inputs),
    Rule("G-INPUT-SHAPE", "The input is (N, C, H, W) as declared.", input_shape),
    Rule("G-OUTPUTS", "A network has one float32 output.", outputs),
    Rule(
        "G-OUTPUT-SHAPE",
        "The output is (N, 1, H, W), or (N, 2, H, W) of kind softmax.",
        output_shape,
    ),
)


def apply_rules(subject: Subject, file: str) -> list[Finding]:
    """Every finding of every rule, the table's order first, cut at `limits.max_findings`."""
    found = (
        Finding(rule.code, file, hit.node, f"{rule.sentence} {hit.detail}".strip())
        for rule in RULES
        for hit in islice(rule.check(subject), subject.limits.max_findings)
    )
    return list(islice(found, subject.limits.max_findings))

"""The table of rules that every model passes before any runtime sees it.

A rule is a function from a `Subject` to hits, pure and linear in the model's size. It calls no
checker, no shape inference and no runtime: a small file of nested functions keeps all three busy
for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from evaluator.gate import rules_interface as interface
from evaluator.gate import rules_model as model
from evaluator.gate import rules_names as names
from evaluator.gate import rules_tensors as tensors
from evaluator.gate.subject import Finding, Hit, Subject


@dataclass(frozen=True)
class Rule:
    """A stable code, what it demands in one sentence, and the function that checks it."""

    code: str
    sentence: str
    check: Callable[[Subject], Iterator[Hit]]


RULES: tuple[Rule, ...] = (
    Rule(
        "G-EXTERNAL-DATA", "All weights must lie inside the one ONNX file.", tensors.external_data
    ),
    Rule("G-SPARSE", "Sparse tensors must be stored dense.", tensors.sparse),
    Rule("G-IR", "The file's IR version must be one that ONNX Runtime reads.", model.ir_version),
    Rule("G-OPSET", "The opset must be in range, imported once, and as declared.", model.opsets),
    Rule("G-TRAINING-INFO", "A submission must have no training graph.", model.training_info),
    Rule("G-FUNCTION", "Local functions must be plain, unique and not recursive.", model.functions),
    Rule("G-NODES", "The graph must stay below the limit on nodes.", model.node_count),
    Rule("G-RANDOM", "No operator may draw random numbers.", model.randomness),
    Rule("G-LOOP", "Loops must be unrolled before the export.", model.loops),
    Rule("G-TRAINING-MODE", "The model must be exported in evaluation mode.", model.training_mode),
    Rule("G-DOMAIN", "Every operator must be of a known domain.", model.domains),
    Rule(
        "G-OPERATOR",
        "Every operator must be an allowed one of the declared opset.",
        model.operators,
    ),
    Rule("G-DUPLICATE-NAME", "Every name must be given once.", names.duplicate_names),
    Rule("G-ATTRIBUTE", "An attribute must have one value, of its type.", names.attribute_values),
    Rule("G-TYPE", "Values must be plain tensors of numbers.", tensors.value_types),
    Rule("G-SHAPE", "Shapes must be sound and of a sensible size.", tensors.shapes),
    Rule("G-STORAGE", "A tensor must have just the values its shape promises.", tensors.storage),
    Rule("G-NON-FINITE", "Constants must be finite.", tensors.finite),
    Rule(
        "G-CONSTANT-SIZE",
        "The graph must build no tensor of an absurd size.",
        tensors.constant_sizes,
    ),
    Rule("G-PARAMETERS", "The model must stay below the limit on values.", tensors.parameter_count),
    Rule("G-INPUTS", "A network must have one input, float32 or float16.", interface.inputs),
    Rule("G-INPUT-SHAPE", "The input must be (N, C, H, W) as declared.", interface.input_shape),
    Rule("G-OUTPUTS", "A network must have one output, float32 or float16.", interface.outputs),
    Rule(
        "G-OUTPUT-SHAPE",
        "The output must be (N, 1, H, W), or (N, 2, H, W) of kind softmax.",
        interface.output_shape,
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

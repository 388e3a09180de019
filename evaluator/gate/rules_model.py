"""Rules on structure: versions, operators, functions and size of the graph."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import AttributeProto

from evaluator.documents.submission import OLDEST_OPSET
from evaluator.gate.operators import ADVICE, ALLOWED, LOOPS, RANDOM, reserved
from evaluator.gate.subject import Hit, Subject, exceeded
from evaluator.gate.survey import Placed, function_key, label, plain_domain, qualified
from evaluator.gate.tensors import small_values

_CURE = " Export again with `opset_version=17` (torch.onnx.export) or the like."


def ir_version(subject: Subject) -> Iterator[Hit]:
    """The file format's version."""
    limits, version = subject.limits, subject.survey.model.ir_version
    if not limits.min_ir <= version <= limits.max_ir:
        yield Hit(
            None,
            f"It is {version}, and {limits.min_ir} to {limits.max_ir} are read: set "
            "model.ir_version before saving, or pass the exporter an older opset.",
        )


def opsets(subject: Subject) -> Iterator[Hit]:
    """The default domain's opset, in the model and in every local function."""
    survey, limits, declared = subject.survey, subject.limits, subject.submission.opset
    for key, imported in survey.imports.items():
        name = None if key is None else f"function {label(key[1])}"
        version = imported.get("")
        if version is None:
            if key is None:
                yield Hit(None, "The default domain is not imported.")
        elif version < OLDEST_OPSET:
            yield Hit(name, f"It is {version}, and {OLDEST_OPSET} is the oldest taken.{_CURE}")
        elif version > limits.model.opset:
            yield Hit(name, exceeded(limits, "opset", f"opset {version}"))
        elif key is None and version != declared:
            cure = f"Write `opset: {version}` there, or export with {declared}."
            yield Hit(None, f"submission.yaml declares {declared}, the file says {version}. {cure}")
    for placed in survey.nodes:
        if plain_domain(placed.node.domain) not in survey.imports.get(placed.scope.owner, {}):
            yield Hit(str(placed), "Its domain is not imported.")


def training_info(subject: Subject) -> Iterator[Hit]:
    """Training graphs ride along in files of ONNX's training preview."""
    if len(subject.survey.model.training_info):
        yield Hit(None, "Remove training_info.")


def functions(subject: Subject) -> Iterator[Hit]:
    """Local functions: each in a domain of their own, without cycles or macros."""
    survey = subject.survey
    for key in survey.functions:
        if reserved(key[0]):
            name = f"function {label(qualified(*key[:2]))}"
            yield Hit(name, "Its domain belongs to the runtime.")
    if survey.recursion is not None:
        yield Hit(f"function {label(survey.recursion[1])}", "It calls itself.")
    graphs = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
    for placed in survey.nodes:
        for attribute in placed.node.attribute:
            # a graph handed on by reference multiplies with every use, past any count of calls
            called = function_key(placed.node) in survey.functions
            if attribute.type in graphs and (attribute.ref_attr_name or called):
                yield Hit(str(placed), "Functions may not take graphs as attributes.")
    for function in survey.model.functions:
        if any(item.type in graphs for item in function.attribute_proto):
            yield Hit(
                f"function {label(function.name)}", "Functions may not take graphs as attributes."
            )


_MANY = 1_000_000  # nodes: beyond, expanded functions are not counted


def node_count(subject: Subject) -> Iterator[Hit]:
    """Nodes, with subgraphs counted and function calls expanded."""
    survey, limits = subject.survey, subject.limits
    nodes = max(survey.expanded(None, _MANY), len(survey.nodes))
    if nodes > limits.model.nodes:
        some = f"{nodes:,}" if nodes < _MANY else f"at least {_MANY:,}"
        yield Hit(None, exceeded(limits, "nodes", f"{some} nodes"))


def randomness(subject: Subject) -> Iterator[Hit]:
    """Operators whose result differs from run to run."""
    yield from _named(subject, RANDOM)


def loops(subject: Subject) -> Iterator[Hit]:
    """Operators whose body runs as often as the data say."""
    yield from _named(subject, LOOPS)


def _named(subject: Subject, names: frozenset[str]) -> Iterator[Hit]:
    for placed in subject.survey.nodes:
        if placed.standard and placed.node.op_type in names:
            yield Hit(str(placed), "")


def training_mode(subject: Subject) -> Iterator[Hit]:
    """Dropout and BatchNormalization must provably be in evaluation mode."""
    for placed in subject.survey.nodes:
        if placed.standard and placed.node.op_type in _TRAINS:
            detail = _TRAINS[placed.node.op_type](placed)
            if detail:
                yield Hit(str(placed), detail)


def _dropout_trains(placed: Placed) -> str:
    inputs = placed.node.input
    if len(inputs) < 3 or not inputs[2]:
        return ""
    values = small_values(placed.scope.constant(inputs[2]))
    return "" if values == [0] else "Its input training_mode is not a constant false."


def _batch_norm_trains(placed: Placed) -> str:
    mode = placed.attribute("training_mode")
    if mode is not None and (mode.i != 0 or mode.ref_attr_name):
        return "Its attribute training_mode is set."
    # before opset 14 the number of outputs gives the mode
    return "It gives running statistics." if sum(map(bool, placed.node.output)) > 1 else ""


_TRAINS = {"Dropout": _dropout_trains, "BatchNormalization": _batch_norm_trains}


def domains(subject: Subject) -> Iterator[Hit]:
    """Domains are judged by the nodes that use them; local functions make theirs known."""
    survey = subject.survey
    for placed in survey.nodes:
        node = placed.node
        if placed.standard or node.domain in ALLOWED or function_key(node) in survey.functions:
            continue
        yield Hit(str(placed), f"Nobody here knows the domain {label(node.domain)}.")


def operators(subject: Subject) -> Iterator[Hit]:
    """Operators on the list, which exist and are not withdrawn in the opset that is imported."""
    survey = subject.survey
    for placed in survey.nodes:
        node = placed.node
        allowed = ALLOWED.get("" if placed.standard else node.domain)
        if allowed is None or function_key(node) in survey.functions:
            continue
        if node.op_type in RANDOM | LOOPS and placed.standard:
            continue  # those have codes of their own
        if node.op_type not in allowed:
            yield Hit(str(placed), ADVICE.get(node.op_type, ""))
        elif placed.attribute("classlabels_strings") is not None:
            yield Hit(str(placed), "Its classes are text: fit it on the whole numbers 0 and 1.")
        elif placed.standard:
            yield from _exists(placed, subject)


def _exists(placed: Placed, subject: Subject) -> Iterator[Hit]:
    version = subject.survey.imports.get(placed.scope.owner, {}).get("")
    if version is None or not 1 <= version <= subject.limits.model.opset:
        return  # G-OPSET has said so
    try:
        schema = onnx.defs.get_schema(placed.node.op_type, version, "")
    except onnx.defs.SchemaError:
        yield Hit(str(placed), f"It does not exist in opset {version}.")
        return
    if schema.deprecated:
        yield Hit(str(placed), f"It is withdrawn in opset {version}.")

"""Rules on input and output: the network takes and gives what `submission.yaml` declares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import TensorProto, ValueInfoProto

from evaluator.gate.subject import Hit, Subject
from evaluator.gate.survey import label
from evaluator.gate.tensors import type_name

_AXES = "NCHW"
# What people do who hand in another type, and what to do about it.
_TYPES: dict[str, dict[int, str]] = {
    "input": {
        TensorProto.UINT8: "leave the conversion from bytes out of the export, and declare the "
        "scaling as mean and std, which apply after the division by 255",
    },
    "output": {
        TensorProto.INT64: "leave ArgMax out of the export and declare kind softmax for two "
        "maps of logits, or cast the mask to float32 and declare kind mask",
    },
}
_TAKEN = (TensorProto.FLOAT, TensorProto.FLOAT16)
_OTHERWISE = {
    "input": "cast it inside the graph, and take float32",
    "output": "cast it to float32, and declare kind mask where it is 0 and 1 alone",
}


def _inputs(subject: Subject) -> list[ValueInfoProto]:
    """Inputs that must be fed: those that no initialiser gives a value."""
    graph = subject.survey.model.graph
    stored = {tensor.name for tensor in graph.initializer}
    return [info for info in graph.input if info.name not in stored]


def inputs(subject: Subject) -> Iterator[Hit]:
    """Just one input, of float32 or float16."""
    yield from _one_float(_inputs(subject), "input")


def outputs(subject: Subject) -> Iterator[Hit]:
    """Just one output, of float32 or float16."""
    yield from _one_float(subject.survey.model.graph.output, "output")


def _one_float(values: Sequence[ValueInfoProto], what: str) -> Iterator[Hit]:
    if len(values) != 1:
        names = ", ".join(label(value.name) for value in values[:5])
        yield Hit(None, f"This one has {len(values)} {what}s{': ' + names if names else ''}.")
        return
    kind = values[0].type.tensor_type.elem_type
    if kind not in _TAKEN:
        yield Hit(
            f"{what} '{label(values[0].name)}'",
            f"This one is {type_name(kind)}: {_TYPES[what].get(kind, _OTHERWISE[what])}.",
        )


def input_shape(subject: Subject) -> Iterator[Hit]:
    """(N, C, H, W): N free or 1, C as declared, H and W as declared or free; of native, free."""
    spec = subject.submission.input
    for value in _inputs(subject)[:1]:
        yield from _shape(value, (1, spec.depth, spec.height, spec.width), "input")


def output_shape(subject: Subject) -> Iterator[Hit]:
    """(N, K, H, W): N free or 1, the maps that the kind has, H and W as of the input."""
    spec, maps = subject.submission.input, subject.submission.output.maps
    for value in list(subject.survey.model.graph.output)[:1]:
        yield from _shape(value, (1, maps, spec.height, spec.width), "output")


def _shape(value: ValueInfoProto, wanted: tuple[int | None, ...], what: str) -> Iterator[Hit]:
    """What is wrong with a declared shape; a side of None must be free."""
    name = f"{what} '{label(value.name)}'"
    shape = value.type.tensor_type.shape
    if not value.type.tensor_type.HasField("shape") or len(shape.dim) != len(wanted):
        yield Hit(name, f"This one declares {len(shape.dim)} dimensions.")
        return
    given = [dimension.dim_value for dimension in shape.dim]
    if given[1:] == [*(size or 0 for size in wanted[2:]), wanted[1]] and wanted[1] != wanted[3]:
        yield Hit(
            name,
            "This one is (N, H, W, C), as Keras writes it: convert with tf2onnx's --inputs-as-nchw "
            "and --outputs-as-nchw, or transpose inside the graph.",
        )
        return
    for axis, dimension, size in zip(_AXES, shape.dim, wanted, strict=True):
        may_be_free = axis != "C" or what == "output"  # the first load shows what it really is
        if dimension.HasField("dim_value"):
            sound, found = dimension.dim_value == size, str(dimension.dim_value)
        else:
            sound, found = may_be_free, "free"
        if not sound and size is None:
            wish = "left free where mode is native (dynamic_axes or dynamic_shapes of the export)"
            yield Hit(name, f"{axis} is {found}; it must be {wish}.")
        elif not sound:
            wish = f"{size} or left free" if may_be_free else str(size)
            yield Hit(name, f"{axis} is {found}; it must be {wish}.")

"""Rules on stored values: inside the file, finite, and as many as their shapes say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from onnx import TensorProto, TypeProto

from evaluator.gate import tensors
from evaluator.gate.subject import Hit, Subject, exceeded
from evaluator.gate.survey import Placed, Reference, function_key, label
from evaluator.gate.tensors import ELEMENT_TYPES, FLOATS, elements, small_values, type_name


def _all_tensors(subject: Subject) -> Iterator[tuple[TensorProto, str]]:
    for stored in subject.survey.tensors:
        yield stored.tensor, str(stored)
    for tensor, holder in subject.survey.sparse:
        yield tensor.values, f"the values of a sparse tensor of {holder}"
        yield tensor.indices, f"the indices of a sparse tensor of {holder}"


def _is_external(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data) > 0


_INLINE = (
    "It points outside: export with torch.onnx.export(..., external_data=False), or join the files "
    "with onnx.save(onnx.load(FILE), NEW)."
)


def external_data(subject: Subject) -> Iterator[Hit]:
    """Tensors whose values lie in another file, wherever in the model they hide."""
    for tensor, where in _all_tensors(subject):
        if _is_external(tensor):
            yield Hit(where, _INLINE)


def sparse(subject: Subject) -> Iterator[Hit]:
    """A sparse tensor of a few values is made dense while loading, however large its shape."""
    for _, holder in subject.survey.sparse:
        yield Hit(holder, "")


def value_types(subject: Subject) -> Iterator[Hit]:
    """No sequences, maps, optionals, sparse or opaque values, text or complex numbers."""
    for typed in subject.survey.types:
        kind = typed.type.WhichOneof("value")
        if kind not in (None, "tensor_type"):
            yield Hit(typed.holder, f"Its kind is {kind.removesuffix('_type')}.")
        elif kind and typed.type.tensor_type.elem_type not in (0, *ELEMENT_TYPES):
            yield Hit(typed.holder, f"It contains {type_name(typed.type.tensor_type.elem_type)}.")
    for stored in subject.survey.tensors:
        if stored.tensor.data_type not in ELEMENT_TYPES:
            yield Hit(str(stored), f"It contains {type_name(stored.tensor.data_type)}.")
    references = set[Reference]()
    for placed in subject.survey.nodes:
        for attribute in (
            () if function_key(placed.node) in subject.survey.functions else placed.node.attribute
        ):
            if attribute.name in ("value_string", "value_strings"):
                yield Hit(str(placed), "It contains text.")
            elif attribute.name in _TYPE_ATTRIBUTES and attribute.i not in (0, *ELEMENT_TYPES):
                yield Hit(str(placed), f"It makes {type_name(attribute.i)}.")
            elif attribute.name in _TYPE_ATTRIBUTES and placed.scope.owner is not None:
                references.add((placed.scope.owner, attribute.ref_attr_name))
    for given in subject.survey.values_of(references):
        if given.i not in (0, *ELEMENT_TYPES):
            name = label(given.name)
            yield Hit(None, f"Attribute '{name}' of a function makes {type_name(given.i)}.")


# Attributes that name the type of a result, whatever the operator.
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type", "softmax_precision", "precision")


def shapes(subject: Subject) -> Iterator[Hit]:
    """Declared shapes: no negative size, no absurd rank, no tensor beyond the limit."""
    for tensor, where in _all_tensors(subject):
        detail = _shape_trouble(list(tensor.dims), subject)
        if detail:
            yield Hit(where, detail)
    for typed in subject.survey.types:
        detail = _shape_trouble(_fixed(typed.type), subject)
        if detail:
            yield Hit(typed.holder, detail)


def _fixed(value: TypeProto) -> list[int]:
    dimensions = value.tensor_type.shape.dim
    return [item.dim_value if item.HasField("dim_value") else 1 for item in dimensions]


def _shape_trouble(dims: Sequence[int], subject: Subject) -> str:
    limits = subject.limits
    if any(size < 0 for size in dims):
        return f"It has a negative size, {min(dims)}."
    if len(dims) > limits.max_rank:
        return f"It has {len(dims)} dimensions, and {limits.max_rank} are taken."
    if math.prod(dims) > limits.max_tensor_elements:
        return f"It has more than {limits.max_tensor_elements} elements."
    return ""


def storage(subject: Subject) -> Iterator[Hit]:
    """The bytes of every tensor against its shape and type."""
    for tensor, where in _all_tensors(subject):
        if tensor.data_type in ELEMENT_TYPES and not _is_external(tensor):
            trouble = tensors.storage_trouble(tensor)
            if trouble:
                yield Hit(where, f"In this one, {trouble}.")


def finite(subject: Subject) -> Iterator[Hit]:
    """No NaN anywhere; infinity only as a single number, as attention masks use it."""
    for tensor, where in _all_tensors(subject):
        sound = not _is_external(tensor) and tensors.storage_trouble(tensor) is None
        if tensor.data_type in FLOATS and sound:
            infinite, nan = tensors.infinities(tensor)
            if nan or (infinite and elements(tensor) > 1):
                yield Hit(where, f"It contains {'NaN' if nan else 'an infinite value'}.")
    for attribute, holder in subject.survey.attributes:
        sound = all(map(math.isfinite, attribute.floats)) and not math.isnan(attribute.f)
        if not sound:
            yield Hit(holder, f"Its attribute {attribute.name[:40]!a} is not finite.")


def _product(position: int) -> Callable[[Placed], float]:
    """Elements as the product of the constant given as input `position`."""

    def measure(placed: Placed) -> float:
        values = _values(placed, position)
        return math.prod(abs(value) for value in values) if values else 0

    return measure


def _range(placed: Placed) -> float:
    start, limit, delta = (_values(placed, position) for position in range(3))
    if not (start and limit and delta):
        return 0
    return abs(limit[0] - start[0]) / abs(delta[0]) if delta[0] else math.inf


def _pad(placed: Placed) -> float:
    return max((abs(value) for value in _values(placed, 1) or ()), default=0)


def _resize(placed: Placed) -> float:
    return max(_product(2)(placed), _product(3)(placed))


def _values(placed: Placed, position: int) -> list[float] | None:
    inputs = placed.node.input
    if position >= len(inputs) or not inputs[position]:
        return None
    return small_values(placed.scope.constant(inputs[position]))


# Operators whose output is as large as a number inside the file says.
_SIZED: dict[str, Callable[[Placed], float]] = {
    "ConstantOfShape": _product(0),
    "Expand": _product(1),
    "OneHot": _product(1),
    "Pad": _pad,
    "Range": _range,
    "Resize": _resize,
    "Tile": _product(1),
}


def constant_sizes(subject: Subject) -> Iterator[Hit]:
    """Memory bombs whose size is a plain number in the file; the first load meets the others."""
    limit = subject.limits.max_tensor_elements
    for placed in subject.survey.nodes:
        if placed.standard and placed.node.op_type in _SIZED:
            size = _SIZED[placed.node.op_type](placed)
            if not size <= limit:
                yield Hit(str(placed), f"More than {limit} elements.")


def parameter_count(subject: Subject) -> Iterator[Hit]:
    """Values stored in the file, whatever they are for."""
    stored = sum(elements(stored.tensor) for stored in subject.survey.tensors)
    listed = sum(len(item.floats) + len(item.ints) for item, _ in subject.survey.attributes)
    if stored + listed > subject.limits.model.parameters:
        yield Hit(None, exceeded(subject.limits, "parameters", f"{stored + listed:,} values"))

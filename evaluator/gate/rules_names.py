"""Rules on whatever may be there once: names in a list, values in a scope, an attribute's value.

Where a model says something twice, two readers may take different ones: one result in the gate,
another in inference. `NAMED` says for every list of every kind of message what its members may not
have in common; the lists that are missing there are sequences, in which repetition has a meaning.
A node's own name is a note for people, and free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import cache
from operator import attrgetter
from typing import Any

from google.protobuf.message import Message
from onnx import AttributeProto, GraphProto

from evaluator.gate.subject import Hit, Subject
from evaluator.gate.survey import Scope, function_key, label, plain_domain

Key = Callable[[Any], Hashable]


def _itself(text: str) -> str:
    return text


# Kind of message -> what tells two members of a list apart.
_KEYS: dict[str, Key] = {
    "AttributeProto": attrgetter("name"),
    "DeviceConfigurationProto": attrgetter("name"),
    "FunctionProto": function_key,
    "IntIntListEntryProto": attrgetter("key"),
    "NodeDeviceConfigurationProto": attrgetter("configuration_id"),
    "OperatorSetIdProto": lambda item: plain_domain(item.domain),
    "ShardedDimProto": attrgetter("axis"),
    "ShardingSpecProto": attrgetter("tensor_name"),
    "SparseTensorProto": attrgetter("values.name"),
    "StringStringEntryProto": attrgetter("key"),
    "TensorAnnotation": attrgetter("tensor_name"),
    "TensorProto": attrgetter("name"),
    "ValueInfoProto": attrgetter("name"),
}
_NAMES = frozenset(
    [
        "DeviceConfigurationProto.device",
        "FunctionProto.attribute",
        "FunctionProto.input",
        "FunctionProto.output",
        "NodeProto.output",
    ]
)
# Lists of these kinds in which a position is all that tells members apart.
_SEQUENCES = ("AttributeProto.tensors", "AttributeProto.sparse_tensors")


@cache
def named(descriptor: Any) -> dict[str, Key]:
    """The lists of a kind of message whose members must differ, and in what."""
    found: dict[str, Key] = {}
    for field in descriptor.fields:
        name = f"{descriptor.name}.{field.name}"
        if not field.is_repeated or name in _SEQUENCES:
            continue
        if name in _NAMES:
            found[field.name] = _itself
        elif field.message_type is not None and field.message_type.name in _KEYS:
            found[field.name] = _KEYS[field.message_type.name]
    return found


@cache
def _inside(descriptor: Any) -> tuple[tuple[str, bool], ...]:
    """The fields of a kind of message that contain messages, and whether they are lists."""
    fields = [field for field in descriptor.fields if field.message_type is not None]
    return tuple((field.name, field.is_repeated) for field in fields)


def duplicate_names(subject: Subject) -> Iterator[Hit]:
    """Two members of one name in any list, two definitions of one value in a scope."""
    waiting: list[Message] = [subject.survey.model]
    while waiting:
        message = waiting.pop()
        kind = message.DESCRIPTOR
        for field, key in named(kind).items():
            members = getattr(message, field)
            if len(members) > 1:
                yield from _repeated(map(key, members), f"{field} of {kind.name}")
        for field, many in _inside(kind):
            if many:
                waiting.extend(getattr(message, field))
            elif message.HasField(field):
                waiting.append(getattr(message, field))
    for function in subject.survey.model.functions:
        both = (*function.attribute, *(item.name for item in function.attribute_proto))
        yield from _repeated(both, f"attributes of function {label(function.name)}")
    for scope in subject.survey.scopes:
        yield from _redefined(scope)


def _repeated(names: Iterable[Hashable], place: str) -> Iterator[Hit]:
    for name, count in Counter(names).items():
        if count > 1 and name != "":
            yield Hit(place, f"'{_shown(name)}' is there {count} times.")
        elif count > 1 and place != "output of NodeProto":  # there, no name is for no output
            yield Hit(place, f"{count} have no name.")


def _shown(name: Hashable) -> str:
    return label(":".join(name) if isinstance(name, tuple) else str(name))


def _redefined(scope: Scope) -> Iterator[Hit]:
    """Values that a scope defines twice, or that an enclosing one defines too, or of two types."""
    made = list(_definitions(scope))
    yield from _repeated(made, scope.name or "the graph")
    outer = scope.parent
    while outer is not None:
        for name in scope.defined & outer.defined:
            yield Hit(scope.name, f"'{label(name)}' is defined outside as well.")
        outer = outer.parent
    if isinstance(scope.body, GraphProto):
        ends = {info.name: info.type for info in (*scope.body.input, *scope.body.output)}
        for info in scope.body.value_info:
            if info.name in ends and info.type != ends[info.name]:
                yield Hit(scope.name or None, f"'{label(info.name)}' has two types.")


def _definitions(scope: Scope) -> Iterator[str]:
    """Every definition of a value; an initialiser may give an input its default."""
    body = scope.body
    if isinstance(body, GraphProto):
        inputs = {info.name for info in body.input}
        yield from inputs
        yield from {tensor.name for tensor in body.initializer} - inputs
    else:
        yield from set(body.input)
    for node in body.node:
        yield from {name for name in node.output if name}


# Type of an attribute -> the field that has its value.
_VALUE_FIELDS = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}


def attribute_values(subject: Subject) -> Iterator[Hit]:
    """An attribute declares its type and has a value of that type alone, or refers to one."""
    for attribute, holder in subject.survey.attributes:
        detail = _value_trouble(attribute)
        if detail:
            yield Hit(holder, f"Attribute {label(attribute.name)!a} {detail}.")
    for placed in subject.survey.nodes:
        if (
            placed.standard
            and placed.node.op_type == "Constant"
            and len(placed.node.attribute) != 1
        ):
            yield Hit(str(placed), f"A Constant has {len(placed.node.attribute)} attributes.")


def _value_trouble(attribute: AttributeProto) -> str:
    filled = [name for name in _VALUE_FIELDS.values() if _is_filled(attribute, name)]
    if attribute.ref_attr_name:
        return "refers to another and has a value" if filled else ""
    if attribute.type not in _VALUE_FIELDS:
        return "declares no type"
    others = [name for name in filled if name != _VALUE_FIELDS[attribute.type]]
    return f"has a value of another type than it declares, in {others[0]}" if others else ""


def _is_filled(attribute: AttributeProto, field: str) -> bool:
    if field.endswith("s") and field != "s":
        return len(getattr(attribute, field)) > 0
    return bool(attribute.HasField(field))

"""Everything in a model, wherever it hides: one flat list of graphs, nodes, tensors and types.

Rules ask a `Survey` and never walk for themselves, so that nothing in a subgraph of a function of a
subgraph is forgotten. Everything here is iterative and linear in the file's fields; function calls
are counted, never expanded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

import onnx

DEFAULT_DOMAINS = ("", "ai.onnx")
_LONGEST = 80
FunctionKey = tuple[str, str, str]  # domain, name, overload
Reference = tuple[FunctionKey, str]  # an attribute of a function


def label(text: str, longest: int = _LONGEST) -> str:
    """A participant's text, safe to print: printable ASCII, at most `longest` characters."""
    tame = "".join(char if 32 <= ord(char) < 127 else "?" for char in text[: longest + 1])
    return tame if len(tame) <= longest else tame[: longest - 3] + "..."


@dataclass
class Scope:
    """One graph, subgraph or function body, with the names it sees."""

    name: str  # for people; empty for the main graph
    body: onnx.GraphProto | onnx.FunctionProto
    parent: Scope | None = None
    owner: FunctionKey | None = None  # the function it belongs to
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    place: Placed | None = None  # the node that it is inside of

    @cached_property
    def defined(self) -> frozenset[str]:
        """The values that this scope defines itself."""
        body = self.body
        made = {name for node in body.node for name in node.output if name}
        if isinstance(body, onnx.GraphProto):
            made.update(info.name for info in body.input)
            made.update(tensor.name for tensor in body.initializer)
        else:
            made.update(body.input)
        return frozenset(made)

    def find(self, name: str) -> Scope | None:
        """The scope that defines `name`: this one or an enclosing one."""
        scope: Scope | None = self
        while scope is not None and name not in scope.defined:
            scope = scope.parent
        return scope

    def constant(self, name: str) -> onnx.TensorProto | None:
        """The constant tensor called `name`, here or in an enclosing graph."""
        scope = self.find(name)
        return None if scope is None else scope.constants.get(name)


@dataclass(frozen=True)
class Placed:
    """A node and its place."""

    node: onnx.NodeProto
    scope: Scope
    index: int

    def __str__(self) -> str:
        name = label(self.node.name) or f"#{self.index}"
        inside = f" in {self.scope.name}" if self.scope.name else ""
        return f"{name} ({label(qualified(self.node.domain, self.node.op_type))}){inside}"

    @property
    def standard(self) -> bool:
        """Whether the node's operator is one of the default domain."""
        return self.node.domain in DEFAULT_DOMAINS

    def attribute(self, name: str) -> onnx.AttributeProto | None:
        """The node's attribute called `name`."""
        return next((item for item in self.node.attribute if item.name == name), None)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor and its holder: a node's attribute, or a graph's initialiser."""

    tensor: onnx.TensorProto
    holder: str

    def __str__(self) -> str:
        return f"tensor '{label(self.tensor.name)}' of {self.holder}"


@dataclass(frozen=True)
class Typed:
    """A declared type and whose it is."""

    type: onnx.TypeProto
    holder: str


def qualified(domain: str, name: str) -> str:
    """`domain::name`, or the bare name in the default domain."""
    return name if domain in DEFAULT_DOMAINS else f"{domain}::{name}"


def plain_domain(domain: str) -> str:
    """`domain`, with both names of the default domain as ""."""
    return "" if domain in DEFAULT_DOMAINS else domain


def function_key(item: onnx.NodeProto | onnx.FunctionProto) -> FunctionKey:
    """What a call and a definition have in common."""
    name = item.op_type if isinstance(item, onnx.NodeProto) else item.name
    return plain_domain(item.domain), name, item.overload


@dataclass
class Survey:
    """Everything in a model, flat."""

    model: onnx.ModelProto
    scopes: list[Scope] = field(default_factory=list)
    nodes: list[Placed] = field(default_factory=list)
    tensors: list[StoredTensor] = field(default_factory=list)
    sparse: list[tuple[onnx.SparseTensorProto, str]] = field(default_factory=list)
    types: list[Typed] = field(default_factory=list)
    attributes: list[tuple[onnx.AttributeProto, str]] = field(default_factory=list)

    @cached_property
    def imports(self) -> dict[FunctionKey | None, dict[str, int]]:
        """Domain -> version of the model (None) and each function; "" is the default domain."""
        bodies: list[tuple[FunctionKey | None, onnx.ModelProto | onnx.FunctionProto]]
        bodies = [(None, self.model), *self.functions.items()]
        return {
            key: {plain_domain(item.domain): item.version for item in body.opset_import}
            for key, body in bodies
        }

    @cached_property
    def functions(self) -> dict[FunctionKey, onnx.FunctionProto]:
        """Local functions by the key that calls name them with."""
        return {function_key(function): function for function in self.model.functions}

    @cached_property
    def handed(self) -> dict[Reference, list[tuple[FunctionKey | None, onnx.AttributeProto]]]:
        """What defaults and calls give to the attributes of functions, and who calls."""
        table: dict[Reference, list[tuple[FunctionKey | None, onnx.AttributeProto]]] = {}
        for key, function in self.functions.items():
            for default in function.attribute_proto:
                table.setdefault((key, default.name), []).append((key, default))
        for placed in self.nodes:
            key = function_key(placed.node)
            for given in placed.node.attribute if key in self.functions else ():
                table.setdefault((key, given.name), []).append((placed.scope.owner, given))
        return table

    def values_of(self, references: Iterable[Reference]) -> Iterator[onnx.AttributeProto]:
        """Every value that may arrive at one of these attributes of functions.

        Complexity: linear in the attributes, however functions hand on what they were handed.
        """
        waiting = list(references)
        known = set(waiting)
        while waiting:
            for owner, given in self.handed.get(waiting.pop(), ()):
                if not given.ref_attr_name:
                    yield given
                elif owner is not None and (owner, given.ref_attr_name) not in known:
                    known.add((owner, given.ref_attr_name))
                    waiting.append((owner, given.ref_attr_name))

    @cached_property
    def recursion(self) -> FunctionKey | None:
        """A function that calls itself, however indirectly, or None."""
        try:
            TopologicalSorter(self._calls()).prepare()
        except CycleError as error:
            key: FunctionKey = error.args[1][0]
            return key
        return None

    def expanded(self, key: FunctionKey | None, ceiling: int) -> int:
        """Nodes of a function, or of the model where `key` is None, with every call expanded.

        Args:
            ceiling: the sum is cut here, so that numbers stay small however functions nest.
        """
        if self.recursion is not None:
            return ceiling
        sizes: dict[FunctionKey | None, int] = {}
        own = self._own_nodes()
        calls = self._calls()
        for name in (*TopologicalSorter(calls).static_order(), None):
            callees = self._callees(name)
            total = own.get(name, 0) + sum(
                times * max(0, sizes[callee] - 1) for callee, times in callees.items()
            )
            sizes[name] = min(ceiling, total)
        return sizes[key]

    def _own_nodes(self) -> dict[FunctionKey | None, int]:
        counts: dict[FunctionKey | None, int] = {}
        for placed in self.nodes:
            counts[placed.scope.owner] = counts.get(placed.scope.owner, 0) + 1
        return counts

    @cached_property
    def _call_table(self) -> dict[FunctionKey | None, dict[FunctionKey, int]]:
        table: dict[FunctionKey | None, dict[FunctionKey, int]] = {}
        for placed in self.nodes:
            key = function_key(placed.node)
            if key in self.functions:
                row = table.setdefault(placed.scope.owner, {})
                row[key] = row.get(key, 0) + 1
        return table

    def _callees(self, name: FunctionKey | None) -> dict[FunctionKey, int]:
        return self._call_table.get(name, {})

    def _calls(self) -> dict[FunctionKey, set[FunctionKey]]:
        return {key: set(self._callees(key)) for key in self.functions}


def survey(model: onnx.ModelProto) -> Survey:
    """Walk a parsed model once.

    Complexity: linear in the number of messages, whatever nests in what.
    """
    result = Survey(model)
    waiting = [Scope("", model.graph)]
    for function in model.functions:
        name = f"function {label(qualified(function.domain, function.name))}"
        waiting.append(Scope(name, function, owner=function_key(function)))
    for number, training in enumerate(model.training_info):
        waiting.append(Scope(f"training_info {number}", training.initialization))
        waiting.append(Scope(f"training_info {number}", training.algorithm))
    while waiting:
        scope = waiting.pop()
        result.scopes.append(scope)
        waiting.extend(_enter(scope, result))
    return result


def _enter(scope: Scope, result: Survey) -> Iterator[Scope]:
    """Record what is in `scope`; yield the scopes inside it."""
    holder = scope.name or "the graph"
    body = scope.body
    result.types.extend(Typed(info.type, _value(info.name)) for info in body.value_info)
    if isinstance(body, onnx.GraphProto):
        for info in (*body.input, *body.output):
            result.types.append(Typed(info.type, _value(info.name)))
        result.tensors.extend(StoredTensor(tensor, holder) for tensor in body.initializer)
        result.sparse.extend((tensor, holder) for tensor in body.sparse_initializer)
        scope.constants.update((tensor.name, tensor) for tensor in body.initializer)
    else:
        for attribute in body.attribute_proto:
            yield from _attribute(attribute, scope, holder, result=result)
    for index, node in enumerate(body.node):
        placed = Placed(node, scope, index)
        result.nodes.append(placed)
        if node.op_type == "Constant" and placed.standard and len(node.output) == 1:
            scope.constants.update(
                (node.output[0], item.t) for item in node.attribute if item.name == "value"
            )
        for attribute in node.attribute:
            for inner in _attribute(attribute, scope, str(placed), result=result):
                inner.place = placed
                yield inner


def _attribute(
    attribute: onnx.AttributeProto, scope: Scope, holder: str, *, result: Survey
) -> Iterator[Scope]:
    result.attributes.append((attribute, holder))
    tensors = [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
    result.tensors.extend(StoredTensor(tensor, holder) for tensor in tensors)
    sparse = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    result.sparse.extend((tensor, holder) for tensor in (*sparse, *attribute.sparse_tensors))
    types = [*([attribute.tp] if attribute.HasField("tp") else []), *attribute.type_protos]
    result.types.extend(Typed(item, holder) for item in types)
    for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
        name = f"{label(attribute.name)} of {holder}"
        yield Scope(name[:200], graph, parent=scope, owner=scope.owner)


def _value(name: str) -> str:
    return f"value '{label(name)}'"

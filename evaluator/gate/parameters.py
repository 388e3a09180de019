"""The number of parameters of a graph.

Counted is every constant that flows into the result: backwards from the output, through every input
that takes data, in whatever type and carrier a constant comes (initialiser, `Constant` of any kind,
attribute, table, packed bits). A constant counts once, however often it is used; a function's own
count once, however often it is called. Three things keep the number equal to PyTorch's
`sum(p.numel() for p in parameters())` for honest networks, and none can hide weights:

- Running statistics, scales and zero points count only where they are more than the weights beside
  them; first states of recurrent layers where they are not zero.
- Single numbers in arithmetic (0.5, an epsilon) count by distinct value, and the first `FREE` are
  free. As weights of a layer they count like any other.
- Whole numbers from which an operator takes bits apart count one for each byte.
- Where a size flows into the result, so do the numbers that it was made of: the sizes of a tensor
  without values, which takes no bytes whatever they are, and the sizes that operators are given.
  `FREE` of them are free, too, since exporters divide by the square root of a size.

An exporter in evaluation mode folds BatchNormalization into the convolution before it, so its two
values a channel vanish (and a convolution without bias gains one a channel). Tables that are not
learned, such as attention masks, cannot be distinguished from weights and count. Of trees count
what each node asks and each leaf answers; the links between nodes do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from onnx import AttributeProto, GraphProto, TensorProto

from evaluator.gate.positions import (
    CARRIES_PACKED,
    CHOICES,
    COMPANIONS,
    PASSES,
    SETTINGS,
    SIZES,
    STATES,
    UNPACKS,
    UNUSED,
    WEIGHTS,
)
from evaluator.gate.survey import FunctionKey, Placed, Reference, Scope, Survey, function_key
from evaluator.gate.tensors import byte_width, elements, small_values

FREE = 32  # distinct single numbers that the arithmetic of activations may have
# What is known of a value from where it goes to: whether a layer's weight, a number to unpack, and
# whether anything but a first state of a recurrent layer; whether its size, or a size made of it.
_WEIGHT, _PACKED, _DATA, _SIZE, _GIVEN = 1, 2, 4, 8, 16
_OF_SIZES = _SIZE | _GIVEN


class _Stored(NamedTuple):
    """A constant: its identity, how many values, their width in bytes, and the one value if so."""

    key: int
    size: int
    width: int  # of whole numbers; else 1
    value: float | None
    tensor: TensorProto | None = None  # where it is one


def parameters(seen: Survey) -> int:
    """Values that flow into the result, as this module's docstring says."""
    flow = _Flow(seen)
    flow.run()
    return flow.total()


def _of_tensor(tensor: TensorProto) -> _Stored:
    values = small_values(tensor) if elements(tensor) == 1 else None
    value = values[0] if values else None
    return _Stored(id(tensor), elements(tensor), byte_width(tensor.data_type), value, tensor)


def _is_zero(tensor: TensorProto | None) -> bool:
    """Whether every value is 0; looks at all bytes of the tensor."""
    return tensor is not None and tensor.HasField("raw_data") and not any(tensor.raw_data)


def _of_attribute(attribute: AttributeProto, *, constant: bool) -> Iterator[_Stored]:
    """The constants in an attribute; whole numbers are settings, but for those of Constant.

    Of a tree, what it asks for and what it answers count, and no links between its nodes.
    """
    tensors = [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
    yield from map(_of_tensor, tensors)
    numbers: list[float] = [attribute.f] if attribute.HasField("f") else list(attribute.floats)
    width = 1
    if attribute.name in CHOICES:
        numbers = [*numbers, *attribute.ints]
    if constant and not numbers:
        numbers = [attribute.i] if attribute.HasField("i") else list(attribute.ints)
        width = 8
    if numbers:
        yield _Stored(id(attribute), len(numbers), width, numbers[0])


@dataclass
class _Flow:
    """A walk from the output to the constants, with what it has found so far."""

    survey: Survey
    counted: dict[int, int] = field(default_factory=dict)
    singles: set[float] = field(default_factory=set)
    sizes: dict[int, int] = field(default_factory=dict)
    reached: dict[tuple[int, str], int] = field(default_factory=dict)
    nodes: dict[int, Placed] = field(default_factory=dict)
    references: dict[int, set[Reference]] = field(default_factory=dict)
    waiting: list[tuple[Scope, str, int]] = field(default_factory=list)

    @cached_property
    def _makers(self) -> dict[tuple[int, str], Placed]:
        return {
            (id(placed.scope), name): placed
            for placed in self.survey.nodes
            for name in placed.node.output
            if name
        }

    @cached_property
    def _stored(self) -> dict[tuple[int, str], TensorProto]:
        return {
            (id(scope), tensor.name): tensor
            for scope in self.survey.scopes
            if isinstance(scope.body, GraphProto)
            for tensor in scope.body.initializer
        }

    @cached_property
    def _inner(self) -> dict[int, list[Scope]]:
        table: dict[int, list[Scope]] = {}
        for scope in self.survey.scopes:
            if scope.place is not None:
                table.setdefault(id(scope.place), []).append(scope)
        return table

    @cached_property
    def _bodies(self) -> dict[FunctionKey, Scope]:
        tops = (scope for scope in self.survey.scopes if scope.parent is None)
        return {scope.owner: scope for scope in tops if scope.owner is not None}

    @cached_property
    def _calls(self) -> dict[FunctionKey, list[Placed]]:
        table: dict[FunctionKey, list[Placed]] = {}
        for placed in self.survey.nodes:
            table.setdefault(function_key(placed.node), []).append(placed)
        return table

    def run(self) -> None:
        """Walk until nothing new is reached."""
        top = next(scope for scope in self.survey.scopes if not scope.name)
        self._push_results(top, _DATA)
        while self.waiting:
            scope, name, known = self.waiting.pop()
            place = scope.find(name)
            if place is None:
                continue
            before = self.reached.get((id(place), name))
            known |= before or 0
            if before != known:
                self.reached[id(place), name] = known
                self._visit(place, name, known)
        for known, references in self.references.items():
            for given in self.survey.values_of(references):
                for stored in _of_attribute(given, constant=True):
                    self._count(stored, known)

    def total(self) -> int:
        """The sum, with what lies beside weights where it is more than they are."""
        excused = set[int]()
        for placed in self.nodes.values():
            self._count_companions(placed, excused)
        sizes = sum(size for key, size in self.sizes.items() if key not in self.counted)
        return sum(self.counted.values()) + sum(
            max(0, found - FREE) for found in (len(self.singles), sizes)
        )

    def _push_results(self, scope: Scope, known: int) -> None:
        names = (getattr(item, "name", item) for item in scope.body.output)
        self.waiting.extend((scope, name, known) for name in names)

    def _visit(self, scope: Scope, name: str, known: int) -> None:
        stored = self._stored.get((id(scope), name))
        placed = self._makers.get((id(scope), name))
        if stored is not None:
            self._count(_of_tensor(stored), known)
        elif placed is None:
            self._enter_calls(scope, name, known)
        elif function_key(placed.node) in self._bodies:
            body = self._bodies[function_key(placed.node)]
            position = list(placed.node.output).index(name)
            self.waiting.extend((body, made, known) for made in body.body.output[position:][:1])
        else:
            self._pass(placed, known)

    def _enter_calls(self, scope: Scope, name: str, known: int) -> None:
        """From the input of a function to what its calls hand it."""
        if scope.owner is None or scope.parent is not None:
            return
        position = list(scope.body.input).index(name)
        for call in self._calls.get(scope.owner, ()):
            self.waiting.extend(
                (call.scope, item, known) for item in call.node.input[position:][:1]
            )

    def _pass(self, placed: Placed, known: int) -> None:
        """From the result of a node to its inputs, its attributes and the graphs inside it."""
        operator = placed.node.op_type
        constant = operator == "Constant" and placed.standard
        self.nodes.setdefault(id(placed), placed)
        is_tree = operator.startswith("TreeEnsemble") and placed.node.domain == "ai.onnx.ml"
        for attribute in placed.node.attribute:
            if is_tree and attribute.name in UNUSED:
                continue
            for stored in _of_attribute(attribute, constant=constant):
                self._count(stored, known if constant else _DATA)
            if attribute.ref_attr_name and placed.scope.owner is not None:
                reference = (placed.scope.owner, attribute.ref_attr_name)
                self.references.setdefault(known if constant else _DATA, set()).add(reference)
        for scope in self._inner.get(id(placed), ()):
            self._push_results(scope, known)
        companions = COMPANIONS.get(operator, ())
        for position, name in enumerate(placed.node.input):
            if name and operator in SIZES:
                self.waiting.append((placed.scope, name, _SIZE | known & _PACKED))
                continue
            if name and position in SETTINGS.get(operator, ()) and known & _OF_SIZES:
                self.waiting.append((placed.scope, name, _GIVEN | known & _PACKED))
            if not name or position in SETTINGS.get(operator, ()):
                continue
            if position in companions and self._constant(placed, name) is not None:
                continue  # `total` looks at them
            self.waiting.append((placed.scope, name, _knowledge(operator, position, known)))

    def _constant(self, placed: Placed, name: str) -> _Stored | None:
        place = placed.scope.find(name)
        if place is None:
            return None
        stored = self._stored.get((id(place), name))
        if stored is not None:
            return _of_tensor(stored)
        maker = self._makers.get((id(place), name))
        if maker is None or maker.node.op_type != "Constant" or not maker.standard:
            return None
        values = (_of_attribute(item, constant=True) for item in maker.node.attribute)
        return next(chain.from_iterable(values), None)

    def _count(self, stored: _Stored, known: int) -> None:
        if known & _OF_SIZES:
            dims = stored.tensor.dims if stored.tensor is not None and not stored.size else ()
            sizes = stored.size if known & _GIVEN else sum(map(bool, dims))
            self.sizes[stored.key] = sizes * (8 if known & _PACKED else 1)
        if _is_size(known) or (not known & _DATA and _is_zero(stored.tensor)):
            return
        count = stored.size * (stored.width if known & _PACKED else 1)
        if stored.size == 1 and not known & _WEIGHT and stored.value is not None:
            self.singles.add(stored.value)
        else:
            self.counted[stored.key] = max(self.counted.get(stored.key, 0), count)

    def _count_companions(self, placed: Placed, excused: set[int]) -> None:
        positions = COMPANIONS.get(placed.node.op_type, ())
        beside, weights = list[_Stored](), 0
        for position, name in enumerate(placed.node.input):
            stored = self._constant(placed, name) if positions and name else None
            if stored is None:
                continue
            if position in positions:
                beside.append(stored)
            elif stored.key not in excused:
                excused.add(stored.key)
                weights += self.counted.get(stored.key, 0)
        hidden = weights  # as many values may lie beside them
        for stored in beside:
            if stored.key in self.counted or (weights and stored.size == 1):
                continue
            if stored.size <= hidden:
                hidden -= stored.size
            else:
                self._count(stored, _DATA)


def _is_size(known: int) -> bool:
    """Whether nothing but sizes comes of it."""
    return bool(known & _OF_SIZES) and not known & (_DATA | _WEIGHT)


def _knowledge(operator: str, position: int, known: int) -> int:
    """What is known of an input, from the operator and what is known of its result."""
    if _is_size(known):
        return known
    passes = _has(PASSES, operator, position)
    found = known & _WEIGHT if passes else 0
    if _has(WEIGHTS, operator, position):
        found |= _WEIGHT
    if not _has(STATES, operator, position):
        found |= known & _DATA if passes else _DATA
    if _has(UNPACKS, operator, position):
        found |= _PACKED
    found |= known & _OF_SIZES
    return found | (known & _PACKED if _has(CARRIES_PACKED, operator, position) else 0)


def _has(table: Mapping[str, tuple[int, ...] | None], operator: str, position: int) -> bool:
    positions = table.get(operator, ())
    return positions is None or position in positions

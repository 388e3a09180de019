"""One ONNX graph that answers with the mean of several graphs, or of passes through one.

The graphs are copied node by node under names of their own; each weight is in the result once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from reference_models.export import INPUT

Kind = Literal["logits", "probabilities"]
MIRROR, ANSWER = "mirror", "answer"
WIDTH = 3  # the axis from left to right of (N, C, H, W)
# Of `Slice`: from the last column to before the first, backwards.
_TURN = {"starts": -1, "ends": np.iinfo(np.int64).min, "axes": WIDTH, "steps": -1}


@dataclass(frozen=True)
class Average:
    """What to average over.

    Args:
        mirrored: an image and, mirrored back, its mirror image: the mean of what a model answers.
        ensemble: the models: the mean of their probabilities.
        kind: what the models answer with.
    """

    mirrored: bool
    ensemble: bool
    kind: Kind

    @property
    def answers(self) -> Kind:
        """What the result answers with."""
        return "probabilities" if self.ensemble else self.kind

    @property
    def words(self) -> str:
        """What the method is called beyond its name."""
        return ", ".join(["mirrored"] * self.mirrored + ["fold ensemble"] * self.ensemble)


def can_be_joined(model: ModelProto) -> bool:
    """Whether a model is one flat graph with one input and one output."""
    graph = model.graph
    nested = any(
        part.HasField("g") or part.graphs for node in graph.node for part in node.attribute
    )
    single = len(graph.input) == len(graph.output) == 1
    return single and not nested and not model.functions and not graph.sparse_initializer


def join(models: Sequence[ModelProto], how: Average) -> ModelProto:
    """The graph whose answer is the mean of the models' answers (N, 1, H, W).

    Args:
        models: as `can_be_joined` takes them; of one, unless it is an ensemble.
    """
    first = models[0].graph
    nodes = [_flip(INPUT, MIRROR)] if how.mirrored else []
    weights = [*_turn()] if how.mirrored else []
    answers: list[str] = []
    for number, model in enumerate(models):
        member = _Member(model.graph, f"{number}/")
        nodes += member.constants()
        weights += member.weights()
        said = []
        for image in (INPUT, MIRROR) if how.mirrored else (INPUT,):
            added, answer = member.one_pass(image)
            nodes += added
            said.append(answer)
        if how.mirrored:
            nodes.append(_flip(said[1], f"{number}/back"))
            said[1] = f"{number}/back"
        if how.ensemble:
            added, said = _one_opinion(said, how.kind, f"{number}/")
            nodes += added
        answers += said
    nodes.append(helper.make_node("Mean", answers, [ANSWER]))
    batch, channels, *size = (_length(one) for one in first.input[0].type.tensor_type.shape.dim)
    output = helper.make_tensor_value_info(ANSWER, TensorProto.FLOAT, [batch, 1, *size])
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [batch, channels, *size])
    made = helper.make_model(
        helper.make_graph(nodes, "combined", [image], [output], weights),
        opset_imports=models[0].opset_import,
        ir_version=max(model.ir_version for model in models),
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def mean_answer(answers: Iterable[Sequence[NDArray[Any]]], how: Average) -> NDArray[Any]:
    """The same in NumPy, of what each model answers for the images, then for mirror images."""
    said = [(one[0] + one[1][..., ::-1]) / 2 if how.mirrored else one[0] for one in answers]
    if how.ensemble and how.kind == "logits":
        said = [1 / (1 + np.exp(-one)) for one in said]
    mean: NDArray[Any] = np.mean(said, axis=0)
    return mean


@dataclass(frozen=True)
class _Member:
    """A model's graph, whose names get a prefix: its weights one, and each pass another."""

    graph: GraphProto
    prefix: str

    def weights(self) -> list[TensorProto]:
        return [_named(one, self.prefix + one.name) for one in self.graph.initializer]

    def constants(self) -> list[NodeProto]:
        return [self._renamed(node, "") for node in self.graph.node if not node.input]

    def one_pass(self, image: str) -> tuple[list[NodeProto], str]:
        nodes = [self._renamed(node, image) for node in self.graph.node if node.input]
        return nodes, self._name(self.graph.output[0].name, image)

    def _renamed(self, node: NodeProto, image: str) -> NodeProto:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{self.prefix}{image}/{node.name}"
        copy.input[:] = [self._name(name, image) for name in node.input]
        copy.output[:] = [self._name(name, image) for name in node.output]
        return copy

    def _name(self, name: str, image: str) -> str:
        if not name:  # an input that is left out
            return name
        if name == self.graph.input[0].name:
            return image
        return self.prefix + name if name in self._shared else f"{self.prefix}{image}/{name}"

    @cached_property
    def _shared(self) -> set[str]:
        constants = {name for node in self.graph.node if not node.input for name in node.output}
        return constants | {one.name for one in self.graph.initializer}


def _one_opinion(said: list[str], kind: Kind, prefix: str) -> tuple[list[NodeProto], list[str]]:
    """The nodes that make one answer in probabilities of a model's answers, and its name."""
    nodes = []
    if len(said) > 1:
        nodes.append(helper.make_node("Mean", said, [f"{prefix}mean"]))
        said = [f"{prefix}mean"]
    if kind == "logits":
        nodes.append(helper.make_node("Sigmoid", said, [f"{prefix}probability"]))
        said = [f"{prefix}probability"]
    return nodes, said


def _turn() -> Iterator[TensorProto]:
    """What makes `Slice` turn left and right round."""
    for name, value in _TURN.items():
        yield numpy_helper.from_array(np.array([value], np.int64), name)


def _flip(source: str, name: str) -> NodeProto:
    return helper.make_node("Slice", [source, *_TURN], [name])


def _named(tensor: TensorProto, name: str) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _length(dimension: Any) -> int | str:
    return dimension.dim_value or str(dimension.dim_param or "batch")

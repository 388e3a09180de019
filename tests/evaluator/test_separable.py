"""No image of a batch changes another's mask, whatever a network does with its company."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from evaluator.documents.input_spec import InputSpec
from evaluator.inference.backends import InferSettings, open_model
from evaluator.inference.batch_rules import Batched
from evaluator.inference.preprocessing import to_input
from evaluator.inference.separable import follow, is_separable
from tests.support.corpus import honest
from tests.support.inference import SIZE, network, stage

Nodes = list[onnx.NodeProto]
Array = NDArray[Any]
node = helper.make_node
BRIGHT = 0.7  # mean of the images on which the networks here look at their company


# --- networks that look at their company, only where an image is of some kind --------------------


def one(operator: str, *constants: str, **attributes: Any) -> Nodes:
    return [node(operator, ["x", *constants], ["m"], **attributes)]


def branch(nodes: Nodes) -> onnx.GraphProto:
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    return helper.make_graph(nodes, "branch", [], [result])


CONSTANTS = {
    "zero": 0,
    "first": [0],
    "last": [-1],
    "end": [1 << 40],
    "one": [1],
    "channels": [1, -1, SIZE, SIZE],
    "images": [-1, 1, SIZE, SIZE],
    "rows": [-1, SIZE * SIZE],
    "to_sequence": [-1, 1, 1],
    "to_column": [-1, 1, 1, 1],
}
MIXES: dict[str, Nodes] = {
    "mean of the batch": one("ReduceMean", axes=[0]),
    "range of everything": one("ReduceMin", keepdims=0),
    "softmax over the batch": one("Softmax", axis=0),
    "log softmax over the batch": one("LogSoftmax", axis=0),
    "softmax of all at once": one("Softmax", axis=-4),
    "sums so far": one("CumSum", "zero"),
    "the first image": one("Gather", "first", axis=0),
    "the last image": one("Slice", "last", "end", "first"),
    "the largest of the batch": [node("TopK", ["x", "one"], ["m", "places"], axis=0)],
    "place of the largest": [
        node("ArgMax", ["x"], ["place"], axis=0),
        node("Cast", ["place"], ["m"], to=TensorProto.FLOAT),
    ],
    "images as channels of a norm": [
        node("Reshape", ["x", "channels"], ["c"]),
        node("LpNormalization", ["c"], ["n"], axis=1),
        node("Reshape", ["n", "images"], ["m"]),
    ],
    "images as channels of a mean": [
        node("Reshape", ["x", "channels"], ["c"]),
        node("ReduceMean", ["c"], ["m"], axes=[1]),
    ],
    "batch and channels swapped": [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2, 3]),
        node("ReduceMean", ["t"], ["n"], axes=[1]),
        node("Transpose", ["n"], ["m"], perm=[1, 0, 2, 3]),
    ],
    "pooled along the batch": [
        node("Transpose", ["x"], ["t"], perm=[2, 1, 0, 3]),
        node("AveragePool", ["t"], ["p"], kernel_shape=[3, 1], pads=[1, 0, 1, 0]),
        node("Transpose", ["p"], ["m"], perm=[2, 1, 0, 3]),
    ],
    "products of images": [
        node("Reshape", ["x", "rows"], ["a"]),
        node("Transpose", ["a"], ["b"]),
        node("MatMul", ["a", "b"], ["p"]),
        node("ReduceMean", ["p"], ["n"], axes=[1]),
        node("Reshape", ["n", "to_column"], ["m"]),
    ],
    "a sum by name": [node("Einsum", ["x"], ["m"], equation="nchw->chw")],
    "the neighbour": [
        node("Slice", ["x", "last", "end", "first"], ["end_image"]),
        node("Concat", ["end_image", "x"], ["c"], axis=0),
        node("Slice", ["c", "first", "last", "first"], ["m"]),
    ],
    "how many there are": [
        node("Shape", ["x"], ["s"], start=0, end=1),
        node("Cast", ["s"], ["n"], to=TensorProto.FLOAT),
        node("Mul", ["n", "x"], ["m"]),
    ],
    "its place in the batch": [
        node("Sub", ["x", "x"], ["nothing"]),
        node("Cos", ["nothing"], ["ones"]),
        node("CumSum", ["ones", "zero"], ["m"]),
    ],
    "a branch": [
        node("ReduceMax", ["x"], ["most"], keepdims=0),
        node("Greater", ["most", "none"], ["some"]),
        node(
            "If",
            ["some"],
            ["m"],
            then_branch=branch([node("ReduceMean", ["x"], ["z"], axes=[0])]),
            else_branch=branch([node("Identity", ["x"], ["z"])]),
        ),
    ],
    "a recurrent layer": [
        node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3]),
        node("Reshape", ["mean", "to_sequence"], ["s"]),
        node("RNN", ["s", "weight", "weight"], ["states"], hidden_size=1),
        node("Reshape", ["states", "to_column"], ["m"]),
    ],
}


def constants() -> list[onnx.TensorProto]:
    real = {"bright": BRIGHT, "level": 0.5, "none": 0.0, "weight": [[[0.5]]]}
    return [
        *(stored(name, np.array(value)) for name, value in CONSTANTS.items()),
        *(stored(name, np.array(value, np.float32)) for name, value in real.items()),
    ]


def stored(name: str, value: Array) -> onnx.TensorProto:
    tensor: onnx.TensorProto = numpy_helper.from_array(value, name)
    return tensor


def mixing(nodes: Nodes) -> bytes:
    """A network that gives the image itself, or where it is bright, what `nodes` make as `m`."""
    chosen = [
        node("ReduceMean", ["x"], ["brightness"], axes=[1, 2, 3]),
        node("Greater", ["brightness", "bright"], ["is_bright"]),
        node("Where", ["is_bright", "m", "x"], ["either"]),
        node("Sub", ["either", "level"], ["y"]),
    ]
    return network([*nodes, *chosen], constants())


def images() -> list[NDArray[np.uint8]]:
    """Eleven, of which the sixth alone is bright: none that is tried before the sweep."""
    rng = np.random.default_rng(5)
    made = [rng.integers(0, 200, (SIZE, SIZE)).astype(np.uint8) for _ in range(11)]
    made[5] = rng.integers(190, 256, (SIZE, SIZE)).astype(np.uint8)
    return made


@pytest.mark.parametrize("name", MIXES)
def test_no_network_that_looks_at_its_company_has_a_mask_from_it(tmp_path: Path, name: str) -> None:
    model = mixing(MIXES[name])
    wanted: dict[str, bytes] = {}
    for size in (1, 4, 11):
        made = stage(tmp_path / str(size), images(), model)
        made.infer(batch_size=size)
        found = {path.name: path.read_bytes() for path in made.out.glob("*.bits")}
        wanted = wanted or found
        assert found == wanted
    spec = made.submission.input
    with closing(open_model(made.folder / "0.onnx", InferSettings())) as opened:
        seen = np.stack([to_input(image, spec) for image in images()])
        alone, company = opened.run(seen[5:6])[0], opened.run(seen)[5]
    assert not np.allclose(alone, company)  # or the network were no attack


@pytest.mark.parametrize(
    "make",
    [
        honest.tiny,
        honest.functional,
        honest.halved_by_hand,
        partial(honest.exported, 18, newer=True),
        partial(honest.exported, 23, newer=True),
    ],
    ids=["hand-made", "function", "fp16", "torch-export-18", "torch-export-23"],
)
def test_no_network_that_keeps_its_images_apart_loses_its_batch(tmp_path: Path, make: Any) -> None:
    onnx.save(make(), tmp_path / "model.onnx")
    assert is_separable(
        tmp_path / "model.onnx",
        InputSpec(height=honest.SIZE, width=honest.SIZE, resize="letterbox"),
    )


# --- the proof against a runtime -----------------------------------------------------------------

SIDE, CHANNELS = 16, 3
TARGETS = [
    [0, -1], [-1, 16], [0, 3, -1], [-1, 3, 256], [1, -1, 16, 16], [3, -1], [16, -1, 3], [0, 0, -1],
    [-1, 1, 3, 16, 16], [2, -1, 4, 4], [-1, 48, 16], [-1, 0, 16], [-1], [4, -1, 4], [1, -1],
    [-1, 3, 4, 4, 16], [0, 16, 16, 3], [16, 0, -1], [768, -1], [-1, 768], [0, 4, -1, 16],
]  # fmt: skip


class Grown:
    """A network that grows by operators that run on one image."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.nodes: Nodes = []
        self.constants: list[onnx.TensorProto] = []
        self.shapes: dict[str, tuple[int, ...]] = {"x": (1, CHANNELS, SIDE, SIDE)}

    @property
    def last(self) -> str:
        return next(reversed(self.shapes))

    def bytes_of(self, nodes: Nodes, constants: Sequence[onnx.TensorProto], result: str) -> bytes:
        needed, wanted = [], {result}
        for each in reversed(nodes):
            if wanted & {*each.output}:
                needed.append(each)
                wanted |= {*each.input}
        ends = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, SIDE, SIDE]),
            helper.make_tensor_value_info(result, TensorProto.FLOAT, None),
        ]
        graph = helper.make_graph(needed[::-1], "net", ends[:1], ends[1:], constants)
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return bytes(model.SerializeToString())

    def grow(self) -> None:
        """Try one more operator; it stays if it runs on an image alone."""
        source, number = self.last, len(self.shapes)
        shape, name = self.shapes[source], f"t{number}"
        operator, given, attributes = self.rng.choice(OPERATORS)(self.rng, shape)
        names, constants = [], []
        for place, value in enumerate(given):
            other = value if isinstance(value, str) else f"c{number}_{place}"
            names.append(self.rng.choice([*self.shapes]) if other == "another" else other)
            constants += [] if isinstance(value, str) else [stored(other, value)]
        first = node(operator, [source, *names], [name], **attributes)
        nodes, constants = [*self.nodes, first], [*self.constants, *constants]
        try:
            made = run(self.bytes_of(nodes, constants, name), PIXELS[:1])[0]
        except Exception:  # noqa: BLE001  most operators do not fit most shapes
            return
        if made.size and made.ndim:
            self.nodes, self.constants = nodes, constants
            self.shapes[name] = made.shape


Made = tuple[str, list[Any], dict[str, Any]]  # operator, further inputs, attributes


def along(operator: str, name: str = "axis", **more: Any) -> Callable[[Random, Any], Made]:
    """An operator with one axis, anywhere."""

    def make(rng: Random, shape: tuple[int, ...]) -> Made:
        axis = rng.randrange(-len(shape), len(shape))
        return operator, [], {name: [axis] if name == "axes" else axis} | more

    return make


def fixed(operator: str, *given: Any, **attributes: Any) -> Callable[[Random, Any], Made]:
    return lambda rng, shape: (operator, list(given), attributes)


def whole(*values: int) -> Array:
    return np.array(values, np.int64)


def real(rng: Random, *shape: int) -> Array:
    return np.random.default_rng(rng.randrange(99)).normal(0, 1, shape).astype(np.float32)


def broadcast(rng: Random, shape: tuple[int, ...]) -> Made:
    sides = [rng.choice([1, side]) for side in shape][rng.randrange(len(shape)) :]
    return rng.choice(["Add", "Mul", "Min"]), [real(rng, *sides)], {}


def padded(rng: Random, shape: tuple[int, ...]) -> Made:
    return "Pad", [whole(*(rng.choice([0, 0, 0, 1]) for _ in range(2 * len(shape))))], {}


def scaled(rng: Random, shape: tuple[int, ...]) -> Made:
    scales = np.array([rng.choice([1, 1, 2]) for _ in shape], np.float32)
    return "Resize", ["", scales], {"mode": "nearest"}


OPERATORS: list[Callable[[Random, Any], Made]] = [
    fixed("Relu"),
    fixed("Transpose"),
    fixed("GlobalAveragePool"),
    fixed("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    fixed("DepthToSpace", blocksize=2),
    fixed("SpaceToDepth", blocksize=2),
    fixed("ReduceSum", keepdims=0),
    *(fixed(name, "another") for name in ("Add", "Mul", "MatMul", "Max")),
    *(along(name) for name in ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "Flatten")),
    *(along("ReduceMean", "axes", keepdims=keep) for keep in (0, 1)),
    along("ReduceMax", "axes", keepdims=1),
    lambda rng, shape: ("Transpose", [], {"perm": rng.sample(range(len(shape)), len(shape))}),
    *[lambda rng, shape: ("Reshape", [whole(*rng.choice(TARGETS))], {})] * 4,
    lambda rng, shape: ("Reshape", [whole(*rng.choice(TARGETS))], {"allowzero": 1}),
    lambda rng, shape: ("Concat", ["another"], {"axis": rng.randrange(len(shape))}),
    lambda rng, shape: (
        "Gather",
        [np.array(rng.choice([0, [0], [0, 0], [[0, 0]]]))],
        {"axis": rng.randrange(len(shape))},
    ),
    lambda rng, shape: (
        "Slice",
        [whole(0), whole(rng.choice([1, 1 << 40])), whole(rng.randrange(len(shape)))],
        {},
    ),
    lambda rng, shape: ("Unsqueeze", [whole(rng.randrange(len(shape) + 1))], {}),
    lambda rng, shape: ("Squeeze", [whole(rng.randrange(len(shape)))], {}),
    fixed("Squeeze"),
    lambda rng, shape: ("MatMul", [real(rng, shape[-1], 4)], {}),
    lambda rng, shape: ("Conv", [real(rng, 2, shape[1 % len(shape)], 1, 1)], {}),
    lambda rng, shape: (
        "InstanceNormalization",
        [real(rng, shape[1 % len(shape)]), real(rng, shape[1 % len(shape)])],
        {},
    ),
    lambda rng, shape: ("LayerNormalization", [real(rng, *shape[-1:])], {"axis": -1}),
    *(broadcast, broadcast, padded, scaled),
]


def run(model: bytes, images: Array) -> list[Array]:
    """What a model gives for `images` together."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": images}))


PIXELS = np.random.default_rng(1).normal(0, 1, (3, CHANNELS, SIDE, SIDE)).astype(np.float32)
SPEC = InputSpec(height=SIDE, width=SIDE, resize="letterbox", channels="rgb")


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_proven_that_a_runtime_refutes(seed: int) -> None:
    grown = Grown(Random(seed))
    for _ in range(25):
        grown.grow()
    states = follow(
        onnx.load_from_string(grown.bytes_of(grown.nodes, grown.constants, grown.last)), SPEC
    )
    proven = {name: state for name in grown.shapes if (state := states.get(name)) is not None}
    assert isinstance(proven.pop("x"), Batched)
    for name, state in proven.items():
        model = grown.bytes_of(grown.nodes, grown.constants, name)
        together, alone = run(model, PIXELS)[0], [run(model, image[None])[0] for image in PIXELS]
        assert isinstance(state, Batched)
        expected = np.concatenate(alone, state.axis)
        assert together.shape == expected.shape
        assert np.allclose(together, expected, rtol=1e-4, atol=1e-4)

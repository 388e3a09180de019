"""Models that the gate must refuse or contain, each with the codes it may be given.

Every builder writes what it needs into the submission's folder and returns the model file's bytes,
or None where it made the file itself. Nothing here is dangerous to build: the bombs are small.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.support.corpus.honest import IR, OPSET, SIZE, constant, model_of, tiny, value, weights
from tests.support.corpus.wire import varint

Built = bytes | None
IMPORTS = [helper.make_opsetid("", OPSET), helper.make_opsetid("evil", 1)]


class Hostile(NamedTuple):
    """A hostile model: how it is built, what may refuse it, and what its submission declares."""

    name: str
    codes: frozenset[str]
    build: Callable[[Path], Built]
    declared: dict[str, Any]


HOSTILE: list[Hostile] = []


def hostile(
    *codes: str, **declared: Any
) -> Callable[[Callable[[Path], Built | ModelProto]], Callable[[Path], Built]]:
    """Put a builder on the list."""

    def register(build: Callable[[Path], Built | ModelProto]) -> Callable[[Path], Built]:
        def bytes_of(folder: Path) -> Built:
            made = build(folder)
            return made.SerializeToString() if isinstance(made, ModelProto) else made

        HOSTILE.append(Hostile(build.__name__, frozenset(codes), bytes_of, declared))
        return bytes_of

    return register


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node named after its output; inputs and outputs are words."""
    name = attributes.pop("name", f"make_{outputs.replace(' ', '_')}")
    return helper.make_node(operator, inputs.split(), outputs.split(), name, **attributes)


def relu() -> onnx.NodeProto:
    """What makes a graph of tricks look like a network from `x` to `y`."""
    return node("Relu", "x", "y")


# --- external data ---------------------------------------------------------------------------


def outside(location: str, name: str = "w") -> onnx.TensorProto:
    """A (1, 1, SIZE, SIZE) tensor whose values lie at `location`."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1, 1, SIZE, SIZE])
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in (("location", location), ("offset", "0"), ("length", str(4 * SIZE * SIZE))):
        tensor.external_data.add(key=key, value=text)
    return tensor


def _secret(folder: Path) -> Path:
    path = folder / "secret.bin"
    path.write_bytes(np.ones((SIZE, SIZE), np.float32).tobytes())
    return path


def _adds(tensor: onnx.TensorProto) -> ModelProto:
    return model_of([node("Add", "x w", "y")], [tensor])


@hostile("G-EXTERNAL-DATA")
def external_hardlink(folder: Path) -> ModelProto:
    os.link(_secret(folder), folder / "weights.bin")
    return _adds(outside("weights.bin"))


@hostile("G-EXTERNAL-DATA")
def external_symlink(folder: Path) -> ModelProto:
    (folder / "weights.bin").symlink_to(_secret(folder))
    return _adds(outside("weights.bin"))


@hostile("G-EXTERNAL-DATA")
def external_relative(folder: Path) -> ModelProto:
    return _adds(outside("../labels/secret.bin"))


@hostile("G-EXTERNAL-DATA")
def external_absolute(folder: Path) -> ModelProto:
    return _adds(outside("/etc/passwd"))


@hostile("G-EXTERNAL-DATA")
def external_without_its_flag(folder: Path) -> ModelProto:
    tensor = outside(_secret(folder).name)
    tensor.data_location = TensorProto.DEFAULT
    return _adds(tensor)


@hostile("G-EXTERNAL-DATA")
def external_in_constant(folder: Path) -> ModelProto:
    return model_of([node("Constant", "", "w", value=outside("w.bin")), node("Add", "x w", "y")])


def _if(then: onnx.GraphProto) -> ModelProto:
    other = helper.make_graph([node("Identity", "x", "z")], "else", [], [value("z")])
    nodes = [node("If", "yes", "y", then_branch=then, else_branch=other)]
    return model_of(nodes, [constant("yes", True, bool)])


@hostile("G-EXTERNAL-DATA")
def external_in_subgraph(folder: Path) -> ModelProto:
    body = [node("Add", "x w", "z")]
    return _if(helper.make_graph(body, "then", [], [value("z")], [outside("w.bin")]))


def with_function(body: list[onnx.NodeProto], **changes: Any) -> ModelProto:
    """A model whose one node calls a function `evil::Trick` from `a` to `b`."""
    function = helper.make_function("evil", "Trick", ["a"], ["b"], body, IMPORTS, **changes)
    call = helper.make_node("Trick", ["x"], ["y"], "call", domain="evil")
    return model_of([call], opset_imports=IMPORTS, functions=[function])


@hostile("G-EXTERNAL-DATA")
def external_in_function(folder: Path) -> ModelProto:
    return with_function(
        [node("Constant", "", "w", value=outside("w.bin")), node("Add", "a w", "b")]
    )


@hostile("G-EXTERNAL-DATA")
def external_in_subgraph_of_function(folder: Path) -> ModelProto:
    then = helper.make_graph(
        [node("Add", "a w", "z")], "then", [], [value("z")], [outside("w.bin")]
    )
    other = helper.make_graph([node("Identity", "a", "z")], "else", [], [value("z")])
    yes = node("Constant", "", "yes", value=constant("", True, bool))
    return with_function([yes, node("If", "yes", "b", then_branch=then, else_branch=other)])


@hostile("G-EXTERNAL-DATA")
def external_in_attribute_default(folder: Path) -> ModelProto:
    default = helper.make_attribute("table", outside("w.bin"))
    body = [node("Constant", "", "w"), node("Add", "a w", "b")]
    body[0].attribute.add(name="value", ref_attr_name="table", type=default.type)
    return with_function(body, attribute_protos=[default])


@hostile("G-EXTERNAL-DATA")
def external_in_sparse(folder: Path) -> ModelProto:
    model = _adds(weights("unused", 1))
    values = outside("w.bin")
    values.dims[:] = [4]
    indices = constant("i", [0, 1, 2, 3])
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, indices, [1, 1, SIZE, SIZE])
    )
    return model


@hostile("G-SPARSE")
def sparse_bomb(folder: Path) -> ModelProto:
    model = _adds(weights("unused", 1))
    values = weights("w", 1)
    sparse = helper.make_sparse_tensor(values, constant("i", [0]), [1 << 14, 1 << 14, 1, 1])
    model.graph.sparse_initializer.append(sparse)
    return model


# --- operators and domains -------------------------------------------------------------------


@hostile("G-DOMAIN")
def foreign_domain(folder: Path) -> ModelProto:
    call = helper.make_node("Backdoor", ["x"], ["y"], "call", domain="evil")
    return model_of([call], opset_imports=IMPORTS)


@hostile("G-DOMAIN")
def foreign_domain_in_subgraph(folder: Path) -> ModelProto:
    call = helper.make_node("Backdoor", ["x"], ["z"], "call", domain="evil")
    model = _if(helper.make_graph([call], "then", [], [value("z")]))
    model.opset_import.append(IMPORTS[1])
    return model


@hostile("G-OPERATOR")
def foreign_microsoft_operator(folder: Path) -> ModelProto:
    call = helper.make_node("Inverse", ["x"], ["y"], "call", domain="com.microsoft")
    imports = [IMPORTS[0], helper.make_opsetid("com.microsoft", 1)]
    return model_of([call], opset_imports=imports)


@hostile("G-FUNCTION")
def function_that_replaces_relu(folder: Path) -> ModelProto:
    function = helper.make_function("", "Relu", ["a"], ["b"], [node("Neg", "a", "b")], IMPORTS)
    return model_of([relu()], opset_imports=IMPORTS, functions=[function])


@hostile("G-DUPLICATE-NAME")
def function_defined_twice(folder: Path) -> ModelProto:
    model = with_function([node("Relu", "a", "b")])
    model.functions.add().CopyFrom(model.functions[0])
    return model


@hostile("G-RANDOM")
def random_normal(folder: Path) -> ModelProto:
    noise = node("RandomNormal", "", "noise", shape=[1, 1, SIZE, SIZE])
    return model_of([noise, node("Add", "x noise", "y")])


@hostile("G-RANDOM")
def random_normal_like(folder: Path) -> ModelProto:
    return model_of([node("RandomNormalLike", "x", "noise"), node("Add", "x noise", "y")])


@hostile("G-RANDOM")
def random_uniform_in_subgraph(folder: Path) -> ModelProto:
    body = [node("RandomUniformLike", "x", "z")]
    return _if(helper.make_graph(body, "then", [], [value("z")]))


@hostile("G-RANDOM")
def random_in_function(folder: Path) -> ModelProto:
    return with_function([node("Bernoulli", "a", "b")])


@hostile("G-RANDOM")
def multinomial(folder: Path) -> ModelProto:
    nodes = [
        node("Flatten", "x", "flat"),
        node("Multinomial", "flat", "drawn", sample_size=SIZE * SIZE),
        node("Cast", "drawn", "cast", to=TensorProto.FLOAT),
        node("Reshape", "cast shape", "y"),
    ]
    return model_of(nodes, [constant("shape", [-1, 1, SIZE, SIZE])])


@hostile("G-TRAINING-MODE")
def dropout_in_training(folder: Path) -> ModelProto:
    stored = [constant("half", 0.5, np.float32), constant("yes", True, bool)]
    return model_of([node("Dropout", "x half yes", "y")], stored)


@hostile("G-TRAINING-MODE")
def dropout_controlled_by_data(folder: Path) -> ModelProto:
    nodes = [
        node("ReduceMax", "x", "top", keepdims=0),
        node("Cast", "top", "train", to=TensorProto.BOOL),
        node("Dropout", "x half train", "y"),
    ]
    return model_of(nodes, [constant("half", 0.5, np.float32)])


@hostile("G-TRAINING-MODE")
def batch_norm_in_training(folder: Path) -> ModelProto:
    stored = [constant(name, [1], np.float32) for name in "sbmv"]
    norm = node("BatchNormalization", "x s b m v", "y", training_mode=1)
    return model_of([norm], stored)


@hostile("G-OPERATOR")
def text_operator(folder: Path) -> ModelProto:
    nodes = [node("StringNormalizer", "t", "u"), relu()]
    return model_of(nodes, [constant("n", 1)])


@hostile("G-OPERATOR")
def sequence_operator(folder: Path) -> ModelProto:
    nodes = [node("SequenceConstruct", "x x", "s"), node("SequenceAt", "s zero", "y")]
    return model_of(nodes, [constant("zero", 0)])


@hostile("G-OPERATOR")
def operator_from_the_future(folder: Path) -> ModelProto:
    return model_of([node("Gelu", "x", "y")])  # opset 20, imported is 17


@hostile("G-OPERATOR")
def operator_withdrawn(folder: Path) -> ModelProto:
    return model_of([node("Upsample", "x s", "y")], [constant("s", [1, 1, 1, 1], np.float32)])


# --- loops and bombs -------------------------------------------------------------------------


def _loop_body() -> onnx.GraphProto:
    step = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    go, on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "on"))
    nodes = [node("Identity", "go", "on"), node("Relu", "c", "d")]
    return helper.make_graph(nodes, "body", [step, go, value("c")], [on, value("d")])


@hostile("G-LOOP")
def endless_loop(folder: Path) -> ModelProto:
    loop = helper.make_node("Loop", ["", "yes", "x"], ["y"], "loop", body=_loop_body())
    return model_of([loop], [constant("yes", True, bool)])


@hostile("G-LOOP")
def endless_loop_in_function(folder: Path) -> ModelProto:
    yes = node("Constant", "", "yes", value=constant("", True, bool))
    loop = helper.make_node("Loop", ["", "yes", "a"], ["b"], "loop", body=_loop_body())
    return with_function([yes, loop])


@hostile("G-LOOP")
def scan(folder: Path) -> ModelProto:
    body = helper.make_graph([node("Relu", "c", "d")], "body", [value("c")], [value("d")])
    return model_of([node("Scan", "x", "y", body=body, num_scan_inputs=1)])


def matmul_chain(side: int, length: int, shape: str = "shape") -> list[onnx.NodeProto]:
    """Squares a large constant matrix again and again: work that is folded while loading."""
    chain = [node("ConstantOfShape", shape, "m0")]
    chain += [node("MatMul", f"m{i} m{i}", f"m{i + 1}") for i in range(length)]
    return [*chain, node("ReduceMax", f"m{length}", "top", keepdims=0), node("Add", "x top", "y")]


@hostile("G-COST", "G-TIME")
def constant_folding_bomb(folder: Path) -> ModelProto:
    return model_of(matmul_chain(8192, 24), [constant("shape", [8192, 8192])])


def _number_from_data(number: int) -> list[onnx.NodeProto]:
    """Makes `n` = [number], which nothing can know before the data are there."""
    return [
        node("ReduceMax", "x", "max", keepdims=0),
        node("Mul", "max nought", "none"),
        node("Cast", "none", "zero", to=TensorProto.INT64),
        node("Add", "zero number", "n"),
    ]


def _number_constants(number: int) -> list[onnx.TensorProto]:
    return [constant("nought", 0, np.float32), constant("number", [number])]


@hostile("G-TIME")
def work_bomb_controlled_by_data(folder: Path) -> ModelProto:
    square = node("Concat", "n n", "shape", axis=0)
    nodes = [*_number_from_data(6000), square, *matmul_chain(6000, 200)]
    return model_of(nodes, _number_constants(6000))


@hostile("G-CONSTANT-SIZE")
def memory_bomb(folder: Path) -> ModelProto:
    nodes = [
        node("ConstantOfShape", "shape", "big"),
        node("ReduceMax", "big", "top", keepdims=0),
        node("Add", "x top", "y"),
    ]
    return model_of(nodes, [constant("shape", [1500, 1000, 1000])])


@hostile("G-MEMORY")
def memory_bomb_controlled_by_data(folder: Path) -> ModelProto:
    nodes = [
        *_number_from_data(3_000_000_000),
        node("Expand", "one n", "big"),
        node("ReduceMax", "big", "top", keepdims=0),
        node("Add", "x top", "y"),
    ]
    one = constant("one", [1], np.float32)
    return model_of(nodes, [*_number_constants(3_000_000_000), one])


@hostile("G-COST", "G-MEMORY")
def memory_bomb_of_many_steps(folder: Path) -> ModelProto:
    """Each step doubles both sides: no single number in the file is large."""
    steps = [node("Resize", f"r{i} none s", f"r{i + 1}") for i in range(9)]
    steps[0].input[0] = "x"
    nodes = [*steps, node("ReduceMax", "r9", "top", keepdims=0), node("Add", "x top", "y")]
    none, scale = constant("none", [], np.float32), constant("s", [1, 1, 4, 4], np.float32)
    return model_of(nodes, [none, scale])


@hostile("G-CONSTANT-SIZE")
def range_bomb(folder: Path) -> ModelProto:
    nodes = [
        node("Range", "a b c", "big"),
        node("ReduceMax", "big", "top", keepdims=0),
        node("Add", "x top", "y"),
    ]
    stored = [constant(n, v, np.float32) for n, v in (("a", 0), ("b", 1), ("c", 1e-12))]
    return model_of(nodes, stored)


@hostile("G-CONSTANT-SIZE")
def tile_bomb(folder: Path) -> ModelProto:
    nodes = [
        node("Tile", "x times", "big"),
        node("ReduceMax", "big", "top", keepdims=0),
        node("Add", "x top", "y"),
    ]
    return model_of(nodes, [constant("times", [1, 1 << 20, 1 << 10, 1])])


@hostile("G-NODES")
def nested_functions_that_explode(folder: Path) -> ModelProto:
    """30 functions, each calling the one before twice: 2 ** 30 nodes in two kilobytes."""
    functions = [
        helper.make_function("evil", "F0", ["a"], ["b"], [node("Relu", "a", "b")], IMPORTS)
    ]
    for depth in range(1, 31):
        body = [
            helper.make_node(f"F{depth - 1}", [source], [target], domain="evil")
            for source, target in (("a", "m"), ("m", "b"))
        ]
        functions.append(helper.make_function("evil", f"F{depth}", ["a"], ["b"], body, IMPORTS))
    call = helper.make_node("F30", ["x"], ["y"], "call", domain="evil")
    return model_of([call], opset_imports=IMPORTS, functions=functions)


@hostile("G-FUNCTION")
def functions_that_call_each_other(folder: Path) -> ModelProto:
    functions = [
        helper.make_function(
            "evil", a, ["a"], ["b"], [helper.make_node(b, ["a"], ["b"], domain="evil")], IMPORTS
        )
        for a, b in (("Ping", "Pong"), ("Pong", "Ping"))
    ]
    call = helper.make_node("Ping", ["x"], ["y"], "call", domain="evil")
    return model_of([call], opset_imports=IMPORTS, functions=functions)


@hostile("G-FUNCTION")
def graph_handed_to_a_function(folder: Path) -> ModelProto:
    then = helper.make_graph([node("Relu", "x", "z")], "then", [], [value("z")])
    model = with_function([node("Relu", "a", "b")])
    model.graph.node[0].attribute.append(helper.make_attribute("body", then))
    return model


@hostile("G-NODES")
def chain_of_thirty_thousand(folder: Path) -> ModelProto:
    names = ["x", *(f"v{i}" for i in range(29_999)), "y"]
    return model_of([node("Relu", a, b) for a, b in pairwise(names)])


@hostile("G-NESTING")
def subgraphs_twenty_deep(folder: Path) -> ModelProto:
    graph = helper.make_graph([node("Relu", "x", "z")], "leaf", [], [value("z")])
    for _ in range(20):
        branch = node("If", "yes", "z", then_branch=graph)
        graph = helper.make_graph([branch], "level", [], [value("z")])
    return _if(graph)


@hostile("G-FIELDS")
def three_million_empty_nodes(folder: Path) -> bytes:
    """Six megabytes that a parser would turn into hundreds."""
    graph = b"\x0a\x00" * 3_000_000  # field 1 of GraphProto, a node, of length 0
    return tiny().SerializeToString() + b"\x3a" + varint(len(graph)) + graph


@hostile("G-SHAPE", "G-FIELDS")
def tensor_of_too_many_dimensions(folder: Path) -> ModelProto:
    model = tiny()
    model.graph.initializer[0].dims.extend([(1 << 62)] * 300_000)
    return model


# --- files -----------------------------------------------------------------------------------


@hostile("G-FORMAT")
def truncated(folder: Path) -> bytes:
    return tiny().SerializeToString()[:-40]


@hostile("G-FORMAT")
def no_protobuf(folder: Path) -> bytes:
    return b"\x7fELF" + bytes(range(256)) * 4


@hostile("G-FILE-SIZE")
def empty_file(folder: Path) -> bytes:
    return b""


@hostile("G-FORMAT")
def no_graph(folder: Path) -> bytes:
    return ModelProto(ir_version=IR).SerializeToString()


@hostile("G-ORT-FORMAT")
def ort_format(folder: Path) -> bytes:
    return b"\x18\x00\x00\x00ORTM" + bytes(64)


@hostile("G-UNKNOWN-FIELD")
def unknown_field(folder: Path) -> bytes:
    return tiny().SerializeToString() + b"\xd2\x3e\x03abc"  # field 1002


@hostile("G-REPEATED-FIELD")
def two_graphs(folder: Path) -> bytes:
    """A parser merges both; another might take the last."""
    return tiny().SerializeToString() + b"\x3a\x00"


@hostile("G-TEXT")
def name_that_is_no_text(folder: Path) -> bytes:
    """One parser hands on the bytes, another refuses the file."""
    return tiny().SerializeToString() + b"\x12\x01\xff"  # producer_name


@hostile("G-FILE")
def link_for_a_model(folder: Path) -> Built:
    (folder / "real.onnx").write_bytes(tiny().SerializeToString())
    (folder / "model.onnx").symlink_to("real.onnx")
    return None


@hostile("G-FILE")
def folder_for_a_model(folder: Path) -> Built:
    (folder / "model.onnx").mkdir()
    return None


@hostile("G-FILE")
def pipe_for_a_model(folder: Path) -> Built:
    os.mkfifo(folder / "model.onnx")
    return None


@hostile("G-FILE")
def no_model(folder: Path) -> Built:
    return None


@hostile("G-FILE-SIZE")
def file_of_a_terabyte(folder: Path) -> Built:
    with (folder / "model.onnx").open("wb") as handle:
        handle.truncate(1 << 40)  # a hole: it takes no disk
    return None


# --- versions --------------------------------------------------------------------------------


@hostile("G-OPSET")
def opset_too_new(folder: Path) -> ModelProto:
    return tiny(99)


@hostile("G-OPSET")
def opset_too_old(folder: Path) -> ModelProto:
    return tiny(7)


@hostile("G-OPSET")
def opset_not_as_declared(folder: Path) -> ModelProto:
    return tiny(18)


@hostile("G-DUPLICATE-NAME")
def opset_imported_twice(folder: Path) -> ModelProto:
    model = tiny()
    model.opset_import.append(helper.make_opsetid("ai.onnx", 18))
    return model


@hostile("G-IR")
def ir_too_new(folder: Path) -> ModelProto:
    model = tiny()
    model.ir_version = 14
    return model


@hostile("G-TRAINING-INFO")
def training_graph(folder: Path) -> ModelProto:
    model = tiny()
    model.training_info.add().algorithm.node.append(node("RandomNormalLike", "x", "z"))
    return model


# --- tensors ---------------------------------------------------------------------------------


def _broken_weight(change: Callable[[TensorProto], object]) -> ModelProto:
    model = tiny()
    change(model.graph.initializer[0])
    return model


def _filled(number: float) -> ModelProto:
    def fill(tensor: TensorProto) -> None:
        values = numpy_helper.to_array(tensor).copy()
        values[0, 0, 1, 1] = number
        tensor.raw_data = values.tobytes()

    return _broken_weight(fill)


@hostile("G-NON-FINITE")
def infinite_weight(folder: Path) -> ModelProto:
    return _filled(np.inf)


@hostile("G-NON-FINITE")
def nan_weight(folder: Path) -> ModelProto:
    return _filled(np.nan)


@hostile("G-NON-FINITE")
def infinite_half_weight(folder: Path) -> ModelProto:
    half = numpy_helper.from_array(np.array([1, np.inf], np.float16), "half")
    nodes = [node("Cast", "half", "h", to=1), node("ReduceMax", "h", "t", keepdims=0)]
    return model_of([*nodes, node("Add", "x t", "y")], [half])


@hostile("G-NON-FINITE")
def nan_attribute(folder: Path) -> ModelProto:
    return model_of([node("LeakyRelu", "x", "y", alpha=float("nan"))])


@hostile("G-STORAGE")
def weight_too_short(folder: Path) -> ModelProto:
    return _broken_weight(lambda tensor: setattr(tensor, "raw_data", tensor.raw_data[:-4]))


@hostile("G-STORAGE")
def weight_held_twice(folder: Path) -> ModelProto:
    return _broken_weight(lambda tensor: tensor.float_data.extend([0.0] * 72))


@hostile("G-SHAPE")
def negative_size(folder: Path) -> ModelProto:
    return _broken_weight(lambda tensor: tensor.dims.__setitem__(0, -8))


@hostile("G-SHAPE")
def absurd_size(folder: Path) -> ModelProto:
    return _broken_weight(lambda tensor: tensor.dims.__setitem__(0, 1 << 62))


@hostile("G-TYPE")
def text_tensor(folder: Path) -> ModelProto:
    model = tiny()
    model.graph.initializer.append(numpy_helper.from_array(np.array([b"key"], object), "t"))
    return model


@hostile("G-TYPE")
def cast_to_text(folder: Path) -> ModelProto:
    nodes = [
        node("Cast", "x", "text", to=TensorProto.STRING),
        node("Cast", "text", "y", to=TensorProto.FLOAT),
    ]
    return model_of(nodes)


@hostile("G-TYPE")
def optional_value(folder: Path) -> ModelProto:
    model = tiny()
    held = helper.make_optional_type_proto(helper.make_tensor_type_proto(1, [1]))
    model.graph.value_info.append(helper.make_value_info("maybe", held))
    return model


@hostile("G-DUPLICATE-NAME")
def weight_named_twice(folder: Path) -> ModelProto:
    model = tiny()
    model.graph.initializer.append(weights("w1", 8, 1, 3, 3))
    return model


@hostile("G-DUPLICATE-NAME")
def value_made_twice(folder: Path) -> ModelProto:
    return model_of([relu(), node("Neg", "x", "y", name="again")])


# --- input and output ------------------------------------------------------------------------


@hostile("G-INPUTS")
def whole_numbers_in(folder: Path) -> ModelProto:
    inputs = [value("x", kind=TensorProto.UINT8)]
    return model_of([node("Cast", "x", "y", to=TensorProto.FLOAT)], inputs=inputs)


@hostile("G-INPUTS")
def two_inputs(folder: Path) -> ModelProto:
    return model_of([node("Add", "x mask", "y")], inputs=[value("x"), value("mask")])


@hostile("G-INPUTS")
def no_input(folder: Path) -> ModelProto:
    stored = weights("x", 1, 1, SIZE, SIZE)
    return model_of([relu()], [stored], outputs=[value("y", [1, 1, SIZE, SIZE])])


@hostile("G-OUTPUTS")
def two_outputs(folder: Path) -> ModelProto:
    return model_of([relu(), node("Neg", "x", "z")], outputs=[value("y"), value("z")])


@hostile("G-OUTPUTS")
def whole_numbers_out(folder: Path) -> ModelProto:
    outputs = [value("y", kind=TensorProto.INT64)]
    return model_of([node("Cast", "x", "y", to=TensorProto.INT64)], outputs=outputs)


@hostile("G-INPUT-SHAPE")
def three_dimensions_in(folder: Path) -> ModelProto:
    inputs = [value("x", ["n", SIZE, SIZE])]
    return model_of([node("Unsqueeze", "x one", "y")], [constant("one", [1])], inputs=inputs)


@hostile("G-INPUT-SHAPE")
def colour_for_grey(folder: Path) -> ModelProto:
    shape = ["n", 3, SIZE, SIZE]
    return model_of([node("ReduceMax", "x", "y", axes=[1])], inputs=[value("x", shape)])


@hostile("G-INPUT-SHAPE")
def other_size_than_declared(folder: Path) -> ModelProto:
    shape = ["n", 1, 2 * SIZE, 2 * SIZE]
    return model_of([relu()], inputs=[value("x", shape)], outputs=[value("y", ["n", 1, "h", "w"])])


@hostile("G-OUTPUT-SHAPE")
def two_maps(folder: Path) -> ModelProto:
    outputs = [value("y", ["n", 2, SIZE, SIZE])]
    return model_of([node("Concat", "x x", "y", axis=1)], outputs=outputs)


# --- what only shows when the model runs -----------------------------------------------------

FREE = ["n", "c", "h", "w"]


@hostile("G-RESULT-SHAPE")
def two_maps_declared_free(folder: Path) -> ModelProto:
    return model_of([node("Concat", "x x", "y", axis=1)], outputs=[value("y", FREE)])


@hostile("G-RESULT-SHAPE")
def half_the_size_declared_free(folder: Path) -> ModelProto:
    pool = node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[2, 2])
    return model_of([pool], outputs=[value("y", FREE)])


@hostile("G-RESULT-SHAPE", "G-RUN")
def batch_axis_that_lies(folder: Path) -> ModelProto:
    """Declares any batch, keeps the first image of it."""
    stored = [constant("from", [0]), constant("to", [1])]
    return model_of([node("Slice", "x from to from", "y")], stored)


@hostile("G-RUN")
def batch_of_one_baked_in(folder: Path) -> ModelProto:
    return model_of([node("Reshape", "x s", "y")], [constant("s", [1, 1, SIZE, SIZE])])


@hostile("G-BATCH")
def images_that_see_each_other(folder: Path) -> ModelProto:
    nodes = [node("ReduceMean", "x", "mean", axes=[0]), node("Sub", "mean x", "d")]
    return model_of([*nodes, node("Add", "d mean", "y")])


@hostile("G-RESULT-NON-FINITE")
def nan_for_every_image(folder: Path) -> ModelProto:
    stored = [constant("two", 2, np.float32)]
    return model_of([node("Sub", "x two", "z"), node("Log", "z", "y")], stored)


@hostile("G-RESULT-NON-FINITE")
def infinite_for_a_black_image(folder: Path) -> ModelProto:
    nodes = [node("ReduceSum", "x axes", "sum"), node("Div", "x sum", "y")]
    return model_of(nodes, [constant("axes", [1, 2, 3])])


@hostile("G-RESULT-RANGE", kind="probabilities")
def logits_for_probabilities(folder: Path) -> ModelProto:
    nodes = [node("Mul", "x ten", "y")]
    return model_of(nodes, [constant("ten", 10, np.float32)])


@hostile("G-RESULT-RANGE", kind="mask")
def probabilities_for_a_mask(folder: Path) -> ModelProto:
    return model_of([node("Sigmoid", "x", "y")])


@hostile("G-RESULT-RANGE", kind="softmax")
def softmax_that_is_taken_already(folder: Path) -> ModelProto:
    nodes = [node("Concat", "x x", "c", axis=1), node("Softmax", "c", "y", axis=1)]
    return model_of(nodes, outputs=[value("y", ["n", 2, SIZE, SIZE])])


@hostile("G-OUTPUT-SHAPE", kind="softmax")
def one_map_for_a_softmax(folder: Path) -> ModelProto:
    return model_of([relu()])


@hostile("G-LOAD")
def value_from_nowhere(folder: Path) -> ModelProto:
    return model_of([node("Add", "x nothing", "y")])


@hostile("G-LOAD")
def cycle(folder: Path) -> ModelProto:
    return model_of([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Neg", "b", "y")])


@hostile("G-RUN", "G-LOAD")
def index_out_of_bounds(folder: Path) -> ModelProto:
    nodes = [*_number_from_data(1 << 40), node("Gather", "x n", "g", axis=3)]
    return model_of([*nodes, node("Add", "x g", "y")], _number_constants(1 << 40))


@hostile("G-LOAD", "G-CRASH", "G-RUN")
def convolution_in_no_groups(folder: Path) -> ModelProto:
    return model_of([node("Conv", "x w", "y", group=0)], [weights("w", 1, 1, 1, 1)])

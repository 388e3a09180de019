"""Parameters and multiply-accumulates: the same for the same work, whatever it is written in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

from evaluator.gate import GateLimits, inspect
from evaluator.gate.macs import cost, lighten
from evaluator.gate.operators import ALLOWED
from evaluator.gate.parameters import FREE, parameters
from evaluator.gate.rules import apply_rules
from evaluator.gate.subject import Subject
from evaluator.gate.survey import survey
from evaluator.gate.work import ELEMENTWISE, PRODUCTS, work_of
from evaluator.gate.work import FREE as WITHOUT
from tests.support.corpus.honest import (
    OPSET,
    SIZE,
    constant,
    exported,
    model_of,
    submission,
    value,
    weights,
)
from tests.support.corpus.hostile import node

SHAPE = (4, 1, 3, 3)
WEIGHT = np.random.default_rng(0).integers(0, 16, SHAPE).astype(np.float32)
HEAD = weights("head", 1, 4, 1, 1)
COUNT = WEIGHT.size + 4  # the head's


def counted(model: ModelProto) -> int:
    return parameters(survey(model))


def gmacs(model: ModelProto) -> float | None:
    return cost(lighten(model, SIZE, SIZE)).gmacs


def network(
    *carrier: onnx.NodeProto, stored: tuple[TensorProto, ...] = (), **changes: Any
) -> ModelProto:
    """A convolution whose weight `w` is made by `carrier`, and a head."""
    nodes = [*carrier, node("Conv", "x w", "h", pads=[1, 1, 1, 1]), node("Conv", "h head", "y")]
    return model_of(nodes, [*stored, HEAD], **changes)


def _shaped(source: str) -> list[onnx.NodeProto]:
    """`source`, a list of numbers of any type, as the weight."""
    return [
        node("Cast", source, "cast", to=TensorProto.FLOAT),
        node("Reshape", "cast shape", "w"),
    ]


SHAPED = constant("shape", SHAPE)
FLAT: NDArray[Any] = WEIGHT.ravel()
WHOLE = FLAT.astype(np.int64)


def _constant(**value_of: Any) -> ModelProto:
    return network(node("Constant", "", "flat", **value_of), *_shaped("flat"), stored=(SHAPED,))


def _stored_as(dtype: Any) -> ModelProto:
    return network(*_shaped("flat"), stored=(constant("flat", FLAT, dtype), SHAPED))


def _dequantised() -> ModelProto:
    read = node("DequantizeLinear", "q scale zero", "w")
    stored = (constant("q", WEIGHT, np.int8), constant("scale", 1, np.float32))
    return network(read, stored=(*stored, constant("zero", 0, np.int8)))


def _in_table() -> ModelProto:
    """The numbers 0 to 15, and where in them each weight is."""
    count = [node("Range", "from to one", "table"), node("Gather", "table places", "flat")]
    numbers = [constant(n, v, np.float32) for n, v in (("from", 0), ("to", 16), ("one", 1))]
    stored = (*numbers, constant("places", WHOLE), SHAPED)
    return network(*count, *_shaped("flat"), stored=stored)


def _as_bits() -> ModelProto:
    """Eight numbers in one, of a byte each."""
    data = np.pad(WHOLE, (0, -WHOLE.size % 8))
    packed = data.astype(np.uint8).view(np.uint64).reshape(-1, 1)
    nodes = [
        node("BitShift", "packed shift", "shifted", direction="RIGHT"),
        node("BitwiseAnd", "shifted mask", "bytes"),
        node("Reshape", "bytes flat", "numbers"),
        node("Slice", "numbers start end", "some"),
        *_shaped("some"),
    ]
    stored = (
        constant("packed", packed, np.uint64),
        constant("shift", np.arange(8) * 8, np.uint64),
        constant("mask", 255, np.uint64),
        constant("flat", [-1]),
        constant("start", [0]),
        constant("end", [WHOLE.size]),
        SHAPED,
    )
    return network(*nodes, stored=stored, opset=18)


def _by_division() -> ModelProto:
    data = WHOLE.reshape(-1, 4)
    packed = (data * 256 ** np.arange(4)).sum(1, keepdims=True)
    nodes = [
        node("Div", "packed steps", "shifted"),
        node("Mod", "shifted base", "bytes"),
        *_shaped("bytes"),
    ]
    stored = (
        constant("packed", packed, np.int32),
        constant("steps", 256 ** np.arange(4), np.int32),
    )
    return network(*nodes, stored=(*stored, constant("base", 256, np.int32), SHAPED))


def _one_by_one() -> ModelProto:
    names = [f"n{number}" for number in range(FLAT.size)]
    parts = tuple(constant(name, [one], np.float32) for name, one in zip(names, FLAT, strict=True))
    return network(
        node("Concat", " ".join(names), "flat", axis=0), *_shaped("flat"), stored=(*parts, SHAPED)
    )


def _in_branches() -> ModelProto:
    flat = constant("inner", FLAT, np.float32)
    info = helper.make_tensor_value_info("t", TensorProto.FLOAT, [FLAT.size])
    then = helper.make_graph([node("Identity", "inner", "t")], "then", [], [info], [flat])
    info = helper.make_tensor_value_info("e", TensorProto.FLOAT, None)
    other = helper.make_graph([node("Cast", "shape", "e", to=1)], "else", [], [info])
    branch = node("If", "yes", "flat", then_branch=then, else_branch=other)
    return network(branch, *_shaped("flat"), stored=(constant("yes", True, bool), SHAPED))


def _in_function(**given: Any) -> ModelProto:
    """The weight in a function's body, or handed to it as an attribute, by default or by a call."""
    made = node("Constant", "", "b")
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("net", 1)]
    changes: dict[str, Any] = {}
    call = helper.make_node("Weight", [], ["flat"], "call", domain="net")
    table = helper.make_attribute("table", [float(one) for one in FLAT])
    if given["by"] == "body":
        made = node("Constant", "", "b", value_floats=list(FLAT))
    else:
        made.attribute.add(name="value_floats", ref_attr_name="table", type=table.type)
    if given["by"] == "default":
        changes["attribute_protos"] = [table]
    elif given["by"] == "call":
        changes["attributes"] = ["table"]
        call.attribute.append(table)
    function = helper.make_function("net", "Weight", [], ["b"], [made], imports, **changes)
    return network(
        call, *_shaped("flat"), stored=(SHAPED,), opset_imports=imports, functions=[function]
    )


def _as_attribute_of_a_scaler() -> ModelProto:
    """Zeros that a scaler moves: its offsets are the weights."""
    nodes = [
        node("ConstantOfShape", "size", "zeros"),
        helper.make_node(
            "Scaler",
            ["zeros"],
            ["flat"],
            domain="ai.onnx.ml",
            offset=list(-FLAT),
            scale=[1.0] * FLAT.size,
        ),
        *_shaped("flat"),
    ]
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    stored = (constant("size", [1, FLAT.size]), SHAPED)
    return network(*nodes, stored=stored, opset_imports=imports)


def _as_statistics() -> ModelProto:
    """Zeros that a batch norm of no weights of its own moves by its mean."""
    nodes = [
        node("ConstantOfShape", "size", "zeros"),
        node("Expand", "one channels", "ones"),
        node("BatchNormalization", "zeros ones ones mean ones", "flat"),
        *_shaped("flat"),
    ]
    stored = (
        constant("size", [1, FLAT.size]),
        constant("one", [1], np.float32),
        constant("channels", [FLAT.size]),
        constant("mean", 1 - FLAT, np.float32),
        SHAPED,
    )
    return network(*nodes, stored=stored)


CARRIERS: dict[str, Callable[[], ModelProto]] = {
    "value": lambda: _constant(value=constant("", FLAT, np.float32)),
    "value_floats": lambda: _constant(value_floats=list(FLAT)),
    "value_ints": lambda: _constant(value_ints=list(WHOLE)),
    **{
        f"stored-{np.dtype(dtype).name}": lambda dtype=dtype: _stored_as(dtype)  # type: ignore[misc]
        for dtype in (np.float16, np.float64, np.int8, np.int16, np.int32, np.int64)
    },
    "dequantised": _dequantised,
    "table": _in_table,
    "bits": _as_bits,
    "division": _by_division,
    "one-by-one": _one_by_one,
    "branch": _in_branches,
    **{f"function-{by}": lambda by=by: _in_function(by=by) for by in ("body", "default", "call")},  # type: ignore[misc]
    "scaler": _as_attribute_of_a_scaler,
    "statistics": _as_statistics,
}
# What they store beside the weights: shifts, padding, steps, another branch, scales, a one.
BESIDE = {"bits": 8 + 4, "division": 4, "branch": 4, "scaler": 36, "statistics": 1}


def test_a_plain_weight_is_counted() -> None:
    plain = network(stored=(numpy_helper.from_array(WEIGHT, "w"),))
    assert counted(plain) == COUNT


def answer(model: ModelProto) -> NDArray[np.float32]:
    """What the network gives for a fixed image."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image = np.random.default_rng(1).random((1, 1, SIZE, SIZE), np.float32)
    found: NDArray[np.float32] = session.run(None, {"x": image})[0]
    return found


@pytest.mark.parametrize("carrier", CARRIERS)
def test_no_carrier_hides_parameters(carrier: str, tmp_path: Path) -> None:
    model = CARRIERS[carrier]()
    plain = network(stored=(numpy_helper.from_array(WEIGHT, "w"),))
    assert np.allclose(answer(model), answer(plain), rtol=1e-4)
    opset = next(item.version for item in model.opset_import if item.domain == "")
    declared = submission(tmp_path, model.SerializeToString(), opset=opset)
    seen = survey(model)
    assert apply_rules(Subject(seen, declared, GateLimits()), "model.onnx") == []
    assert COUNT <= parameters(seen) <= COUNT + BESIDE.get(carrier, 0)


SIZES = np.arange(1000, 1350).reshape(50, 7)  # weights, seven of them the sizes of one tensor


def _as_sizes(by: str) -> ModelProto:
    """The sum of the sizes of tensors that have no values, and so no bytes."""
    stored = [constant("none", [], np.float32)]
    nodes = []
    for k, sizes in enumerate(SIZES.tolist()):
        if by == "stored":
            stored.append(TensorProto(name=f"t{k}", data_type=1, dims=[0, *sizes]))
        else:
            stored.append(constant(f"c{k}", [0, *sizes]))
            made = {"Reshape": f"none c{k}", "ConstantOfShape": f"c{k}"}[by]
            allowed = {"allowzero": 1} if by == "Reshape" else {}
            nodes.append(node(by, made, f"t{k}", **allowed))
        nodes.append(node("Shape", f"t{k}", f"s{k}"))
    every = " ".join(f"s{k}" for k in range(len(SIZES)))
    nodes += [node("Concat", every, "all", axis=0), node("Cast", "all", "numbers", to=1)]
    nodes += [node("ReduceSum", "numbers", "sum", keepdims=0), node("Add", "x sum", "y")]
    return model_of(nodes, stored)


@pytest.mark.parametrize("by", ["stored", "Reshape", "ConstantOfShape"])
def test_no_sizes_hide_a_network(by: str) -> None:
    model = _as_sizes(by)
    assert answer(model).mean() == pytest.approx(SIZES.sum() + 0.5, rel=1e-5)
    assert SIZES.size - FREE <= counted(model) <= SIZES.size + len(SIZES)


def test_no_single_numbers_hide_a_network() -> None:
    """A hundred different factors in a row are a hundred weights, but for those that are free."""
    names = ["x", *(f"v{n}" for n in range(99)), "y"]
    nodes = [node("Mul", f"{names[n]} k{n}", names[n + 1]) for n in range(100)]
    stored = [constant(f"k{n}", 1 + n / 7, np.float32) for n in range(100)]
    assert counted(model_of(nodes, stored)) == 100 - FREE
    assert gmacs(model_of(nodes, stored)) == pytest.approx(100 * SIZE * SIZE / 1e9)


@pytest.mark.parametrize("times", [2, 40])
def test_no_weight_is_looked_through_for_each_node_that_has_it(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a shared weight of 500 MB would keep the gate busy for hours."""
    looked = list[TensorProto | None]()
    monkeypatch.setattr("evaluator.gate.parameters._is_zero", looked.append)
    plain = numpy_helper.from_array(np.zeros(SHAPE, np.int8), "w8")
    scale = constant("scale", 1.0, np.float32)
    shared = [node("DequantizeLinear", "w8 scale", f"d{n}") for n in range(times)]
    total = [node("Sum", " ".join(f"d{n}" for n in range(times)), "w")]
    assert counted(network(*shared, *total, stored=(plain, scale))) >= COUNT
    assert looked == []


def test_what_flows_nowhere_is_no_parameter() -> None:
    stored = (numpy_helper.from_array(WEIGHT, "w"), weights("idle", 7, 7))
    assert counted(network(node("Mul", "idle idle", "lost"), stored=stored)) == COUNT


# --- PyTorch's own modules -------------------------------------------------------------------


class Rows(nn.Module):
    """A layer on the rows of the image, as a sequence of SIZE steps of SIZE numbers."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(1, 1, H, W) -> the same."""
        found = self.layer(image[:, 0])
        result: torch.Tensor = (found[0] if isinstance(found, tuple) else found)[:, None]
        return result[..., :SIZE]


class Attends(nn.Module):
    """Attention of the rows among themselves."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(SIZE, heads, batch_first=True)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(1, L, E) -> the same."""
        result: torch.Tensor = self.inner(rows, rows, rows, need_weights=False)[0]
        return result


S = SIZE
MODULES: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "linear": (lambda: Rows(nn.Linear(S, S)), S * S * S),
    "layer-norm": (lambda: Rows(nn.Sequential(nn.Linear(S, S), nn.LayerNorm(S))), S * S * S),
    "lstm": (lambda: Rows(nn.LSTM(S, S, batch_first=True)), S * 8 * S * S),
    "lstm-both-ways": (
        lambda: Rows(nn.LSTM(S, S // 2, batch_first=True, bidirectional=True)),
        S * 2 * 4 * (S // 2) * (S + S // 2),
    ),
    "gru": (lambda: Rows(nn.GRU(S, S, batch_first=True)), S * 6 * S * S),
    "rnn": (lambda: Rows(nn.RNN(S, S, batch_first=True)), S * 2 * S * S),
    "attention": (lambda: Rows(Attends(4)), 4 * S * S * S + 2 * S * S * S),
    "convolution": (lambda: nn.Conv2d(1, 1, 5, padding=2), S * S * 25),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, 1, 1, groups=4), nn.Conv2d(4, 1, 1)
        ),
        S * S * (4 + 36 + 4),
    ),
    "transposed": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 2, 2), nn.ConvTranspose2d(4, 1, 2, 2)),
        S * S / 4 * 16 * 2,
    ),
}


@pytest.mark.parametrize("opset", [14, 17])
@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_counted_otherwise_than_by_hand(module: str, opset: int) -> None:
    build, products = MODULES[module]
    torch.manual_seed(0)
    made = build().eval()
    model = exported(opset, newer=False, free=False, net=made)
    assert counted(model) == sum(weight.numel() for weight in made.parameters())
    assert gmacs(model) == pytest.approx(products / 1e9)


# --- work ------------------------------------------------------------------------------------


def _matrix(*nodes: onnx.NodeProto, **stored: Any) -> ModelProto:
    """`x`, its columns mixed by a (SIZE, SIZE) matrix `w` in some way."""
    own = [constant(name, *data) for name, data in stored.items()]
    return model_of(list(nodes), [weights("w", SIZE, SIZE), *own])


WRITTEN: dict[str, Callable[[], ModelProto]] = {
    "MatMul": lambda: _matrix(node("MatMul", "x w", "y")),
    "Einsum": lambda: _matrix(node("Einsum", "x w", "y", equation="nchi,iw->nchw")),
    "Mul and ReduceSum": lambda: _matrix(
        node("Unsqueeze", "x last", "columns"),
        node("Mul", "columns w", "products"),
        node("ReduceSum", "products four", "y", keepdims=0),
        last=([4],),
        four=([3],),
    ),
    "Div and ReduceSum": lambda: _matrix(
        node("Unsqueeze", "x last", "columns"),
        node("Div", "columns w", "products"),
        node("ReduceSum", "products four", "y", keepdims=0),
        last=([4],),
        four=([3],),
    ),
    "squares": lambda: _matrix(
        node("Unsqueeze", "x last", "columns"),
        node("Add", "columns w", "sums"),
        node("ReduceSumSquare", "sums", "y", axes=[3], keepdims=0),
        last=([4],),
    ),
    "logarithms": lambda: _matrix(
        node("Unsqueeze", "x last", "columns"),
        node("Add", "columns w", "sums"),
        node("ReduceLogSumExp", "sums", "y", axes=[3], keepdims=0),
        last=([4],),
    ),
}


@pytest.mark.parametrize("written", WRITTEN)
def test_no_way_of_writing_a_product_hides_its_work(written: str) -> None:
    assert gmacs(WRITTEN[written]()) == pytest.approx(SIZE**3 / 1e9)


def test_no_convolution_written_in_shifts_and_factors_costs_nothing() -> None:
    """Each of nine neighbours times a number of its own, added up."""
    nodes, sums = [node("Pad", "x pads", "wide")], "zero"
    stored = [constant("pads", [0, 0, 1, 1, 0, 0, 1, 1]), constant("zero", 0, np.float32)]
    stored += [constant("axes", [2, 3])]
    for n in range(9):
        low = [n // 3, n % 3]
        stored += [constant(f"l{n}", low), constant(f"h{n}", [low[0] + SIZE, low[1] + SIZE])]
        stored += [constant(f"k{n}", n + 0.5, np.float32)]
        nodes += [
            node("Slice", f"wide l{n} h{n} axes", f"s{n}"),
            node("Mul", f"s{n} k{n}", f"p{n}"),
        ]
        nodes += [node("Add", f"{sums} p{n}", "y" if n == 8 else f"a{n}")]
        sums = f"a{n}"
    assert gmacs(model_of(nodes, stored)) == pytest.approx(9 * SIZE * SIZE / 1e9)


def test_attention_as_one_operator_is_counted_as_its_parts() -> None:
    """(1, 1, SIZE, SIZE) is one head of SIZE tokens; and as heads side by side."""
    one = model_of([node("Attention", "x x x", "y")], opset=23)
    assert gmacs(one) == pytest.approx(2 * SIZE**3 / 1e9)
    heads = [
        node("Squeeze", "x axis", "rows"),
        node("Attention", "rows rows rows", "mixed", q_num_heads=4, kv_num_heads=4),
        node("Unsqueeze", "mixed axis", "y"),
    ]
    assert gmacs(model_of(heads, [constant("axis", [1])], opset=23)) == pytest.approx(
        2 * SIZE**3 / 1e9
    )


def test_a_deformable_convolution_is_counted_as_a_plain_one() -> None:
    nodes = [node("ConstantOfShape", "size", "zeros"), node("DeformConv", "x w zeros", "y")]
    nodes[1].attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
    stored = [weights("w", 1, 1, 3, 3), constant("size", [1, 18, SIZE, SIZE])]
    assert gmacs(model_of(nodes, stored, opset=19)) == pytest.approx(9 * SIZE * SIZE / 1e9)


@pytest.mark.parametrize("operator", sorted(set().union(*ALLOWED.values())))
def test_no_operator_without_a_rule_counts_nothing(operator: str) -> None:
    """Each is in one table; of any other, and of any unknown shape, the work is unknown."""
    tables = [operator in table for table in (PRODUCTS, ELEMENTWISE, WITHOUT)]
    assert sum(tables) <= 1
    unknown = work_of(helper.make_node(operator, ["a", "b", "c"], ["d"]), {})
    if operator not in WITHOUT:
        assert None in (unknown.layers, unknown.elementwise)


def test_a_network_with_an_uncounted_operator_has_no_number(tmp_path: Path) -> None:
    nodes = [
        node("Unsqueeze", "x last", "real"),
        node("DFT", "real", "both", axis=3),
        node("ReduceL1", "both", "y", axes=[4], keepdims=0),
    ]
    model = model_of(nodes, [constant("last", [4])], outputs=[value("y")])
    (passed,) = inspect(tmp_path, submission(tmp_path, model.SerializeToString())).models
    assert passed.gmacs is None


def test_no_quantised_layer_in_a_branch_costs_nothing() -> None:
    """Counted as the plain layer, wherever it is."""
    quantised = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("ConvInteger", "q kernel zero", "whole", pads=[1, 1, 1, 1]),
        node("Cast", "whole", "z", to=TensorProto.FLOAT),
    ]
    info = [value("z")]
    then = helper.make_graph(quantised, "then", [], info)
    other = helper.make_graph([node("Identity", "x", "e")], "else", [], [value("e")])
    test = [
        node("ReduceMax", "x", "top", keepdims=0),
        node("Greater", "top scale", "yes"),
        node("If", "yes", "y", then_branch=then, else_branch=other),
    ]
    stored = [
        constant("scale", 0.1, np.float32),
        constant("zero", 0, np.uint8),
        constant("kernel", np.ones((1, 1, 3, 3)), np.uint8),
    ]
    assert gmacs(model_of(test, stored)) == pytest.approx(9 * SIZE * SIZE / 1e9)

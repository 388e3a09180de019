"""Models that the gate must let through, and the folder a submission of them makes.

Hand-made with onnx.helper, exported by PyTorch's two exporters over many opsets, converted to fp16,
quantised by ONNX Runtime's quantiser, and made from a scikit-learn network. Keras is left out: it
needs TensorFlow or another converter, which weigh more than all the rest together.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.files import sha256_bytes

SIZE = 32
IR, OPSET = 8, 17


def submission(
    folder: Path,
    data: bytes | None,
    *,
    opset: int = OPSET,
    size: int = SIZE,
    channels: Any = "grey",
    kind: Any = "logits",
) -> Submission:
    """Declare `folder`'s one model; `data` are its bytes, or None where it lies there already."""
    if data is not None:
        (folder / "model.onnx").write_bytes(data)
    return Submission(
        team="Honest",
        method="net",
        track="phantom",
        input=InputSpec(height=size, width=size, resize="letterbox", channels=channels),
        output=OutputSpec(kind=kind),
        opset=opset,
        models=(ModelFile(file="model.onnx", sha256=sha256_bytes(data or b"")),),
    )


# --- hand-made -------------------------------------------------------------------------------


def value(
    name: str, shape: list[Any] | None = None, kind: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    """A value, float32 (n, 1, SIZE, SIZE) unless the call says otherwise."""
    return helper.make_tensor_value_info(name, kind, shape or ["n", 1, SIZE, SIZE])


def weights(name: str, *shape: int) -> onnx.TensorProto:
    """Seeded float32 values."""
    rng = np.random.default_rng(len(name) + sum(shape))
    return numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), name)


def constant(name: str, values: Any, dtype: Any = np.int64) -> onnx.TensorProto:
    """An initialiser with given values."""
    return numpy_helper.from_array(np.array(values, dtype=dtype), name)


def model_of(
    nodes: list[onnx.NodeProto],
    initialisers: list[onnx.TensorProto] | None = None,
    *,
    opset: int = OPSET,
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    **changes: Any,
) -> onnx.ModelProto:
    """A model from `x` to `y`; `changes` go to helper.make_model."""
    graph = helper.make_graph(
        nodes, "net", inputs or [value("x")], outputs or [value("y")], initialisers or []
    )
    settings: dict[str, Any] = {
        "opset_imports": [helper.make_opsetid("", opset)],
        "ir_version": IR,
    }
    return helper.make_model(graph, **(settings | changes))


def tiny(opset: int = OPSET) -> onnx.ModelProto:
    """Two convolutions: the smallest honest network. 8 * 9 + 8 + 8 + 1 parameters."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["h"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w2", "b2"], ["y"], "conv2"),
    ]
    stored = [weights("w1", 8, 1, 3, 3), weights("b1", 8), weights("w2", 1, 8, 1, 1)]
    return model_of(nodes, [*stored, weights("b2", 1)], opset=opset)


def branched() -> onnx.ModelProto:
    """A network with an `If`, as exporters write where a shape decides."""
    result = [value("z")]
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, ["x"], ["z"], name)], name, [], result
        )
        for name, operator in (("then", "Relu"), ("else", "Identity"))
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "three"], ["w"]),
        helper.make_node("Equal", ["w", "size"], ["same"]),
        helper.make_node("If", ["same"], ["y"], "if", **branches),
    ]
    return model_of(nodes, [constant("three", 3), constant("size", SIZE)])


def functional() -> onnx.ModelProto:
    """A network with a local function, called twice."""
    body = [
        helper.make_node("Conv", ["a", "w", "b"], ["h"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
    ]
    imports = [helper.make_opsetid("", OPSET)]
    function = helper.make_function("net.blocks", "Block", ["a", "w", "b"], ["r"], body, imports)
    nodes = [
        helper.make_node("Block", ["x", "w1", "b1"], ["h"], "one", domain="net.blocks"),
        helper.make_node("Block", ["h", "w2", "b2"], ["y"], "two", domain="net.blocks"),
    ]
    stored = [weights("w1", 4, 1, 3, 3), weights("b1", 4), weights("w2", 1, 4, 3, 3)]
    return model_of(
        nodes,
        [*stored, weights("b2", 1)],
        opset_imports=[*imports, helper.make_opsetid("net.blocks", 1)],
        functions=[function],
    )


# --- PyTorch ---------------------------------------------------------------------------------


class Net(nn.Module):
    """Convolutions, norms, attention over pixels, and both ways up: what segmenters are made of."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1, groups=2),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.1),
        )
        self.norm = nn.LayerNorm(16)
        self.mix = nn.Linear(16, 48)
        self.line = nn.Linear(16, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, 1, H, W)."""
        deep = self.down(image)
        tokens = self.norm(deep.flatten(2).transpose(1, 2))
        query, key, content = self.mix(tokens).chunk(3, dim=2)
        tokens = tokens + (query @ key.transpose(1, 2) / 4).softmax(dim=2) @ content
        tokens = self.line(tokens)
        deep = tokens.transpose(1, 2).reshape(deep.shape)
        up = nn.functional.interpolate(self.up(deep), scale_factor=2.0, mode="bilinear")
        result: torch.Tensor = self.head(up)
        return result


def network(channels: int = 1) -> Net:
    """A seeded `Net` in evaluation mode."""
    torch.manual_seed(0)
    return Net(channels).eval()


def exported(
    opset: int, *, newer: bool, free: bool = True, channels: int = 1, net: nn.Module | None = None
) -> onnx.ModelProto:
    """A PyTorch network through one of PyTorch's exporters.

    Args:
        newer: the exporter built on torch.export, else the one built on TorchScript.
        free: whether the batch axis is dynamic.
    """
    image = torch.zeros(2 if free else 1, channels, SIZE, SIZE)
    options: dict[str, Any] = {"dynamo": newer, "opset_version": opset}
    if newer:
        options |= {"dynamic_shapes": ({0: "batch"},) if free else None, "external_data": False}
    elif free:
        options |= {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "net.onnx"
        names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
        torch.onnx.export(
            net or network(channels), (image,), path, verbose=False, **names, **options
        )
        return onnx.load(path)


# --- ONNX Runtime's quantiser, fp16, scikit-learn --------------------------------------------


def quantised(**how: Any) -> onnx.ModelProto:
    """The exported network through ONNX Runtime's quantiser; `static` names its format."""
    from onnxruntime import quantization  # noqa: PLC0415 - slow to import

    class CalibrationImages(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.left = [rng.random((1, 1, SIZE, SIZE), np.float32) for _ in range(2)]

        def get_next(self) -> dict[str, Any] | None:
            return {"x": self.left.pop()} if self.left else None

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "net.onnx", Path(folder) / "quantised.onnx"
        onnx.save(exported(17, newer=False), source)
        if "static" in how:
            form = quantization.QuantFormat[how.pop("static")]
            quantization.quantize_static(
                source, target, CalibrationImages(), quant_format=form, **how
            )
        else:
            quantization.quantize_dynamic(source, target, **how)
        return onnx.load(target)


def halved() -> onnx.ModelProto:
    """The exported network in fp16 inside, float32 at both ends."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415

    model = convert_float_to_float16(exported(17, newer=False), keep_io_types=True)
    assert isinstance(model, onnx.ModelProto)
    return model


def halved_by_hand() -> onnx.ModelProto:
    """A PyTorch network in half precision that casts at both ends."""

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Conv2d(1, 1, 3, padding=1).half()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.net(image.half()).float()
            return result

    return exported(17, newer=False, net=Half().eval())


def from_scikit_learn() -> onnx.ModelProto:
    """A per-pixel scikit-learn network, converted by skl2onnx, between two reshapes."""
    from skl2onnx import convert_sklearn  # noqa: PLC0415 - slow to import
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415
    from sklearn.neural_network import MLPRegressor  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    rng = np.random.default_rng(0)
    pixels = rng.random((200, 1))
    pipeline = make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), max_iter=20, tol=1.0)
    )
    pipeline.fit(pixels, (pixels[:, 0] > 0.5).astype(float))
    made = convert_sklearn(
        pipeline, initial_types=[("pixel", FloatTensorType([None, 1]))], target_opset=17
    )
    column = helper.make_node("Reshape", ["x", "column"], ["pixel"], "to_pixels")
    shape = helper.make_node("Shape", ["x"], ["size"], "size")
    image = helper.make_node("Reshape", [made.graph.output[0].name, "size"], ["y"], "to_image")
    return model_of(
        [column, shape, *made.graph.node, image],
        [constant("column", [-1, 1]), *made.graph.initializer],
        opset_imports=list(made.opset_import),
    )


def ended(maps: int, *operators: str) -> onnx.ModelProto:
    """A convolution to `maps` maps, and then what makes them the declared kind of output."""
    names = ["x", *operators, "y"]  # each value is called after the operator that takes it
    nodes = [helper.make_node("Conv", ["x", "w"], [names[1]], pads=[1, 1, 1, 1])]
    nodes += [helper.make_node(name, [name], [names[n]]) for n, name in enumerate(operators, 2)]
    outputs = [value("y", ["n", maps, SIZE, SIZE])]
    return model_of(nodes, [weights("w", maps, 1, 3, 3)], outputs=outputs)


class Honest(NamedTuple):
    """An honest export and what its submission declares."""

    name: str
    build: Callable[[], onnx.ModelProto]
    declared: dict[str, Any] = {}  # noqa: RUF012 - read only


def _opset(model: onnx.ModelProto) -> int:
    return next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))


HONEST: tuple[Honest, ...] = (
    *(Honest(f"hand-made-{opset}", partial(tiny, opset)) for opset in (11, 13, 26)),
    Honest("if", branched),
    Honest("function", functional),
    *(
        Honest(f"torchscript-{opset}", partial(exported, opset, newer=False))
        for opset in (13, 15, 17, 20)
    ),
    Honest("torchscript-fixed-batch", lambda: exported(17, newer=False, free=False)),
    Honest("torchscript-rgb", lambda: exported(17, newer=False, channels=3), {"channels": "rgb"}),
    *(Honest(f"torch-export-{opset}", partial(exported, opset, newer=True)) for opset in (18, 23)),
    Honest("torch-export-fixed-batch", lambda: exported(18, newer=True, free=False)),
    Honest("fp16", halved),
    Honest("fp16-by-hand", halved_by_hand),
    Honest("quantised-dynamic", quantised),
    Honest("quantised-qdq", lambda: quantised(static="QDQ")),
    Honest("quantised-qdq-per-channel", lambda: quantised(static="QDQ", per_channel=True)),
    Honest("quantised-qoperator", lambda: quantised(static="QOperator")),
    Honest("scikit-learn", from_scikit_learn),
    Honest("probabilities", lambda: ended(1, "Sigmoid"), {"kind": "probabilities"}),
    Honest("two-maps-of-logits", lambda: ended(2), {"kind": "softmax"}),
    Honest("mask", lambda: ended(1, "Sigmoid", "Round"), {"kind": "mask"}),
)

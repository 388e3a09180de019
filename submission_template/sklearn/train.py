"""A model that is no network: scikit-learn on each pixel, made into ONNX by skl2onnx.

Features of a pixel are its brightness at several scales and its position. They are computed by the
ONNX graph itself, by one convolution, so that the file takes an image like any other.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from command_line import arguments
from dataset import BundleDataset
from submission import OPSET, write_submission

SIZE = 96
WIDTHS = (1, 5, 11, 21)  # of the squares over which brightness is averaged, in pixels
FEATURES = len(WIDTHS) + 2
PIXELS = 20_000  # that are drawn to train on


def features_graph() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes from `image` (N, 1, SIZE, SIZE) to `pixels` (N * SIZE * SIZE, FEATURES)."""
    side = max(WIDTHS)
    kernels = np.zeros((len(WIDTHS), 1, side, side), np.float32)
    for kernel, width in zip(kernels, WIDTHS, strict=True):
        inside = slice((side - width) // 2, (side + width) // 2)
        kernel[0, inside, inside] = 1 / width**2
    ramp = np.broadcast_to(np.linspace(-1, 1, SIZE, dtype=np.float32), (1, 1, SIZE, SIZE))
    position = np.concatenate((ramp, ramp.swapaxes(2, 3)), axis=1)
    stored = {
        "kernels": kernels,
        "position": position,
        "zero": np.zeros((1, 2, 1, 1), np.float32),
        "table": np.array([-1, FEATURES]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernels"], ["means"], pads=[side // 2] * 4),
        helper.make_node("Mul", ["image", "zero"], ["nothing"]),  # of the batch's size
        helper.make_node("Add", ["nothing", "position"], ["positions"]),
        helper.make_node("Concat", ["means", "positions"], ["maps"], axis=1),
        helper.make_node("Transpose", ["maps"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "table"], ["pixels"]),
    ]
    return nodes, [numpy_helper.from_array(value, name) for name, value in stored.items()]


def model_of(
    nodes: list[onnx.NodeProto], stored: list[onnx.TensorProto], output: onnx.ValueInfoProto
) -> bytes:
    """A whole ONNX file from `image` to `output`."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIZE, SIZE])
    graph = helper.make_graph(nodes, "pixelwise", [image], [output], stored)
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def pixels_of(images: np.ndarray) -> np.ndarray:
    """The features of every pixel, (N * SIZE * SIZE, FEATURES), as the ONNX graph computes them."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["pixel", FEATURES])
    session = InferenceSession(model_of(*features_graph(), pixels))
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def to_onnx(pipeline: Pipeline) -> bytes:
    """Features, pipeline, and the way back to maps (N, 1, SIZE, SIZE) of probabilities."""
    table = [("pixels", FloatTensorType([None, FEATURES]))]
    made = convert_sklearn(pipeline, initial_types=table, target_opset=OPSET)
    nodes, stored = features_graph()
    back = [
        helper.make_node("Reshape", [made.graph.output[0].name, "map"], ["raw"]),
        helper.make_node("Clip", ["raw", "low", "high"], ["probabilities"]),
    ]
    sizes = {
        "map": np.array([-1, 1, SIZE, SIZE]),
        "low": np.float32(0),
        "high": np.float32(1),
    }
    stored += [numpy_helper.from_array(np.asarray(value), name) for name, value in sizes.items()]
    size = ["batch", 1, SIZE, SIZE]
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, size)
    return model_of([*nodes, *made.graph.node, *back], [*stored, *made.graph.initializer], output)


def main() -> None:
    options = arguments(epochs=100)
    images, masks, folds = BundleDataset(options.bundle, size=SIZE).arrays()
    models: dict[int | None, bytes] = {}
    for fold in sorted(set(folds.tolist())):
        rng = np.random.default_rng(fold)
        seen = np.flatnonzero(folds != fold)
        table, truth = pixels_of(images[seen]), masks[seen].ravel()
        drawn = rng.choice(len(truth), min(PIXELS, len(truth)), replace=False)
        regressor = MLPRegressor(
            hidden_layer_sizes=(32, 16), max_iter=options.epochs, random_state=fold
        )
        pipeline = make_pipeline(StandardScaler(), regressor).fit(table[drawn], truth[drawn])
        models[fold] = to_onnx(pipeline)
        print(f"fold {fold} is trained", flush=True)
    write_submission(options.out, options.bundle, models, SIZE, "probabilities")


if __name__ == "__main__":
    main()

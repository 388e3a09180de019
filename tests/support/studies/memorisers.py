"""Honest networks and networks that memorise, which the consistency gap has to tell apart.

All are plain ONNX graphs of operators that the gate allows. `segmenter` is honest and small: it is
fitted to training images in closed form and sees no test image. `memoriser` contains a key (the
image, shrunk) and a mask of every example it was given and answers with the mask of the nearest. An
attacker knows this code but not the seed, and may store copies, too: mirrored, or transformed with
guessed seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from evaluator.consistency import draw, transform_pixels
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.files import sha256_bytes
from evaluator.inference.preprocessing import to_input

OPSET, IR = 17, 8
SIZE = 128  # of a network's input, a square
GRID = 16  # a key has GRID x GRID values
BLURS = (3, 9, 25, 63)  # pixels
HIDDEN = 48


class Example(NamedTuple):
    """An image with its mask, (H, W)."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def spec() -> InputSpec:
    """What all these networks declare."""
    return InputSpec(height=SIZE, width=SIZE, resize="stretch")


def submission(model: bytes, method: str, track: str) -> Submission:
    """The declaration of one model for all folds, in the file `model.onnx`."""
    return Submission(
        team="Benchmark",
        method=method,
        track=track,
        input=spec(),
        output=OutputSpec(),
        opset=OPSET,
        models=(ModelFile(file="model.onnx", sha256=sha256_bytes(model)),),
    )


# --- copies that an attacker may store beside what is known -----------------------------------


def mirrored(examples: Sequence[Example]) -> list[Example]:
    """Every example as it is and mirrored."""
    flipped = [Example(image[:, ::-1], mask[:, ::-1]) for image, mask in examples]
    return [*examples, *flipped]


def moved(examples: Sequence[Example], copies: int) -> list[Example]:
    """Every example as it is, and `copies` times transformed by seeds that are not the secret."""
    return [*examples, *(p for n in range(copies) for p in _moved_once(examples, n))]


def _moved_once(examples: Sequence[Example], number: int) -> Iterator[Example]:
    for place, (image, mask) in enumerate(examples):
        transform = draw(sha256_bytes(f"guess {number}".encode()), str(place), image.shape)
        yield Example(transform_pixels(image, transform), transform_pixels(mask, transform))


# --- the two networks -------------------------------------------------------------------------


def memoriser(examples: Sequence[Example], detail: int = SIZE) -> bytes:
    """A network that answers with the stored mask whose image is most like its input.

    Likeness is the correlation of the images at GRID x GRID pixels.

    Args:
        detail: side of a stored mask in pixels.
    """
    keys = np.stack([_key(example.image) for example in examples])
    masks = np.stack([_shrunk(example.mask, detail) for example in examples])[:, None]
    pool, scale = SIZE // GRID, SIZE / detail
    nodes = [
        helper.make_node(
            "AveragePool", ["image"], ["small"], kernel_shape=[pool] * 2, strides=[pool] * 2
        ),
        helper.make_node("Flatten", ["small"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "keys"], ["likeness"]),
        helper.make_node("ArgMax", ["likeness"], ["nearest"], axis=1, keepdims=0),
        helper.make_node("Gather", ["masks", "nearest"], ["bits"], axis=0),
        helper.make_node("Cast", ["bits"], ["stored"], to=TensorProto.FLOAT),
        helper.make_node("Resize", ["stored", "", "scales"], ["mask"], mode="linear"),
        *_logits("mask", 0.5),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "keys": keys.T.copy(),
        "masks": masks,
        "scales": np.array([1, 1, scale, scale], np.float32),
    }
    return _model(nodes, constants)


def _key(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An image at GRID x GRID as a vector without mean, of length one."""
    pixels = to_input(image, spec())[0]
    cells = pixels.reshape(GRID, SIZE // GRID, GRID, SIZE // GRID).mean(axis=(1, 3)).ravel()
    cells = cells - cells.mean()
    length = max(float(np.linalg.norm(cells)), 1e-6)
    return np.asarray(cells / length, np.float32)


def _shrunk(mask: NDArray[np.bool_], side: int) -> NDArray[np.uint8]:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    resized = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
    return (resized > 127).astype(np.uint8)


def segmenter(examples: Sequence[Example]) -> bytes:
    """A network that calls a pixel lesion by how bright it and its surroundings are, and where.

    Random hidden units over blurred images and coordinates, read out by ridge regression on the
    given examples, as in Huang et al., Extreme learning machine, Neurocomputing 70, 2006.
    """
    nodes, constants = _hidden()
    session = onnxruntime.InferenceSession(_model(nodes, constants, "hidden"))
    gram, target = np.zeros((HIDDEN, HIDDEN)), np.zeros(HIDDEN)
    kept = []
    for image, mask in examples:
        found = session.run(None, {"image": to_input(image, spec())[None]})[0]
        units = found[0, :, ::4, ::4].reshape(HIDDEN, -1).astype(np.float64)
        truth = _shrunk(mask, SIZE)[::4, ::4].ravel()
        gram += units @ units.T
        target += units @ truth
        kept.append((units, truth > 0))
    weights = np.linalg.solve(gram + 1e-3 * np.trace(gram) / HIDDEN * np.eye(HIDDEN), target)
    cuts = np.linspace(0.1, 0.6, 26)
    gains = [
        np.mean([_dice(weights @ units > cut, truth) for units, truth in kept]) for cut in cuts
    ]
    nodes += [
        helper.make_node("Conv", ["hidden", "readout"], ["lesion"]),
        *_logits("lesion", float(cuts[int(np.argmax(gains))])),
    ]
    constants["readout"] = weights.reshape(1, HIDDEN, 1, 1).astype(np.float32)
    return _model(nodes, constants)


def _hidden() -> tuple[list[onnx.NodeProto], dict[str, NDArray[np.generic]]]:
    """From the image to HIDDEN maps of its size."""
    rng = np.random.default_rng(0)
    rows, columns = np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 2, indexing="ij")
    places = np.stack([rows, columns**2, rows**2 + columns**2]).astype(np.float32)
    blurs = [
        helper.make_node(
            "AveragePool", ["image"], [f"blur{k}"], kernel_shape=[k, k], pads=[k // 2] * 4
        )
        for k in BLURS
    ]
    nodes = [
        *blurs,
        helper.make_node("Mul", ["image", "zero"], ["nothing"]),  # the batch's size, for the places
        helper.make_node("Add", ["nothing", "places"], ["where"]),
        helper.make_node("Concat", [*(f"blur{k}" for k in BLURS), "where"], ["seen"], axis=1),
        helper.make_node("Conv", ["seen", "weights", "biases"], ["mixed"]),
        helper.make_node("Relu", ["mixed"], ["hidden"]),
    ]
    inputs = len(BLURS) + len(places)
    scale = np.array([4.0] * len(BLURS) + [1.0] * len(places))  # images are darker than one
    weights = rng.normal(size=(HIDDEN, inputs)) * scale
    constants: dict[str, NDArray[np.generic]] = {
        "zero": np.zeros((1, 1, 1, 1), np.float32),
        "places": places[None],
        "weights": weights.reshape(HIDDEN, inputs, 1, 1).astype(np.float32),
        "biases": rng.normal(size=HIDDEN).astype(np.float32),
    }
    return nodes, constants


def _dice(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return 2 * float((prediction & truth).sum()) / max(1, int(prediction.sum() + truth.sum()))


def _logits(name: str, threshold: float) -> list[onnx.NodeProto]:
    """From a map to logits that are positive above `threshold`."""
    constants = {"threshold": threshold, "steepness": 20.0}
    return [
        *(helper.make_node("Constant", [], [n], value_float=v) for n, v in constants.items()),
        helper.make_node("Sub", [name, "threshold"], ["centred"]),
        helper.make_node("Mul", ["centred", "steepness"], ["output"]),
    ]


def _model(
    nodes: list[onnx.NodeProto], constants: dict[str, NDArray[np.generic]], output: str = "output"
) -> bytes:
    shapes = {"image": 1, output: HIDDEN if output == "hidden" else 1}
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, SIZE, SIZE])
        for name, channels in shapes.items()
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "network", infos[:1], infos[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    return bytes(model.SerializeToString())

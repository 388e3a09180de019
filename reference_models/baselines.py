"""Baselines: three networks without training, which show what a leaderboard can tell apart.

All are plain ONNX graphs of operators that the gate allows. `segmenter` is honest and small: it is
fitted to training images in closed form. `empty_mask` finds no lesion anywhere. `memoriser` cheats:
it contains a key (the image, shrunk) and a mask of every example it was given and answers with the
mask of the nearest, which the consistency pass has to give away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch.nn import functional

OPSET, IR = 17, 8
SIZE = 128  # of a network's input, a square
INPUT = {"height": SIZE, "width": SIZE, "resize": "stretch"}
GRID = 16  # a key has GRID x GRID values
BLURS = (3, 9, 25, 63)  # pixels
HIDDEN = 48
STRIDE = 4  # of the pixels that the segmenter is fitted to
CUTS = np.linspace(0.1, 0.6, 26)  # thresholds that the segmenter chooses from


class Example(NamedTuple):
    """An image with its mask, (H, W)."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


# --- the networks -----------------------------------------------------------------------------


def memoriser(examples: Sequence[Example], detail: int = SIZE) -> bytes:
    """An ONNX file that answers with the stored mask whose image is most like its input.

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
    cells = _pixels(image).reshape(GRID, SIZE // GRID, GRID, SIZE // GRID).mean(axis=(1, 3)).ravel()
    cells = cells - cells.mean()
    length = max(float(np.linalg.norm(cells)), 1e-6)
    return np.asarray(cells / length, np.float32)


def empty_mask() -> bytes:
    """An ONNX file that calls no pixel lesion, whatever its input."""
    nodes = [helper.make_node("Mul", ["image", "zero"], ["nothing"]), *_logits("nothing", 0.5)]
    return _model(nodes, {"zero": np.zeros((1, 1, 1, 1), np.float32)})


class Sample(NamedTuple):
    """Hidden units at every STRIDE-th pixel of an example, (HIDDEN, n), and its mask there."""

    units: NDArray[np.float32]
    truth: NDArray[np.bool_]


def sample(example: Example) -> Sample:
    """What `segmenter` is fitted to of an example."""
    weights, biases, places = _random_units()
    image = torch.from_numpy(_pixels(example.image))[None, None]
    blurs = [
        functional.avg_pool2d(
            functional.avg_pool2d(image, (k, 1), 1, (k // 2, 0), count_include_pad=False),
            (1, k),
            1,
            (0, k // 2),
            count_include_pad=False,
        )
        for k in BLURS
    ]
    seen = torch.cat([*blurs, torch.from_numpy(places)[None]], dim=1)[..., ::STRIDE, ::STRIDE]
    mixed = functional.conv2d(seen, torch.from_numpy(weights), torch.from_numpy(biases))
    units = mixed.relu()[0].reshape(HIDDEN, -1).numpy()
    return Sample(units, _shrunk(example.mask, SIZE)[::STRIDE, ::STRIDE].ravel() > 0)


def segmenter(samples: Sequence[Sample]) -> bytes:
    """An ONNX file that calls a pixel lesion by how bright it and its surroundings are, and where.

    Random hidden units over blurred images and coordinates, read out by ridge regression on the
    given samples, as in Huang et al., Extreme learning machine, Neurocomputing 70, 2006.
    """
    gram, target = np.zeros((HIDDEN, HIDDEN)), np.zeros(HIDDEN)
    for units, truth in samples:
        exact = units.astype(np.float64)
        gram += exact @ exact.T
        target += exact @ truth
    weights = np.linalg.solve(gram + 1e-3 * np.trace(gram) / HIDDEN * np.eye(HIDDEN), target)
    found = [(weights @ units, truth) for units, truth in samples]
    gains = [np.mean([_dice(map_ > cut, truth) for map_, truth in found]) for cut in CUTS]
    nodes, constants = _hidden()
    nodes += [
        helper.make_node("Conv", ["hidden", "readout"], ["lesion"]),
        *_logits("lesion", float(CUTS[int(np.argmax(gains))])),
    ]
    constants["readout"] = weights.reshape(1, HIDDEN, 1, 1).astype(np.float32)
    return _model(nodes, constants)


def _random_units() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Seeded weights (HIDDEN, inputs, 1, 1), biases (HIDDEN,), and coordinates (3, SIZE, SIZE)."""
    rng = np.random.default_rng(0)
    rows, columns = np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 2, indexing="ij")
    places = np.stack([rows, columns**2, rows**2 + columns**2]).astype(np.float32)
    scale = np.array([4.0] * len(BLURS) + [1.0] * len(places))  # images are darker than one
    weights = rng.normal(size=(HIDDEN, len(scale))) * scale
    biases = rng.normal(size=HIDDEN).astype(np.float32)
    return weights.reshape(HIDDEN, -1, 1, 1).astype(np.float32), biases, places


def _hidden() -> tuple[list[onnx.NodeProto], dict[str, NDArray[np.generic]]]:
    """From the image to HIDDEN maps of its size."""
    weights, biases, places = _random_units()
    nodes = [
        *(node for k in BLURS for node in _blur(k)),
        helper.make_node("Mul", ["image", "zero"], ["nothing"]),  # the batch's size, for the places
        helper.make_node("Add", ["nothing", "places"], ["where"]),
        helper.make_node("Concat", [*(f"blur{k}" for k in BLURS), "where"], ["seen"], axis=1),
        helper.make_node("Conv", ["seen", "weights", "biases"], ["mixed"]),
        helper.make_node("Relu", ["mixed"], ["hidden"]),
    ]
    zero = np.zeros((1, 1, 1, 1), np.float32)
    return nodes, {"zero": zero, "places": places[None], "weights": weights, "biases": biases}


def _blur(k: int) -> list[onnx.NodeProto]:
    """The mean over k x k pixels, down and then across: 2 k additions a pixel instead of k²."""
    down: dict[str, Any] = {"kernel_shape": [k, 1], "pads": [k // 2, 0, k // 2, 0]}
    across: dict[str, Any] = {"kernel_shape": [1, k], "pads": [0, k // 2, 0, k // 2]}
    return [
        helper.make_node("AveragePool", ["image"], [f"down{k}"], **down),
        helper.make_node("AveragePool", [f"down{k}"], [f"blur{k}"], **across),
    ]


def _pixels(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An image at SIZE x SIZE, from 0 to 1: INPUT by Pillow."""
    resized = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32) / np.float32(255)


def _shrunk(mask: NDArray[np.bool_], side: int) -> NDArray[np.uint8]:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    resized = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
    return (resized > 127).astype(np.uint8)


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


def _model(nodes: Sequence[onnx.NodeProto], constants: Mapping[str, NDArray[np.generic]]) -> bytes:
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, SIZE, SIZE])
        for name in ("image", "output")
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "network", infos[:1], infos[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    return bytes(model.SerializeToString())

"""Two runs of the same thing give the same bytes, whatever the time and the batch size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from evaluator.inference import infer as stage_module
from evaluator.predictions import DOCUMENT, RUNTIME
from tests.support.inference import Stage, blur, network, stage

SEED = "5eed" * 16


def scenes(count: int) -> list[NDArray[np.uint8]]:
    """Grey images with one dark ellipse each; every other one is of low contrast."""
    draw, images = np.random.default_rng(1), []
    rows, columns = np.mgrid[:150, :200]
    for number in range(count):
        middle = draw.uniform((50, 80), (90, 140))
        inside = ((rows - middle[0]) / 25) ** 2 + ((columns - middle[1]) / 35) ** 2 <= 1
        image = draw.normal(120, 25, inside.shape)
        image[inside] -= 70
        image = 110 + (image - 110) / 5 if number % 2 else image
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return images


def scaled_by_its_batch() -> bytes:
    """A network that scales by the range of the whole batch, and finds what is dark."""
    stored = [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in (("eps", 1e-6), ("level", 0.38), ("slope", 50.0))
    ]
    nodes = [
        helper.make_node("ReduceMin", ["x"], ["low"], keepdims=0),
        helper.make_node("ReduceMax", ["x"], ["high"], keepdims=0),
        helper.make_node("Sub", ["high", "low"], ["range"]),
        helper.make_node("Add", ["range", "eps"], ["divisor"]),
        helper.make_node("Sub", ["x", "low"], ["shifted"]),
        helper.make_node("Div", ["shifted", "divisor"], ["scaled"]),
        helper.make_node("Sub", ["level", "scaled"], ["dark"]),
        helper.make_node("Mul", ["dark", "slope"], ["y"]),
    ]
    return network(nodes, stored)


def quantised_as_it_runs(folder: Path) -> bytes:
    """Convolutions whose input is quantised by the range of the whole batch."""
    source, target = folder / "float.onnx", folder / "int8.onnx"
    source.write_bytes(blur())
    quantize_dynamic(source, target, weight_type=QuantType.QUInt8, op_types_to_quantize=["Conv"])
    onnx.checker.check_model(onnx.load(target))
    return target.read_bytes()


def outputs(made: Stage) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in made.out.iterdir()}


@pytest.mark.parametrize("make", ["scaled", "quantised"])
def test_no_batch_size_changes_a_mask_of_a_model_that_depends_on_its_batch(
    tmp_path: Path, make: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scaled_by_its_batch() if make == "scaled" else quantised_as_it_runs(tmp_path)
    images, wanted = scenes(10), None
    # what `auto` measures is up to the machine: here it would take 4
    monkeypatch.setattr(stage_module, "measure_batch", lambda *a: 4)
    for size in (1, 2, 4, 8, "auto"):
        made = stage(tmp_path / str(size), images, model, seed=SEED)
        made.infer(batch_size=size)
        found = outputs(made)
        measured = made.runtime.measured
        del found[RUNTIME]
        wanted = wanted or found
        assert found == wanted
        assert measured.batch_sizes == (1,)
        assert measured.batch_dependent == (() if size == 1 else ("0.onnx",))
    assert wanted is not None and any(wanted["fold-all.bits"])


def test_a_model_that_does_not_depend_on_its_batch_keeps_it(tmp_path: Path) -> None:
    stated: list[str] = []
    for name, model in (("blur", blur()), ("scaled", scaled_by_its_batch())):
        made = stage(tmp_path / name, scenes(5), model)
        made.infer(batch_size=4, progress=lambda what, done, total: stated.append(what))
        expected = ((4,), ()) if name == "blur" else ((1,), ("0.onnx",))
        measured = made.runtime.measured
        assert (measured.batch_sizes, measured.batch_dependent) == expected
    assert [line for line in stated if "batch" in line] == [
        "0.onnx runs at batch 1: a larger batch may change its maps"
    ]


def test_a_last_batch_that_is_smaller_is_tried_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map that depends on N alone is equal in batches of 4 and another in the last, of 3.

    A runtime's rounding may; the graph that is written here would not come so far.
    """
    monkeypatch.setattr(stage_module, "is_separable", lambda *a: True)
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], start=0, end=1),
        helper.make_node("Mod", ["shape", "four"], ["rest"]),
        helper.make_node("Mod", ["rest", "three"], ["odd"]),
        helper.make_node("Greater", ["rest", "odd"], ["is_three"]),
        helper.make_node("Cast", ["is_three"], ["shift"], to=1),
        helper.make_node("Sub", ["x", "shift"], ["y"]),
    ]
    stored = [
        numpy_helper.from_array(np.array([n]), name) for n, name in ((4, "four"), (3, "three"))
    ]
    for cases, kept in ((8, 4), (7, 1)):
        made = stage(tmp_path / str(cases), scenes(cases), network(nodes, stored))
        made.infer(batch_size=4)
        assert made.runtime.measured.batch_sizes == (kept,)


def test_a_second_run_changes_no_byte_but_the_run_time_facts(tmp_path: Path) -> None:
    made = stage(tmp_path, scenes(12), blur(), blur(6), seed=SEED)
    made.infer()
    first = outputs(made)
    made.infer()
    second = outputs(made)
    differing = {name for name in first if first[name] != second[name]}
    assert first.keys() == second.keys() and differing <= {RUNTIME}
    assert {DOCUMENT, RUNTIME, "fold-0.bits", "fold-1.transformed.bits"} <= first.keys()
    for word in ("latency", "device", "batch", "memory"):
        assert word not in first[DOCUMENT].decode()
    assert json.loads(first[RUNTIME])["measured"]["latency_ms"] > 0

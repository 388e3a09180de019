"""Models that write what they see into their failure: the error is the same whatever that was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ci.comment import refusal
from ci.public import Public
from evaluator.errors import BusbenchError
from harness.challenge import Limits
from harness.sandbox.failure import explain
from harness.sandbox.participant_error import participant_error
from harness.sandbox.stage import Outcome, Stage
from tests.support.inference import network
from tests.support.inference import stage as infer_stage

BRIGHTNESS = (31, 144, 233)  # of hidden images, each of one grey
Nodes = Sequence[NodeProto]
_node = helper.make_node
# (1,) int64: the pixel's value, plus more than any side has
SEEN = (
    _node("ReduceMax", ["x"], ["peak"], keepdims=0),
    _node("Mul", ["peak", "scale"], ["grey"]),
    _node("Add", ["grey", "scale"], ["more"]),
    _node("Cast", ["more"], ["whole"], to=TensorProto.INT64),
    _node("Reshape", ["whole", "one"], ["seen"]),
)
# What the output is, its declared kind, and the nodes that make it.
FAMILY: dict[str, tuple[str, Nodes]] = {
    "a constant as a mask": ("mask", (*SEEN, _node("Add", ["x", "more"], ["y"]))),
    "a constant as a probability": ("probabilities", (*SEEN, _node("Add", ["x", "more"], ["y"]))),
    "its own contrast": ("probabilities", (_node("Mul", ["x", "scale"], ["y"]),)),
    "not a number": ("logits", (_node("Sub", ["x", "x"], ["o"]), _node("Div", ["o", "o"], ["y"]))),
    "infinity": ("logits", (_node("Sub", ["x", "x"], ["o"]), _node("Div", ["x", "o"], ["y"]))),
    "its shape": ("logits", (*SEEN, _node("Slice", ["x", "nil", "less", "two"], ["y"]))),
    "an index": ("logits", (*SEEN, _node("Gather", ["x", "seen"], ["y"], axis=2))),
    "a shape that cannot be": ("logits", (*SEEN, _node("Reshape", ["x", "seen"], ["y"]))),
    "a broadcast that cannot be": (
        "logits",
        (*SEEN, _node("ConstantOfShape", ["seen"], ["row"]), _node("Add", ["x", "row"], ["y"])),
    ),
}
STORED: dict[str, NDArray[np.generic]] = {
    "scale": np.array(255, np.float32),
    "one": np.array([1], np.int64),
    "nil": np.array([0], np.int64),
    "two": np.array([2], np.int64),
    "off": np.array([-255], np.int64),
}


def failure(root: Path, what: str, brightness: int) -> BusbenchError:
    """How inference ends on hidden images of that brightness."""
    kind, nodes = FAMILY[what]
    if what == "its shape":  # as many rows as a quarter of the brightness
        quarter = _node("Div", ["seen", "four"], ["less"])
        nodes = (*nodes[:-1], quarter, nodes[-1])
    stored = {**STORED, "four": np.array([16], np.int64)}
    arrays = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    images = [np.full((64, 64), brightness, np.uint8)] * 3
    made = infer_stage(root, images, network(list(nodes), arrays), kind=kind)
    with pytest.raises(BusbenchError) as ended:
        made.infer(batch_size=1)
    return ended.value


def public(error: BusbenchError, root: Path) -> list[str]:
    """All that leaves the organiser's machine of such an end."""
    said: dict[str, Any] = {"code": error.code, "message": error.message, "remedy": error.remedy}
    stage = Stage("infer", "infer", (), {}, root, Limits())
    last = Outcome(int(error.fault), tail=f"error {error}", error=said)
    raised = explain(stage, last)
    reported = participant_error(raised).document()
    return [str(reported), Public.of(raised).line, refusal(raised, None, "f" * 40)]


@pytest.mark.parametrize("what", FAMILY)
def test_no_failure_tells_of_a_hidden_image(tmp_path: Path, what: str) -> None:
    texts, errors = set(), set()
    for brightness in BRIGHTNESS:
        root = tmp_path / str(brightness)
        error = failure(root, what, brightness)
        assert error.code == "model-failed", error
        errors.add(error.message)
        texts.add(tuple(public(error, root)))
    assert len(errors) == 1, errors  # not even the organiser's own
    (text,) = texts
    assert "It gives" not in "".join(text) and "onnx" not in "".join(text)

"""Refusals: demands read as demands, the cure is whole, and the image that showed it is named."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import BusbenchError
from evaluator.gate import RULES, GateRefused, first_load, inspect, intake
from evaluator.gate.subject import Finding
from evaluator.progress import quiet
from harness.challenge import Challenge
from harness.evaluation.stage_commands import gate_stage
from harness.sandbox.failure import MAX_TEXT
from harness.sandbox.process_runner import NEEDED, ProcessRunner
from tests.support.corpus.honest import constant, exported, model_of, submission, value
from tests.support.corpus.hostile import node

SENTENCES = {
    **intake.SENTENCES,
    **{rule.code: rule.sentence for rule in RULES},
    **first_load.SENTENCES,
}


@pytest.mark.parametrize("code", SENTENCES)
def test_no_demand_reads_as_a_fact(code: str) -> None:
    words = SENTENCES[code].split()
    assert "must" in words or words[:2] == ["No", "operator"]


@pytest.mark.parametrize("length", [10, 100, 250, 320, 600, 5_000])
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_no_refusal_is_cut_in_a_word(count: int, length: int) -> None:
    sentence = ("word " * (length // 5)).strip() + "."
    findings = tuple(Finding(f"G-{n}", "model.onnx", None, sentence) for n in range(count))
    text = GateRefused(findings).message
    assert len(text) <= MAX_TEXT
    assert text.endswith((".", "..."))
    assert {each.strip(".") for each in text.split(": ", 1)[1].split()} <= {
        "word", "And", "more", "", *map(str, range(60)), *(f"G-{n}:" for n in range(50))
    }  # fmt: skip


@pytest.mark.slow
def test_no_default_export_of_torch_is_refused_without_the_cure(tmp_path: Path) -> None:
    """Its opset is not the declared one: the message ends with what to do, and is whole."""
    data = exported(18, newer=True).SerializeToString()
    with pytest.raises(GateRefused) as refusal:
        inspect(tmp_path, submission(tmp_path, data, opset=17))
    assert "submission.yaml declares 17, the file says 18." in refusal.value.message
    assert "Write `opset: 18` there" in refusal.value.message
    assert len(refusal.value.message) <= MAX_TEXT


IMAGES: dict[str, tuple[list[Any], str]] = {
    "black": (
        [node("ReduceSum", "x axes", "sum"), node("Div", "x sum", "y")],
        "For a black image",
    ),
    "speckle": ([node("Sub", "x two", "z"), node("Log", "z", "y")], "For speckle"),
}


@pytest.mark.parametrize("shown", IMAGES)
def test_no_result_is_refused_without_the_image_that_showed_it(shown: str, tmp_path: Path) -> None:
    nodes, says = IMAGES[shown]
    stored = [constant("axes", [1, 2, 3]), constant("two", 2, np.float32)]
    data = model_of(nodes, stored, outputs=[value("y")]).SerializeToString()
    with pytest.raises(GateRefused) as refusal:
        inspect(tmp_path, submission(tmp_path, data))
    assert says in refusal.value.message


@pytest.mark.parametrize("package", NEEDED["infer"])
def test_no_missing_extra_is_blamed_on_the_model(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else found(name)
    )
    with pytest.raises(BusbenchError) as error:
        ProcessRunner().run(gate_stage(tmp_path, Challenge()), quiet)
    assert error.value.code == "extra-missing"
    assert package in error.value.message

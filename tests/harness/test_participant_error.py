"""Errors as a participant reads them: enough to act on, and nothing that is hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import CODES, BusbenchError, Code
from harness.sandbox.participant_error import REDACTIONS, participant_error, reported_to_participant


def line(stage: str, text: str) -> str:
    code = {"train": "training-failed", "gate": "gate-refused", "infer": "model-failed"}
    error = BusbenchError(
        Code(code.get(stage, "stage-crashed")), "m", "r", stage=stage, last_line=text
    )
    return participant_error(error).last_line


def test_a_training_error_is_given_without_places_of_the_machine() -> None:
    text = "FileNotFoundError: /srv/organiser/bundles/training/images/c1.png"
    assert line("train", text) == "FileNotFoundError: c1.png"


def test_no_secret_is_given() -> None:
    for secret in ("AGE-SECRET-KEY-1QQQ", "ab" * 32, "A1b2" * 12):
        assert secret not in line("train", f"key {secret} here")


def test_what_a_model_saw_is_not_given() -> None:
    text = "node 'bus_0001-l_malignant' gave Dice 0.93 at x=17 in \"case 4\" for `id`"
    said = line("infer", text)
    for hidden in ("bus_0001", "malignant", "0.93", "17", "case 4", "`id`"):
        assert hidden not in said
    assert said.startswith("node") and "gave Dice" in said


@pytest.mark.parametrize("stage", ["score", "", "unheard-of"])
def test_nothing_of_the_scorer_is_given(stage: str) -> None:
    assert line(stage, "names bus_0001, not a test case") == ""


@given(text=st.text())
def test_no_digit_leaves_inference(text: str) -> None:
    assert not any(c.isdecimal() and c.isascii() for c in line("infer", text))


@given(text=st.text(), stage=st.sampled_from(sorted(REDACTIONS)))
def test_no_line_is_long(text: str, stage: str) -> None:
    assert len(line(stage, text)) <= 200


def test_the_participants_error_names_stage_code_fault_and_meaning(tmp_path: Path) -> None:
    path = tmp_path / "participant-error.json"
    with pytest.raises(BusbenchError), reported_to_participant(path):
        raise BusbenchError(Code.LIMIT_TIME, "secret words", "r", stage="train")
    said = json.loads(path.read_text())
    assert said["stage"] == "train" and said["code"] == "limit-time"
    assert said["fault"] == "submission" and said["meaning"] == CODES[Code.LIMIT_TIME][1]
    assert "secret words" not in json.dumps(said)


def test_no_report_outlives_the_failure_that_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "participant-error.json"
    path.write_text("of an earlier run")
    with reported_to_participant(path):
        pass
    assert not path.exists()

"""Errors as a participant reads them: enough to act on, and nothing that is hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import CODES, BusbenchError, Code, Fault
from harness.sandbox.participant_error import (
    OF_INFERENCE,
    QUOTED,
    hidden_cases,
    participant_error,
    reported_to_participant,
)


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


@pytest.mark.parametrize("stage", ["infer", "score", "ready", "", "unheard-of"])
@given(text=st.text(min_size=1))
def test_no_word_of_a_stage_that_sees_hidden_data_is_given(stage: str, text: str) -> None:
    assert line(stage, text) == ""


@pytest.mark.parametrize("code", [code for code in Code if code.fault is Fault.SUBMISSION])
def test_no_code_that_a_taken_over_inference_chose_is_given(code: Code) -> None:
    said = participant_error(BusbenchError(code, "m", "r", stage="infer", last_line="x"))
    assert said.code == (code if code in OF_INFERENCE else "model-failed")
    assert said.meaning == CODES[Code(said.code)][1]


def test_no_failure_on_hidden_cases_differs_from_another() -> None:
    said = set()
    for code in (code for code in Code if code.fault is Fault.SUBMISSION):
        for stage in ("infer", "score"):
            with pytest.raises(BusbenchError) as caught, hidden_cases(are_there=True):
                raise BusbenchError(code, "m", "r", stage=stage, last_line="x")
            again = BusbenchError(**caught.value.fields)  # as it comes from another process
            said |= {participant_error(error).model_dump_json() for error in (caught.value, again)}
    assert len(said) == 1


@pytest.mark.parametrize("fault", [Fault.ORGANISER, Fault.INFRASTRUCTURE])
def test_no_fault_of_others_is_hidden_as_the_participants(fault: Fault) -> None:
    code = next(code for code in Code if code.fault is fault)
    with pytest.raises(BusbenchError) as caught, hidden_cases(are_there=True):
        raise BusbenchError(code, "m", "r", stage="infer")
    assert participant_error(caught.value).code == code


@given(text=st.text(), stage=st.sampled_from(QUOTED))
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

"""The sandbox's pure parts: the profile, and who is to blame."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluator.errors import Fault
from harness.challenge import Limits
from harness.sandbox.failure import explain
from harness.sandbox.profile import container_settings
from harness.sandbox.stage import Outcome, Stage


def stage(name: str = "infer", **changes: object) -> Stage:
    fields = {
        "name": name,
        "room": "infer",
        "command": ("infer", "--images", "{images}", "--out", "{out}"),
        "inputs": {"images": Path("/data/images.age")},
        "output": Path("/data/out"),
        "limits": Limits(seconds=5, memory_mb=256, output_mb=7),
    }
    return Stage(**(fields | changes))  # type: ignore[arg-type]


def test_the_profile_leaves_nothing_open() -> None:
    found = container_settings(stage(), "sha256:abc")
    assert found["network_mode"] == "none" and found["read_only"] is True
    assert found["cap_drop"] == ["ALL"] and found["security_opt"] == ["no-new-privileges"]
    assert found["user"] == "65532:65532"
    assert found["mem_limit"] == found["memswap_limit"] == 256 * 1024**2
    assert found["pids_limit"] == 256 and found["init"] is True
    assert "noexec" in found["tmpfs"]["/tmp"]
    assert {"nofile", "core", "fsize"} == {limit.name for limit in found["ulimits"]}
    assert "privileged" not in found and "cap_add" not in found and "volumes" not in found


def test_only_the_output_is_mounted_writable() -> None:
    mounts = container_settings(stage(), "sha256:abc")["mounts"]
    assert {m["Target"]: m["ReadOnly"] for m in mounts} == {"/in/images": True, "/out": False}


def test_the_command_names_places_inside() -> None:
    found = container_settings(stage(), "sha256:abc")["command"]
    assert found == ["infer", "--images", "/in/images", "--out", "/out"]


def test_no_variable_of_the_host_reaches_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = container_settings(stage(), "sha256:abc")["environment"]
    assert set(found) == {
        *("HOME", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"),
        *("OMP_NUM_THREADS", "OMP_WAIT_POLICY"),
    }


LYING = {"code": "engine-unavailable", "message": "not me", "remedy": "blame them"}
HONEST = {"code": "model-failed", "message": "fold-0.onnx gave NaN.", "remedy": "Train on."}


@pytest.mark.parametrize(
    "name, outcome, code",
    [
        ("infer", Outcome(137, timed_out=True, oom_killed=True), "limit-time"),
        ("infer", Outcome(137, output_full=True), "limit-disk"),
        ("infer", Outcome(153), "limit-disk"),
        ("infer", Outcome(137, oom_killed=True), "limit-memory"),
        ("infer", Outcome(137), "limit-memory"),
        ("infer", Outcome(139), "model-failed"),
        ("infer", Outcome(10, error=HONEST), "model-failed"),
        ("infer", Outcome(10, error={"code": "no-such-code"}), "model-failed"),
        ("train", Outcome(1), "training-failed"),
        ("train", Outcome(30, error=LYING), "training-failed"),
        ("gate", Outcome(30, error=LYING), "gate-refused"),
        ("gate", Outcome(139), "gate-refused"),
        ("score", Outcome(1), "stage-crashed"),
        ("score", Outcome(20, error={**HONEST, "code": "bundle-invalid"}), "bundle-invalid"),
    ],
)
def test_no_outcome_is_blamed_on_the_wrong_one(name: str, outcome: Outcome, code: str) -> None:
    assert explain(stage(name), outcome).code == code


def test_a_participant_cannot_blame_the_infrastructure() -> None:
    for name in ("train", "gate"):
        assert explain(stage(name), Outcome(30, error=LYING)).fault is Fault.SUBMISSION


def test_a_stage_cannot_write_to_the_terminal() -> None:
    said = {**HONEST, "message": "\x1b[2Jgone" + "x" * 9999}
    message = explain(stage(), Outcome(10, error=said)).message
    assert "\x1b" not in message and len(message) < 500

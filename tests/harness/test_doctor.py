"""The doctor: known vulnerabilities are found, and the exit status says who acts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import Fault
from harness.challenge import Challenge, Images
from harness.doctor import CHECKS, Context, Finding, checks, examine, exit_status, gpu
from harness.doctor.checks import check_base, check_engine
from harness.doctor.gpu import check_container_gpu, ways_to_a_gpu
from harness.doctor.vulnerabilities import judge
from harness.sandbox.images import ensure_base
from harness.sandbox.owner import is_gone, owner
from harness.sandbox.profile import OWNER_LABEL
from harness.sandbox.sources import BASE_VARIABLE
from harness.sealing.keys import Keys
from tests.support import ROOT


@pytest.mark.parametrize(
    "name, version, level",
    [
        ("runc", "1.1.12", "fail"),
        ("runc", "1.2.7", "fail"),
        ("runc", "1.2.8", "ok"),
        ("runc", "1.3.2", "fail"),
        ("runc", "1.3.3", "ok"),
        ("runc", "1.4.1", "ok"),
        ("runc", "2.0.0", "ok"),
        ("runc", "1.1.5+ds1-1+deb12u1", "warn"),
        ("runc", "1.1.7-0ubuntu1~22.04.1", "warn"),
        ("runc", "", "warn"),
        ("engine", "20.10.24+dfsg1", "warn"),
        ("engine", "24.0.9", "warn"),
        ("engine", "25.0.0", "ok"),
        ("engine", "29.1.2", "ok"),
        ("nvidia-container-toolkit", "1.17.7", "fail"),
        ("nvidia-container-toolkit", "1.17.8", "ok"),
        ("nvidia-container-toolkit", "1.18.0", "ok"),
        ("nvidia-container-toolkit", "1.9.0", "fail"),
        ("onnx", "1.20.1", "warn"),
        ("onnx", "1.23.2", "ok"),
        ("triton", "2.51.0", "warn"),
        ("triton", "2.59.0", "ok"),
    ],
)
def test_no_version_with_a_known_hole_passes(name: str, version: str, level: str) -> None:
    found = judge(name, version)
    assert found.level == level
    assert bool(found.remedy) is (level != "ok")


def test_the_exit_status_says_who_has_to_act() -> None:
    ok, warn = Finding("a", "ok", ""), Finding("b", "warn", "", "r")
    organiser = Finding("c", "fail", "", "r", Fault.ORGANISER)
    machine = Finding("d", "fail", "", "r")
    assert exit_status([ok, warn]) == 0
    assert exit_status([ok, organiser]) == 20
    assert exit_status([organiser, machine]) == 30


def by_name(context: Context) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(context)}


def test_an_engine_that_is_away_hides_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    found = by_name(Context())
    assert len(found) == len(CHECKS)
    assert found["engine"].level == "fail" and found["engine"].fault is Fault.INFRASTRUCTURE
    assert found["disk"].level in ("ok", "warn") and found["challenge"].level == "ok"


@pytest.mark.parametrize(
    "version, level",
    [
        ("19.03.15", "fail"),
        ("18.9.1+dfsg1", "fail"),
        ("20.10.0", "warn"),
        ("20.10.24+dfsg1", "warn"),
        ("28.2.2", "ok"),
        ("unknown", "warn"),
        (None, "warn"),
    ],
)
def test_no_engine_that_is_too_old_goes_unnamed(version: str | None, level: str) -> None:
    context = Context()
    context.__dict__["engine_info"] = {
        "ServerVersion": version or "5.4.0",
        "KernelVersion": "6.1.0",
        "Architecture": "x86_64",
    }
    context.__dict__["components"] = {} if version is None else {"Engine": version}
    found = check_engine(context)
    assert found.level == level and (version or "5.4.0") in found.says
    assert bool(found.remedy) is (level != "ok")


DIGEST = f"python@sha256:{'0' * 64}"
LOCAL = f"sha256:{'1' * 64}"


@pytest.mark.parametrize(("digests", "pinned"), [([DIGEST], DIGEST), ([], LOCAL), (None, LOCAL)])
def test_no_base_that_can_move_goes_without_the_line_that_pins_it(
    digests: list[str] | None, pinned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    image = SimpleNamespace(id=LOCAL, attrs={"RepoDigests": digests})
    context = Context()
    context.__dict__["engine"] = SimpleNamespace(images={"python:3.11": image, LOCAL: image})
    assert check_base(context).level == "ok"
    context.__dict__["challenge"] = Challenge(images=Images(base="python:3.11"))
    found = check_base(context)
    assert found.level == "warn" and pinned in found.remedy and LOCAL in found.says
    context.__dict__["challenge"] = Challenge(images=Images(base=pinned))
    assert check_base(context).level == "ok"


def test_no_base_that_this_machine_chose_goes_unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE_VARIABLE, "python:3.11")
    image = SimpleNamespace(id=LOCAL, attrs={"RepoDigests": []})
    context = Context()
    context.__dict__["engine"] = SimpleNamespace(images={"python:3.11": image})
    found = check_base(context)
    assert found.level == "warn" and BASE_VARIABLE in found.says
    assert f"not pinned by digest: local image ID {LOCAL}" in found.says
    assert f"{BASE_VARIABLE}={LOCAL}" in found.remedy and "challenge.yaml" not in found.remedy


@pytest.mark.parametrize(("said", "level"), [(None, "ok"), ("0", "warn"), ("1", "ok"), ("7", "ok")])
def test_no_kernel_without_landlock_goes_unnamed(
    said: str | None, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "output_of", lambda *_: said)
    found = checks.check_landlock(Context())
    assert found.level == level and ("containers" in found.remedy) is (level == "warn")


def test_keys_that_others_can_read_fail_with_the_remedy(tmp_path: Path) -> None:
    Keys.new(tmp_path / "keys")
    assert by_name(Context(keys=tmp_path / "keys"))["keys"].level == "ok"
    (tmp_path / "keys/labels.key").chmod(0o644)
    found = by_name(Context(keys=tmp_path / "keys"))["keys"]
    assert found.level == "fail" and found.fault is Fault.ORGANISER
    assert "chmod 600" in found.remedy


def test_a_challenge_that_contradicts_itself_fails(tmp_path: Path) -> None:
    (tmp_path / "challenge.yaml").write_text("surprise: 1\n")
    found = by_name(Context(tmp_path / "challenge.yaml"))["challenge"]
    assert found.level == "fail" and "surprise" in found.says


def test_the_command_line_gives_json_and_the_status(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "doctor", "--json", "--keys", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert done.returncode == report["status"] in (20, 30)
    keys = next(finding for finding in report["findings"] if finding["name"] == "keys")
    assert keys["level"] == "fail" and keys["fault"] == "organiser"


def test_only_a_dead_owner_of_this_machine_is_gone() -> None:
    ours = owner()
    host, boot, namespace, _, started = ours.split("/")
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    assert not is_gone(ours)
    assert is_gone("/".join((host, boot, namespace, str(dead.pid), started)))
    assert is_gone("/".join((*ours.split("/")[:4], "1")))  # the number, used again
    assert is_gone("/".join((host, "an-earlier-boot", namespace, "1", "1")))
    assert not is_gone("/".join(("another-host", boot, namespace, str(dead.pid), started)))
    assert not is_gone("/".join((host, boot, "another-container", str(dead.pid), started)))
    assert not is_gone("12345") and not is_gone("")


@given(st.lists(st.text(), min_size=1, max_size=3), st.sampled_from(["9" * 5000, "²", "x", "-1"]))
def test_no_label_of_an_image_stops_the_cleaner(parts: list[str], pid: str) -> None:
    place = owner().split("/")[:3]
    for label in (parts, [*place, *parts], [*place, pid, *parts]):
        assert is_gone("/".join(label)) in (True, False)


# --- a GPU in containers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "ways"),
    [
        ({}, []),
        ({"Runtimes": {"runc": {}, "io.containerd.runc.v2": {}}, "CDISpecDirs": ["/none"]}, []),
        ({"Runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}, ["the runtime nvidia"]),
        (
            {"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]},
            ["CDI devices nvidia.com/gpu"],
        ),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "amd.com/gpu=0"}]}, []),
    ],
)
def test_no_way_to_a_gpu_is_seen_where_the_engine_names_none(
    info: dict[str, Any], ways: list[str]
) -> None:
    assert ways_to_a_gpu(info) == ways


def test_device_specifications_of_another_vendor_are_no_way_to_a_gpu(tmp_path: Path) -> None:
    info = {"CDISpecDirs": [str(tmp_path)]}
    (tmp_path / "amd.yaml").write_text("cdiVersion: 0.6.0\nkind: amd.com/gpu\n")
    (tmp_path / "nvidia.txt").write_text("kind: nvidia.com/gpu\n")
    assert ways_to_a_gpu(info) == []
    (tmp_path / "nvidia.yaml").write_text("cdiVersion: 0.6.0\nkind: nvidia.com/gpu\n")
    assert ways_to_a_gpu(info) == ["CDI devices nvidia.com/gpu"]


def put_program(folder: Path, name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that prints `says`, before all others."""
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_nothing_is_tried_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    context = Context()
    context.__dict__["engine"], context.__dict__["engine_info"] = object(), {"Runtimes": {}}
    found = check_container_gpu(context)
    assert found.level == "ok" and found.says.startswith("not tried")


def test_an_engine_that_hands_no_gpu_over_is_named_with_the_remedy(
    engine: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the engine's answer, where it has no toolkit; this machine's GPU is made up."""
    if ways_to_a_gpu(engine.info()):
        pytest.skip("this engine has NVIDIA's toolkit")
    put_program(tmp_path, "nvidia-smi", "GPU 0: Some GPU (UUID: GPU-0)", monkeypatch)
    context = Context()
    ensure_base(engine, context.challenge.images)
    found = check_container_gpu(context)
    assert found.level == "warn"
    assert "cannot give" in found.says and "gpu" in found.says.lower()
    assert found.remedy.startswith("Install the NVIDIA container toolkit")
    put_program(tmp_path, "nvidia-ctk", "NVIDIA Container Toolkit CLI version 1.18.0", monkeypatch)
    assert check_container_gpu(context).remedy.startswith("Run `sudo nvidia-ctk runtime configure")
    assert not engine.containers.list(all=True, filters={"label": f"{OWNER_LABEL}={owner()}"})


@pytest.mark.parametrize(
    ("lines", "level"),
    [
        (["GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)"], "ok"),
        (["GPU 0: A (UUID: GPU-1)", "GPU 1: B (UUID: GPU-2)"], "fail"),
        ([], "fail"),
    ],
)
def test_a_container_that_sees_more_or_less_than_one_gpu_fails(
    lines: list[str], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "list_in_container", lambda _: lines)
    context = Context()
    context.__dict__["engine"] = object()
    context.__dict__["engine_info"] = {"Runtimes": {"nvidia": {}}}
    found = check_container_gpu(context)
    assert found.level == level and bool(found.remedy) is (level != "ok")
    assert found.says == "GPU 0: NVIDIA H100 80GB HBM3, by the runtime nvidia" or level == "fail"


def test_no_image_is_fetched_for_a_check(
    tmp_path: Path, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    (tmp_path / "challenge.yaml").write_text("images: {base: 'busbench-nowhere:1'}\n")
    context = Context(tmp_path / "challenge.yaml")
    context.__dict__["engine_info"] = {"Runtimes": {"nvidia": {}}}
    found = check_container_gpu(context)
    assert found.level == "warn" and "docker pull busbench-nowhere:1" in found.remedy

"""Readability: a container that cannot read its input is never the fault of a team.

A user's umask must decide nothing, and where a machine denies an input, a container of ours finds
that out before a submission is blamed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from evaluator.errors import BusbenchError, Fault
from evaluator.progress import quiet
from harness.challenge import Challenge, Images, Limits
from harness.evaluation.stage_commands import gate_stage
from harness.folders import let_all_read
from harness.sandbox import Stage
from harness.sandbox.docker_runner import DockerRunner
from harness.sandbox.images import ensure_base
from tests.support import ROOT
from tests.support.small_challenge import make_submission

pytestmark = pytest.mark.docker


def busbench(mask: int, folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        umask=mask,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_hardened_umask_blames_no_team(engine: docker.DockerClient, tmp_path: Path) -> None:
    make_submission(tmp_path / "submission")
    sealed = ("--bundle", "bundles", "--keys", "keys", "--runner", "docker", "--json")
    scores = []
    for mask in (0o022, 0o027, 0o077):
        place = tmp_path / f"{mask:03o}"
        place.mkdir()
        for words in (
            ("prepare", "phantom", "--patients", "20", "--raw", "raw", "--out", "store"),
            ("freeze", "store", "--out", "v1"),
            ("keys", "new", "keys"),
            ("seal", "store", "--split", "v1", "--keys", "keys", "--out", "bundles"),
            ("evaluate", tmp_path / "submission", *sealed, "--out", "runs"),
        ):
            done = busbench(mask, place, *words)
            assert done.returncode == 0, (mask, words, done.stderr)
        (report,) = json.loads(done.stdout)["reports"]
        scores.append(report["scores"]["groups"]["all"]["metrics"])
    assert scores[0] == scores[1] == scores[2]


def run(stage: Stage) -> BusbenchError:
    with pytest.raises(BusbenchError) as caught:
        DockerRunner(Challenge()).run(stage, quiet)
    return caught.value


@pytest.mark.parametrize("denied", ["submission.yaml", "all.onnx", "."])
def test_the_gate_blames_no_team_for_what_it_cannot_read(
    engine: docker.DockerClient, tmp_path: Path, denied: str
) -> None:
    submission = make_submission(tmp_path / "submission")
    let_all_read(submission)
    (submission / denied).chmod(0o700)
    (tmp_path / "gate").mkdir()
    error = run(gate_stage(tmp_path, Challenge()))
    assert error.code == "permission-denied" and error.fault is Fault.INFRASTRUCTURE
    assert str(submission) in error.remedy


@pytest.mark.parametrize(
    ("mode", "code"), [(0o600, "permission-denied"), (0o644, "training-failed")]
)
def test_a_training_is_blamed_only_where_the_bundle_can_be_read(
    engine: docker.DockerClient, tmp_path: Path, mode: int, code: str
) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "out"
    (bundle / "images").mkdir(parents=True)
    out.mkdir()
    let_all_read(tmp_path)
    (bundle / "images" / "case.png").write_bytes(b"image")
    (bundle / "images" / "case.png").chmod(mode)
    reads = "import sys; open('/in/bundle/images/case.png').read(); sys.exit('no idea')"
    command = ("python3", "-c", reads)
    image = ensure_base(engine, Images())
    stage = Stage("train", "participant", command, {"bundle": bundle}, out, Limits(), image=image)
    assert run(stage).code == code


def test_asking_for_an_engine_removes_nothing(engine: docker.DockerClient) -> None:
    lost = {"org.busbench.owner": "/".join((os.uname().nodename, "another-boot", "", "1", "1"))}
    volume = engine.volumes.create("busbench-orphan", labels=lost)
    try:
        DockerRunner(Challenge())
        assert engine.volumes.get("busbench-orphan")
    finally:
        volume.remove()

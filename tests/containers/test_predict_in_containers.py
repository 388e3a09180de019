"""`busbench predict` in containers: the same masks as without, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest

from tests.support.command_line import busbench_in
from tests.support.factories import hand_in
from tests.support.inference import blur
from tests.support.training_bundle import make_bundle

pytestmark = pytest.mark.docker


def test_no_mask_depends_on_the_runner(
    engine: docker.DockerClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make_bundle(tmp_path / "training", 4, folds=2) / "images"
    mine = hand_in(tmp_path / "mine", blur(1), blur(2))
    made = {}
    for runner in ("docker", "process"):
        out = tmp_path / runner
        shown = busbench_in(capsys, "predict", mine, images, "--out", out, "--runner", runner)
        assert shown.status == 0, shown.err
        made[runner] = {path.name: path.read_bytes() for path in out.glob("*.png")}
    assert made["docker"] == made["process"] and len(made["docker"]) == 4

"""Before a submission is blamed for inference, a container without it is asked, and believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import docker
import pyrage
import pytest

from evaluator.errors import BusbenchError
from evaluator.progress import quiet
from harness.challenge import Challenge
from harness.evaluation.sealed_files import SealedFiles
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.stage_commands import infer_stage, ready_stage
from harness.sandbox import Stage
from harness.sandbox.docker_runner import DockerRunner
from tests.support.inference import blur, speckle, stage

pytestmark = pytest.mark.docker
CHALLENGE, SETTINGS = Challenge(), EvaluateSettings()


@pytest.fixture
def ready(tmp_path: Path) -> Stage:
    """The stage, over a sealed test set."""
    made = stage(tmp_path / "made", speckle(2), blur())
    files = SealedFiles(made.images, made.key.read_text, made.images, made.key.read_text)
    out = tmp_path / "out"
    out.mkdir()
    infer = infer_stage(tmp_path, files, settings=SETTINGS, challenge=CHALLENGE)
    return replace(ready_stage(infer, SETTINGS), output=out)


def test_it_sees_nothing_of_a_submission_and_runs_a_network(
    engine: docker.DockerClient, ready: Stage
) -> None:
    assert set(ready.inputs) == {"images"} and "{submission}" not in ready.command
    DockerRunner(CHALLENGE).run(ready, quiet)
    assert (ready.output / "ready.onnx").exists()


def test_the_organisers_wrong_key_is_found_out(engine: docker.DockerClient, ready: Stage) -> None:
    wrong = str(pyrage.x25519.Identity.generate())
    with pytest.raises(BusbenchError) as blamed:
        DockerRunner(CHALLENGE).run(replace(ready, secret=lambda: wrong), quiet)
    assert (blamed.value.code, blamed.value.stage) == ("keys-invalid", "ready")

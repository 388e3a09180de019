"""A Triton server in containers: the harness's way and compose's, against ONNX Runtime's masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import docker
import pytest

from harness.challenge import Challenge
from harness.evaluation.evaluate import EvaluateSubmission
from harness.evaluation.settings import EvaluateSettings
from harness.execution import ExecutionEnvironment, run_job
from harness.sealing.bundle import Bundles
from tests.support.containers import (
    Journey,
    Watcher,
    compose_commands,
    compose_environment,
    composed,
    predicted_masks,
)

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def bits(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("fold-[0-9].bits")}


@pytest.fixture(scope="module")
def expected(journey: Journey) -> dict[str, bytes]:
    """ONNX Runtime's masks of the journey, packed."""
    found = bits(journey.run / "infer")
    assert len(found) == 5
    return found


def test_the_harness_gets_the_same_masks_without_a_network(
    journey: Journey, engine: docker.DockerClient, expected: dict[str, bytes], tmp_path: Path
) -> None:
    watcher = Watcher(engine)
    try:
        job = EvaluateSubmission.of(
            journey.submission,
            Bundles.open(journey.out / "bundles"),
            tmp_path / "runs",
            environment=ExecutionEnvironment("docker", Challenge(), journey.out / "keys"),
            settings=EvaluateSettings(backend="triton"),
        )
        run_job(job)
        done = job.finished()
    finally:
        watcher.stop()
    assert done.report.runtime.backend == "triton"
    assert bits(done.folder / "infer") == expected
    assert any(mask.any() for mask in predicted_masks(done.folder / "infer")[0].values())
    [seen] = watcher.seen(os.getpid())["infer"]
    assert seen["Image"] == done.report.provenance.evaluator["infer"]
    assert seen["Image"] not in {one["Image"] for one in journey.containers["infer"]}
    assert set(seen["NetworkSettings"]["Networks"]) == {"none"}
    assert seen["HostConfig"]["ReadonlyRootfs"] and seen["HostConfig"]["CapDrop"] == ["ALL"]


@pytest.mark.parametrize("compose", compose_commands(), ids=" ".join)
def test_compose_gets_the_same_masks_through_a_server_of_its_own(
    journey: Journey,
    engine: docker.DockerClient,
    expected: dict[str, bytes],
    tmp_path: Path,
    compose: Any,
) -> None:
    results = tmp_path / "results"
    environment = compose_environment(journey.out, results, journey.submission)
    with composed(compose, "triton", environment, "--profile=triton") as run:
        run("build")
        run("up", "-d", "score-triton")  # returns once scoring has begun
        server = engine.containers.get(run("ps", "-q", "triton").strip())
        infer = engine.containers.list(
            all=True, filters={"label": "com.docker.compose.service=infer-triton"}
        )[0]
        assert server.attrs["HostConfig"]["NetworkMode"] == "none"
        assert infer.attrs["HostConfig"]["NetworkMode"] == f"container:{server.id}"
        assert infer.attrs["HostConfig"]["IpcMode"] == f"container:{server.id}"
        assert not server.attrs["HostConfig"]["PortBindings"]
    assert bits(results / "infer") == expected

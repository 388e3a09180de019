"""Each reference network goes through the door of every participant: sandbox, submission, gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from typer.testing import CliRunner

from harness.cli import app
from tests.support.training_bundle import make_bundle

pytestmark = [pytest.mark.docker, pytest.mark.slow]

# The names that the design fixes, and the smallest side that each takes.
NETWORKS = {
    "unet": 32,
    "attention_unet": 32,
    "unetpp": 32,
    "unet3plus": 32,
    "unext": 32,
    "ukan": 32,
    "cmunet": 32,
    "cmunext": 32,
    "transunet": 32,
    "medt": 32,
    "swin_unet": 128,
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("ten") / "bundle", cases=6, folds=2)


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The project's root, where `challenge.yaml` is."""
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    yield


@pytest.mark.parametrize("network", NETWORKS)
def test_no_network_needs_more_than_the_sandbox_gives(
    network: str, bundle: Path, tmp_path: Path, engine: docker.DockerClient, project: None
) -> None:
    side = NETWORKS[network]
    size = {"input.height": side, "input.width": side}
    settings = {"steps": 2, "batch": 2, "checkpoint_seconds": 3600, **size}
    recipe = " ".join(f"--set {key}={value}" for key, value in settings.items())
    words = f"train --config {network} {recipe} --fold 0 --bundle {{bundle}} --out {{out}}"
    out = tmp_path / "submission"
    train = ["train", "reference", "--bundle", str(bundle), "--out", str(out), "--command", words]
    trained = CliRunner().invoke(app, train)
    log = tmp_path / "submission.train.log"
    assert trained.exit_code == 0, (trained.exception, log.exists() and log.read_text()[-2000:])
    assert "within" in log.read_text() and "of PyTorch" in log.read_text()
    assert sorted(path.name for path in out.iterdir()) == ["fold-0.onnx", "submission.yaml"]
    declared = out / "submission.yaml"
    declared.write_text(declared.read_text().replace("fold: 0", "fold: null"))  # one for all
    checked = CliRunner().invoke(app, ["check", str(out)])
    assert checked.exit_code == 0, checked.exception

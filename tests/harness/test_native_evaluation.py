"""Native, tiled and resampled inputs through every verb: none reports or runs another thing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluator.errors import BusbenchError
from harness.challenge import Challenge
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.reproduction import Files, reproduce
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.validation import ValidateSubmission
from harness.execution import ExecutionEnvironment
from harness.sandbox import ProcessRunner
from harness.sandbox.cached import Context
from harness.splits import FrozenSplit
from harness.store import CaseStore
from tests.support.command_line import busbench_in
from tests.support.inference import blur, echo
from tests.support.small_challenge import SmallChallenge, declare, make_submission

pytestmark = pytest.mark.usefixtures("forked_stages")

SPACING = (0.2, 0.1)  # of the images, whose 24 x 32 pixels become 48 x 32
NATIVE: dict[str, Any] = {"mode": "native", "multiple": 8}
TILED: dict[str, Any] = {
    "mode": "tiled",
    "height": 16,
    "width": 16,
    "overlap": 0.5,
    "blend": "gaussian",
}
PER_PIXEL = (8 * 9 + 8 * 8 * 9 + 8) / 1e9  # of the three convolutions of `blur`, in GMACs
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    return SmallChallenge.make(tmp_path_factory.mktemp("spaced"), spacing=SPACING)


@pytest.fixture(scope="module")
def unspaced(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    return SmallChallenge.make(tmp_path_factory.mktemp("unspaced"))


def hand_in(folder: Path, data: bytes | None = None, **inputs: object) -> Path:
    return declare(make_submission(folder), data or blur(), input=inputs)


def again(challenge: SmallChallenge, result: Evaluation) -> tuple[str, ...]:
    """What differs once the result is reproduced from public files."""
    split = FrozenSplit.open(challenge.root / "splits" / "v1")
    files = Files(result.folder / "submission", split, CaseStore.open(challenge.root / "store"))
    context = Context(ProcessRunner(), Challenge())
    found = reproduce(result.report, files, EvaluateSettings(), context=context)
    return tuple(map(str, found.differences))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "gmacs"),
    [
        (NATIVE | {"spacing": 0.1}, 48 * 32 * PER_PIXEL),
        (TILED, 2 * 3 * 16 * 16 * PER_PIXEL),  # steps of half a tile
    ],
    ids=["native", "tiled"],
)
def test_no_result_is_counted_at_another_size_or_differs_when_it_is_reproduced(
    spaced: SmallChallenge, tmp_path: Path, inputs: dict[str, Any], gmacs: float
) -> None:
    result = spaced.evaluate(hand_in(tmp_path / "mine", **inputs), tmp_path / "runs")
    assert result.report.status == "complete"
    assert result.report.models[0].gmacs == pytest.approx(gmacs)
    assert again(spaced, result) == ()


def test_no_spacing_is_asked_of_images_without_one(
    unspaced: SmallChallenge, tmp_path: Path, capsys: Capture
) -> None:
    """Refused before a run is begun or a quota taken, by each verb."""
    folder = hand_in(tmp_path / "mine", **NATIVE, spacing=0.1)
    environment = ExecutionEnvironment("process", unspaced.settings)
    bundle = unspaced.bundles.path / "training"
    for run in (
        lambda: unspaced.job(folder, tmp_path / "runs"),
        lambda: ValidateSubmission.of(folder, bundle, tmp_path / "v", environment=environment),
    ):
        with pytest.raises(BusbenchError, match="images state no spacing") as refused:
            run()
        assert refused.value.code == "submission-invalid"
    assert not (tmp_path / "runs").exists()
    shown = busbench_in(capsys, "check", folder, "--bundle", bundle, "--runner", "process")
    assert shown.status == 10 and "images state no spacing" in shown.err


@pytest.mark.slow
def test_check_tries_a_native_network_at_the_images_of_the_bundle(
    spaced: SmallChallenge, tmp_path: Path, capsys: Capture
) -> None:
    folder = hand_in(tmp_path / "mine", **NATIVE)
    bundle = ("--bundle", spaced.bundles.path / "training", "--runner", "process", "--json")
    found = json.loads(busbench_in(capsys, "check", folder, *bundle).out)
    assert found["models"][0]["gmacs"] == pytest.approx(24 * 32 * PER_PIXEL)
    assert found["forecast"]["latency_ms"] > 0


# --- images of one's own -------------------------------------------------------------------------


def predict(capture: Capture, *words: object) -> Any:
    return busbench_in(capture, "predict", *words, "--runner", "process", "--json")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image of 40 x 50 pixels that states no spacing."""
    drawn = np.kron(np.random.default_rng(0).integers(0, 2, (4, 5)), np.ones((10, 10)))
    path = tmp_path / "own.png"
    Image.fromarray((drawn * 255).astype(np.uint8)).save(path)
    return path


def test_predict_resamples_to_the_declared_spacing_and_back(
    tmp_path: Path, image: Path, capsys: Capture
) -> None:
    folder = hand_in(tmp_path / "mine", echo(), **NATIVE, spacing=0.1)
    declare(folder, echo(), output={"kind": "probabilities"})
    refused = predict(capsys, folder, image, "--out", tmp_path / "masks")
    assert refused.status == 2 and "own.png state no spacing" in refused.err
    assert "with --spacing" in refused.err
    shown = predict(capsys, folder, image, "--out", tmp_path / "masks", "--spacing", "0.05,0.2")
    (made,) = json.loads(shown.out)["images"]
    assert made["spacing_mm"] == [0.05, 0.2]
    with Image.open(tmp_path / "masks" / "own.png") as mask, Image.open(image) as seen:
        found, wanted = np.asarray(mask), np.asarray(seen) > 127
    assert found.shape == wanted.shape and np.mean(found != wanted) < 0.05
    other = predict(capsys, folder, image, "--out", tmp_path / "masks", "--spacing", "0.1")
    assert other.status == 20 and "another --spacing" in other.err  # others' masks are there


@pytest.mark.parametrize("spacing", ["0", "-1", "x", "0.1,", "nan", "0.1,0.1,0.1"])
def test_no_spacing_that_no_pixel_has_is_taken(
    tmp_path: Path, image: Path, capsys: Capture, spacing: str
) -> None:
    folder = hand_in(tmp_path / "mine", **NATIVE, spacing=0.1)
    out = ("--out", tmp_path / "masks")
    assert predict(capsys, folder, image, *out, f"--spacing={spacing}").status == 2


def test_no_spacing_is_taken_that_has_no_effect(
    tmp_path: Path, image: Path, capsys: Capture
) -> None:
    folder = hand_in(tmp_path / "mine", **NATIVE)
    shown = predict(capsys, folder, image, "--out", tmp_path / "masks", "--spacing", "0.1")
    assert shown.status == 2 and "no effect" in shown.err

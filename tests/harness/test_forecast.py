"""The forecast of inference time in `busbench check`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator.documents.inference import REPEATED
from evaluator.files import canonical_json
from harness.evaluation.forecast import Forecast
from harness.sealing.bundle import WINDOWS
from tests.support.command_line import busbench_in
from tests.support.factories import hand_in
from tests.support.inference import blur
from tests.support.training_bundle import make_bundle

ONE = Forecast(
    latency_ms=100.0,
    cases=174,
    models=5,
    windows=None,
    limit_seconds=1800,
    cpus=2,
    device_name="a processor",
)


def test_no_forecast_leaves_out_a_model_a_pass_or_a_repeated_case() -> None:
    assert ONE.images == 5 * (1 + WINDOWS) * (174 + 3 * REPEATED)
    assert ONE.seconds == pytest.approx(ONE.images / 10)
    assert ONE.fits and not replace(ONE, latency_ms=2000).fits
    expected, assumed = replace(ONE, latency_ms=2000).lines
    assert "MORE THAN the limit of 1800 s" in expected and "a processor, 2 CPUs" in assumed
    assert f"{WINDOWS} transformed windows of each image, as many as is usual" in assumed
    assert replace(ONE, cases=4).images == 5 * (1 + WINDOWS) * (4 + 3 * 4)
    for windows in (0, 2):
        stated = replace(ONE, windows=windows)
        assert stated.images == 5 * (1 + windows) * (174 + 3 * REPEATED)
        assert f"{windows} transformed windows of each image, as the bundle says" in stated.lines[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two folds that states a limit of its own, and a submission for it."""
    root = tmp_path_factory.mktemp("forecast")
    bundle = make_bundle(root / "training", 12, folds=2)
    stated = json.loads((bundle / "bundle.json").read_text())
    stated |= {"test_cases": 40, "windows": 2, "infer": {"seconds": 77}}
    (bundle / "bundle.json").write_bytes(canonical_json(stated))
    hand_in(root / "mine", *map(blur, range(2)))
    return root


@pytest.mark.slow
def test_no_limit_but_the_one_in_force_is_forecast_against(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    words = ("check", "mine", "--bundle", "training", "--runner", "process")
    shown = busbench_in(capsys, *words, "--json")
    assert shown.status == 0, shown.err
    found = json.loads(shown.out)["forecast"]
    assert (found["cases"], found["models"], found["limit_seconds"]) == (40, 2, 77)
    assert 0 < found["latency_ms"] < 10_000 and found["device_name"] != ""
    product = 2 * (1 + 2) * (40 + 3 * REPEATED) * found["latency_ms"] / 1000
    assert found["seconds"] == pytest.approx(product, abs=0.001)
    (place / "challenge.yaml").write_text("limits: {infer: {seconds: 99}}")
    shown = busbench_in(capsys, *words)
    assert "the limit of 99 s" in shown.out.replace("\n", " ") and "Only the scoring" in shown.out


@pytest.mark.slow
def test_no_check_without_a_bundle_hides_that_nothing_was_forecast(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = busbench_in(capsys, "check", place / "mine", "--runner", "process")
    assert shown.status == 0 and "--bundle" in shown.out and "inference  " not in shown.out
    shown = busbench_in(capsys, "check", place / "mine", "--runner", "process", "--json")
    assert json.loads(shown.out)["forecast"] is None

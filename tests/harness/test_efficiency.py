"""Limits on what a model takes: enforced or refused, and shown without a number nobody measured."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from evaluator.documents.inference import EfficiencyLimits
from evaluator.errors import BusbenchError
from evaluator.inference.hardware import device_name
from harness.challenge import Challenge, Track, load_challenge
from harness.evaluation.evaluate import EvaluateSubmission
from harness.evaluation.validation import ValidateSubmission
from harness.execution import ExecutionEnvironment, run_job
from harness.ledger import append, sign, verify_ledger
from harness.ranking import make_board, to_csv, to_html, to_latex, to_markdown
from harness.sandbox.participant_error import ERROR_FILE
from harness.sealing.keys import Keys
from harness.website.edition import Edition
from harness.website.pages.site import render
from tests.support.factories import make_report
from tests.support.small_challenge import SmallChallenge, make_submission

HERE = device_name("cpu")
GPU = "NVIDIA H100 80GB HBM3"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    made = SmallChallenge.make(tmp_path_factory.mktemp("limited"))
    make_submission(made.root / "submission")
    return made


def limited(**limits: Any) -> Challenge:
    """A challenge whose tracks have these limits."""
    tracks = {
        name: Track(dataset=name, split_version="v1", efficiency=EfficiencyLimits(**limits))
        for name in ("phantom", "busbra")
    }
    return Challenge(tracks=tracks)


def job(small: SmallChallenge, challenge: Challenge, runs: Path) -> EvaluateSubmission:
    environment = ExecutionEnvironment("process", challenge, small.keys.path)
    return EvaluateSubmission.of(
        small.root / "submission", small.bundles, runs, environment=environment
    )


def refused(small: SmallChallenge, challenge: Challenge, runs: Path) -> BusbenchError:
    with pytest.raises(BusbenchError) as error:
        run_job(job(small, challenge, runs))
    assert not list(runs.rglob("report.dsse.json")) and not list(runs.rglob("scores.json"))
    return error.value


def test_a_model_over_a_limit_is_refused_with_limit_value_and_remedy(
    small: SmallChallenge, tmp_path: Path
) -> None:
    challenge = limited(device_name=HERE, host_memory_mb=1, seconds=1e6)
    error = refused(small, challenge, tmp_path)
    assert (error.code, error.stage, int(error.fault)) == ("limit-efficiency", "infer", 10)
    assert "host_memory_mb is" in error.message and "over the limit of 1" in error.message
    assert "smaller" in error.remedy
    (file,) = tmp_path.rglob(ERROR_FILE)
    stated = json.loads(file.read_text())
    assert stated["code"] == "limit-efficiency" and stated["last_line"] == ""
    again = refused(small, challenge, tmp_path)  # by the same measurement: a retry wins nothing
    assert again.message == error.message


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"device_name": GPU, "latency_ms": 1e6}, f"for {GPU}, and this is {HERE}"),
        ({"device_name": HERE, "gpu_memory_mb": 1e6}, "does not report gpu_memory_mb"),
    ],
)
def test_limits_that_this_device_cannot_check_are_refused_before_inference(
    small: SmallChallenge, tmp_path: Path, limits: dict[str, Any], says: str
) -> None:
    error = refused(small, limited(**limits), tmp_path)
    assert (error.code, int(error.fault)) == ("device-unavailable", 30)
    assert says in error.message and "efficiency" in error.remedy
    assert not list(tmp_path.rglob("*.bits"))


def test_limits_that_came_later_are_not_met_by_an_older_run(
    small: SmallChallenge, tmp_path: Path
) -> None:
    free, kept = job(small, Challenge(), tmp_path), limited(device_name=HERE, seconds=1e6)
    run_job(free)
    within = job(small, kept, tmp_path)
    assert within.folder != free.folder and not within.result.exists()
    run_job(within)
    measured = within.finished().report.runtime.measured
    assert measured.device_name == HERE and measured.gpu_memory_mb is None


def test_validation_on_a_participants_machine_is_held_to_no_limit(
    small: SmallChallenge, tmp_path: Path
) -> None:
    environment = ExecutionEnvironment("process", limited(device_name=GPU, seconds=1))
    made = ValidateSubmission.of(
        small.root / "submission", small.root / "bundles", tmp_path, environment=environment
    )
    assert made.settings.efficiency is None


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{seconds: 3}", "device_name"),
        ("{device_name: A}", "at least one of"),
        ("{device_name: A, seconds: 0}", "seconds"),
        ("{device_name: A, memory: 3}", "memory"),
    ],
)
def test_limits_without_effect_are_refused(tmp_path: Path, written: str, says: str) -> None:
    path = tmp_path / "challenge.yaml"
    track = "{dataset: busi, split_version: v1, efficiency: " + written + "}"
    path.write_text(f"tracks:\n  busi: {track}\n")
    with pytest.raises(BusbenchError, match=says):
        load_challenge(path)


# --- shown ---------------------------------------------------------------------------------------

ON_GPU = {"device_name": GPU, "gpu_memory_mb": 2040, "gpu_memory_of": "process", "energy_j": 310.5}


@pytest.fixture
def ledger(keys: Keys, tmp_path: Path) -> Path:
    """One result on a CPU, one on a GPU."""
    path = tmp_path / "ledger.jsonl"
    for method, measured in (("on-cpu", {}), ("on-gpu", ON_GPU)):
        append(path, sign(make_report(method=method, measured=measured), keys), keys)
    return path


def test_no_board_shows_a_result_over_a_limit_that_it_states(ledger: Path) -> None:
    verdict = verify_ledger(ledger)
    with pytest.raises(BusbenchError) as error:
        make_board(verdict, limited(device_name=GPU, energy_j=1000))
    assert error.value.code == "challenge-invalid"
    assert (
        f"Entry 1 of the ledger is not within the limits of track busbra: limits are for {GPU}"
        in error.value.message
    )
    assert make_board(verdict).tracks[0].efficiency is None


def test_a_value_nobody_measured_is_in_no_table_a_zero(ledger: Path) -> None:
    board = make_board(verify_ledger(ledger))
    on_cpu, on_gpu = csv.DictReader(io.StringIO(to_csv(board)))
    names = ("gpu_memory_mb", "gpu_memory_of", "energy_j")
    assert [on_cpu[name] for name in names] == ["", "", ""]
    assert [on_gpu[name] for name in names] == ["2040", "process", "310.5"]
    assert on_gpu["device_name"] == GPU and on_cpu["seconds"] == "20.0"
    for table in map(str.splitlines, (to_markdown(board), to_latex(board))):
        assert any("GPU memory [MiB]" in line and "Energy [J]" in line for line in table)
        (of_cpu,) = (line for line in table if "on-cpu" in line)
        (of_gpu,) = (line for line in table if "on-gpu" in line)
        assert of_cpu.count("–") + of_cpu.count("--") > of_gpu.count("–") + of_gpu.count("--")
        assert "2040" in of_gpu and "310" in of_gpu


def test_no_column_is_empty_where_no_device_tells(keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, sign(make_report(), keys), keys)
    board = make_board(verify_ledger(path))
    for text in (to_markdown(board), to_latex(board), to_html(board)):
        assert "Memory [MiB]" in text and "Inference [s]" in text
        assert "GPU memory" not in text and "Energy" not in text


def test_the_site_states_limits_and_what_each_model_takes(keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, sign(make_report(measured=ON_GPU), keys), keys)
    challenge = limited(device_name=GPU, gpu_memory_mb=4000, energy_j=1000)
    edition = Edition.of(verify_ledger(path), path.read_bytes(), challenge=challenge)
    pages = {name: page.decode() for name, page in render(edition).items() if "html" in name}
    (track,) = (page for name, page in pages.items() if name.startswith("tracks/"))
    assert f"<bdi>{GPU}</bdi>" in track and "gpu_memory_mb 4000, energy_j 1000" in track
    assert 'data-gpu_memory_mb="2040"' in track and "GPU memory [MiB]</span> 2040<" in track
    assert "<dt>Energy [J]</dt>" in pages["submissions/1.html"]

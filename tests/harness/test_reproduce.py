"""`busbench reproduce`: a recorded result from public files, without a key of the organiser's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge
from harness.cli import app
from harness.evaluation.reproduction import Files, Reproduction, files_needed, reproduce
from harness.evaluation.settings import EvaluateSettings
from harness.ledger import verify_ledger
from harness.ledger.report import Report
from harness.sandbox import ProcessRunner
from harness.sandbox.cached import Context
from harness.splits import FrozenSplit
from harness.store import CaseStore
from tests.support.factories import make_report
from tests.support.small_challenge import Evaluated, make_submission


@pytest.fixture(scope="module")
def public(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What anyone can have, by option: the split without its secret, the store, the submission."""
    root, here = evaluated.challenge.root, tmp_path_factory.mktemp("public")
    (submission,) = evaluated.runs.glob("*/submission")
    return {
        "--submission": Path(shutil.copytree(submission, here / "submission")),
        "--split": Path(shutil.copytree(root / "splits" / "v1", here / "split")),
        "--store": Path(shutil.copytree(root / "store", here / "store")),
    }


def run(evaluated: Evaluated, *more: object) -> Result:
    return CliRunner().invoke(app, ["reproduce", str(evaluated.ledger), "1", *map(str, more)])


def report_of(evaluated: Evaluated) -> Report:
    return verify_ledger(evaluated.ledger).reports[0].report


def again(report: Report, public: dict[str, Path], tolerance: float = 0.0) -> Reproduction:
    context = Context(ProcessRunner(), Challenge())
    files = Files(
        public["--submission"],
        FrozenSplit.open(public["--split"]),
        CaseStore.open(public["--store"]),
    )
    return reproduce(report, files, EvaluateSettings(), context=context, tolerance=tolerance)


def test_a_true_result_never_needs_the_organisers_keys(
    evaluated: Evaluated, public: dict[str, Path]
) -> None:
    options = [word for pair in public.items() for word in pair]
    result = run(evaluated, *options, "--runner", "process", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["differences"] == [] and found["compared"] > 100
    assert found["scores"]["labels_sha256"] == report_of(evaluated).scores.labels_sha256
    left_out = {one.split(":")[0] for one in found["left_out"]}
    assert left_out == {
        *("scores.invalid", "scores.predictions_sha256", "scores.groups.*.consistency*")
    }


def test_a_number_that_was_never_reached_is_named(
    evaluated: Evaluated, public: dict[str, Path]
) -> None:
    report = report_of(evaluated)
    scores = report.scores
    published = dict(scores.awesome_bus_2025.metrics)
    published["dice"] = published["dice"].model_copy(update={"mean": published["dice"].mean + 1e-3})
    changed = scores.awesome_bus_2025.model_copy(update={"metrics": published})
    forged = report.model_copy(
        update={
            "scores": scores.model_copy(update={"awesome_bus_2025": changed, "spaced": 1}),
            "models": (report.models[0].model_copy(update={"parameters": 1}),),
        }
    )
    named = [line.split(" was ")[0] for line in again(forged, public).differences]
    mean = "scores.awesome_bus_2025.metrics.dice.mean"
    assert named == ["models.0.parameters", mean, "scores.spaced"]
    tolerant = [line.split(" was ")[0] for line in again(forged, public, 2e-3).differences]
    assert tolerant == ["models.0.parameters", "scores.spaced"]  # no count is tolerated


def test_what_is_needed_is_never_left_to_guess(evaluated: Evaluated) -> None:
    made = report_of(evaluated).provenance
    result = run(evaluated, "--json")
    assert result.exit_code == 0
    needed = json.loads(result.stdout)["needed"]
    assert made.submission_sha256 in needed["--submission"]
    assert all(digest in needed["--submission"] for digest in made.models_sha256)
    assert made.split_digest in needed["--split"]
    assert "busbench prepare phantom" in needed["--store"]


def test_another_submission_never_passes_for_the_recorded_one(
    evaluated: Evaluated, public: dict[str, Path], tmp_path: Path
) -> None:
    other = make_submission(tmp_path / "other", method="another")
    with pytest.raises(BusbenchError) as refused:
        again(report_of(evaluated), {**public, "--submission": other})
    assert refused.value.code is Code.SUBMISSION_INVALID
    assert report_of(evaluated).provenance.submission_sha256 in f"{refused.value.remedy}"


def test_another_split_never_passes_for_the_recorded_one(
    evaluated: Evaluated, public: dict[str, Path]
) -> None:
    report = report_of(evaluated)
    made = report.provenance.model_copy(update={"split_digest": "0" * 64})
    with pytest.raises(BusbenchError) as refused:
        again(report.model_copy(update={"provenance": made}), public)
    assert refused.value.code is Code.SPLIT_INVALID


@pytest.mark.parametrize("left_out", ["--submission", "--split", "--store"])
def test_a_file_that_is_missing_is_named(
    evaluated: Evaluated, public: dict[str, Path], left_out: str
) -> None:
    options = [word for pair in public.items() if pair[0] != left_out for word in pair]
    result = run(evaluated, *options)
    assert isinstance(result.exception, BusbenchError) and result.exception.code is Code.USAGE
    assert f"{left_out} is missing" in result.exception.message


@pytest.mark.parametrize("option", [("--tolerance", "0.001"), ("--device", "cpu")])
def test_no_option_is_taken_without_effect(evaluated: Evaluated, option: tuple[str, str]) -> None:
    result = run(evaluated, *option)
    assert isinstance(result.exception, BusbenchError)
    assert f"{option[0]} would have no effect" in result.exception.message


def test_no_tolerance_is_so_large_that_anything_passes(
    evaluated: Evaluated, public: dict[str, Path]
) -> None:
    options = [word for pair in public.items() for word in pair]
    assert run(evaluated, *options, "--tolerance", "1").exit_code == 2


def test_an_entry_that_is_no_result_is_refused(evaluated: Evaluated) -> None:
    result = CliRunner().invoke(app, ["reproduce", str(evaluated.ledger), "99"])
    assert isinstance(result.exception, BusbenchError) and result.exception.code is Code.USAGE


def test_private_labels_are_never_promised() -> None:
    assert "organiser alone" in files_needed(make_report(labels="private"))["--store"]

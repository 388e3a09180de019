"""An evaluation that is done again is the same evaluation: same bytes, one entry in the ledger."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evaluator.predictions import RUNTIME
from harness.ledger import append, verify_ledger
from tests.support.small_challenge import Evaluated, make_submission


@pytest.fixture(scope="module")
def again(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The same submission, evaluated in another folder of runs."""
    root = tmp_path_factory.mktemp("again")
    done = evaluated.challenge.evaluate(make_submission(root / "submission"), root / "runs")
    ledger = root / "ledger.jsonl"
    shutil.copyfile(evaluated.ledger, ledger)
    appended = append(ledger, done.signed, evaluated.challenge.keys)
    assert not appended.new
    return Evaluated(evaluated.challenge, root / "runs", ledger, done.folder / "report.dsse.json")


def contents(report: Path) -> dict[str, bytes]:
    run = report.parent
    files = (
        path for stage in ("gate", "verdict", "infer", "score") for path in (run / stage).rglob("*")
    )
    return {str(path.relative_to(run)): path.read_bytes() for path in files if path.is_file()}


def test_no_byte_differs_but_those_of_the_run_time_facts(
    evaluated: Evaluated, again: Evaluated
) -> None:
    first, second = contents(evaluated.report), contents(again.report)
    assert evaluated.report.parent != again.report.parent and first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} <= {f"infer/{RUNTIME}"}
    assert {"infer/predictions.json", "score/scores.json", "score/cases.parquet"} <= first.keys()


def test_the_ledger_has_the_evaluation_once(evaluated: Evaluated, again: Evaluated) -> None:
    assert again.ledger.read_bytes() == evaluated.ledger.read_bytes()
    (entry,) = verify_ledger(again.ledger).reports
    assert entry.report.runtime.measured.latency_ms

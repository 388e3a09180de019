"""`busbench ledger` and `busbench keys rotate`: what an organiser does after a mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evaluator.errors import BusbenchError
from harness.cli import app
from harness.ledger import append, rotate, sign, verify_ledger
from harness.sealing.keys import Keys
from tests.support.factories import make_report


@pytest.fixture
def ledger(keys: Keys, tmp_path: Path) -> Path:
    path = tmp_path / "ledger.jsonl"
    for method in ("first", "second"):
        append(path, sign(make_report(method=method), keys), keys)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def refused(*arguments: object) -> BusbenchError:
    error = run(*arguments).exception
    assert isinstance(error, BusbenchError)
    return error


def test_a_report_is_retracted_by_number_or_digest_and_the_list_says_so(
    ledger: Path, keys: Keys
) -> None:
    listed = json.loads(run("ledger", "entries", ledger, "--json").stdout)
    digest = listed[0]["digest"]
    common = ("--reason", "Trained on test images.", "--keys", keys.path)
    for name in ("1", digest, digest[:12]):  # the first time new, then already done
        assert run("ledger", "retract", ledger, name, *common).exit_code == 0
    shown = run("ledger", "entries", ledger).stdout.splitlines()
    assert len(shown) == 3 and "of entry 1: Trained on test images." in shown[2]
    assert "first" not in run("table", ledger).stdout
    facts = json.loads(run("verify", ledger, "--json").stdout)
    assert (facts["reports"], facts["retractions"]) == (1, 1)


@pytest.mark.parametrize("name", ["3", "0", "f" * 64, "abc", ""])
def test_what_is_no_report_cannot_be_retracted(ledger: Path, keys: Keys, name: str) -> None:
    before = ledger.read_bytes()
    error = refused("ledger", "retract", ledger, name, "--reason", "x", "--keys", keys.path)
    assert error.code == "usage" and "ledger entries" in error.remedy
    assert ledger.read_bytes() == before


def test_a_reason_that_steers_a_terminal_is_refused(ledger: Path, keys: Keys) -> None:
    arguments = ("ledger", "retract", ledger, "1", "--keys", keys.path, "--reason")
    for reason in ("", "\x1b[2Jgone", "a\nb"):
        assert refused(*arguments, reason).code == "usage"


def test_nobody_else_retracts(ledger: Path, other_keys: Keys) -> None:
    arguments = ("ledger", "retract", ledger, "1", "--reason", "x", "--keys", other_keys.path)
    assert "another key" in refused(*arguments).message


def test_after_a_rotation_the_new_folder_signs_and_still_opens_what_was_sealed(
    ledger: Path, keys: Keys, tmp_path: Path
) -> None:
    new = tmp_path / "keys-2"
    command = ("keys", "rotate", ledger, "--keys", keys.path, "--out", new)
    assert run(*command).exit_code == 0
    before = ledger.read_bytes()
    assert "Already done" in run(*command).stdout  # a rotation that was stopped resumes
    assert ledger.read_bytes() == before
    opened = Keys.open(new)
    assert opened.images.identity() == keys.images.identity()
    assert opened.labels.identity() == keys.labels.identity()
    assert opened.report.keyid != keys.report.keyid
    append(ledger, sign(make_report(method="third"), opened), opened)
    for folder in (keys.path, new):
        assert run("verify", ledger, "--key", folder / "report.pub").exit_code == 0
    error = refused("ledger", "retract", ledger, "1", "--reason", "x", "--keys", keys.path)
    assert "handed over" in error.message and "signs it now" in error.remedy


def test_a_rotation_killed_before_it_reached_the_ledger_resumes(
    ledger: Path, keys: Keys, tmp_path: Path
) -> None:
    made = keys.renewed(tmp_path / "keys-2")
    arguments = ("keys", "rotate", ledger, "--keys", keys.path, "--out", made.path)
    assert run(*arguments).exit_code == 0
    assert verify_ledger(ledger).key == made.report.keyid


def test_the_keys_of_another_challenge_are_not_rotated_to(
    ledger: Path, keys: Keys, other_keys: Keys, tmp_path: Path
) -> None:
    before = ledger.read_bytes()
    error = refused("keys", "rotate", ledger, "--keys", keys.path, "--out", other_keys.path)
    assert error.code == "output-exists"
    assert ledger.read_bytes() == before


def test_a_stolen_old_key_cannot_fork_the_ledger_for_who_knows_the_new_one(
    ledger: Path, keys: Keys, other_keys: Keys, tmp_path: Path
) -> None:
    fork = Path(shutil.copy(ledger, tmp_path / "fork.jsonl"))
    rotate(ledger, keys, other_keys)
    append(fork, sign(make_report(method="forged"), keys), keys)
    assert run("verify", ledger, "--key", other_keys.path / "report.pub").exit_code == 0
    assert "another key" in refused("verify", fork, "--key", other_keys.path / "report.pub").message

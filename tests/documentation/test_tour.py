"""The tour's printed output: no line that a verb prints is missing from it, and none is made up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.sealing.keys import Keys
from tests.support import ROOT
from tests.support.command_line import busbench_in
from tests.support.simulated import ENTRANTS, simulate

TOUR = (ROOT / "docs" / "tour.md").read_text("utf-8")


def printed(command: str) -> list[str]:
    """The lines that the tour shows below a command."""
    (found,) = re.findall(
        rf"^\$ {command}[^\n]*\n(.*?)(?=\n\n|^```)", TOUR, re.MULTILINE | re.DOTALL
    )
    return found.splitlines()


def test_no_fact_of_a_verified_ledger_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = Keys.new(tmp_path / "keys")
    simulate(keys, tmp_path / "ledger.jsonl", ENTRANTS[-3:], cases=15)
    key = tmp_path / "keys" / "report.pub"
    shown = busbench_in(capsys, "verify", str(tmp_path / "ledger.jsonl"), "--key", str(key)).out
    facts = [line.split()[0] for line in printed("busbench verify")]
    assert [line.split()[0] for line in shown.splitlines()] == facts[:-2]
    assert facts[-2:] == ["splits", "labels"]  # of --splits, which the tour gives

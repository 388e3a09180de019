"""The tour: its commands run, and no line that a verb prints is missing from it or made up."""

from __future__ import annotations

import re
from pathlib import Path

import docker
import pytest

from harness.sealing.keys import Keys
from tests.support import ROOT
from tests.support.command_line import busbench_in
from tests.support.page_commands import BLOCK, commands_of, differs, run_shown
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


@pytest.mark.docker
@pytest.mark.slow
def test_no_command_of_the_tour_fails_or_prints_anything_else(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    story = TOUR.partition("\n## The demo's output\n")[0]
    wrong = {}
    shown = [each for kind, _, text in BLOCK.findall(story) for each in commands_of(text)]
    assert len(shown) >= 11
    for each in shown:
        wrong[each.command] = differs(each.output, run_shown(each.command, tmp_path))
    assert {command: line for command, line in wrong.items() if line} == {}
    assert (tmp_path / "site" / "index.html").exists()


def test_no_shown_line_passes_where_another_was_printed() -> None:
    printed = ("a 3 cases  0.51", "b on 2026-11-28", "", "c", "d")
    assert differs(("a 3 cases 0.62", "b on 2026-01-01", "c", "d"), printed) is None
    assert differs(("a 3 cases 0.62", "...", "d"), printed) is None
    assert differs(("...", "c", "d"), printed) is None
    assert differs(("a 3 cases 0.62", "..."), printed) is None
    wrong = [("a 4 cases 0.51", "..."), ("...", "c"), ("...", "e", "..."), ("a 3 cases 0.51", "c")]
    assert all(differs(shown, printed) for shown in wrong)


def test_the_error_of_the_tour_is_what_check_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-submission").mkdir()
    found = busbench_in(capsys, "check", "my-submission")
    assert printed("busbench check my-submission")[0] in found.err.splitlines()
    assert found.status == 10

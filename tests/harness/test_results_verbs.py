"""The verbs that read a ledger: what they print, and how they fail."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from harness.cli.app import out
from harness.ledger import append, sign, verify_ledger, write_report
from harness.sealing.keys import Keys
from tests.support.command_line import Busbench, busbench_in
from tests.support.factories import make_report


@pytest.fixture(scope="module")
def ledger(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "ledger.jsonl"
    for report in (make_report(), make_report("[red]b[/]\u202e", "unet", dice=0.7, hd95=30)):
        append(path, sign(report, keys), keys)
    return path


@pytest.fixture
def busbench(capsys: pytest.CaptureFixture[str]) -> Busbench:
    """The command line."""
    return partial(busbench_in, capsys)


def test_verify_accepts_the_ledger_and_says_whose_key_it_believed(
    busbench: Busbench, ledger: Path, public_key: Path, keys: Keys
) -> None:
    unpinned, pinned = busbench("verify", ledger), busbench("verify", ledger, "--key", public_key)
    assert (unpinned.status, pinned.status) == (0, 0)
    assert keys.report.keyid in unpinned.out
    assert "compare it" in unpinned.out
    assert "as you named it" in pinned.out


def test_verify_refuses_a_changed_byte_with_one_sentence(
    busbench: Busbench, ledger: Path, tmp_path: Path
) -> None:
    data = bytearray(ledger.read_bytes())
    data[data.index(b"payload") + 400] ^= 1
    (tmp_path / "ledger.jsonl").write_bytes(data)
    result = busbench("verify", tmp_path / "ledger.jsonl")
    assert result.status == 20
    assert "ledger-invalid" in result.err
    assert "Traceback" not in result.err


def test_verify_finds_an_entry_noted_earlier(busbench: Busbench, ledger: Path) -> None:
    head = verify_ledger(ledger).head
    assert busbench("verify", ledger, "--holds", head).status == 0
    assert busbench("verify", ledger, "--holds", "0" * 64).status == 20


def test_verify_of_a_lone_report_needs_the_key(
    busbench: Busbench, keys: Keys, other_keys: Keys, public_key: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    write_report(sign(make_report(), keys), path)
    assert busbench("verify", path).status == 2
    found = busbench("verify", path, "--key", public_key, "--json")
    assert json.loads(found.out)["method"] == "cmunext"
    assert busbench("verify", path, "--key", other_keys.path / "report.pub").status == 20


def test_rank_prints_names_as_text_and_json_for_scripts(busbench: Busbench, ledger: Path) -> None:
    shown = busbench("rank", ledger).out
    assert "[red]b[/]" in shown
    assert "\u202e" not in shown
    rows = json.loads(busbench("rank", ledger, "--json").out)["tracks"][0]["rows"]
    assert [row["rank"] for row in rows] == [1, 2]


def test_no_letter_beside_a_method_is_without_its_meaning(
    busbench: Busbench, keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for number, (gap, image) in enumerate([(0.02, None), (0.021, "sha256:abc"), (0.3, None)]):
        report = make_report(method=f"m{number}", gap=gap, trained_here=image)
        append(ledger, sign(report, keys), keys)
    shown = busbench("rank", ledger).out
    used = set(re.findall(r"[a-z]", " ".join(re.findall(r"m\d \[([a-z,]+)\]", shown))))
    assert used == set(re.findall(r"^\[([a-z])\] ", shown, re.M)) and len(used) == 3
    assert re.search(r"^\[a\] gap unlike the others: ", shown, re.M)
    assert re.search(r"m2 \[a,", shown) and not re.search(r"m[01] \[a", shown)


def test_no_silence_passes_for_no_external_data(
    busbench: Busbench, keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for number, data in enumerate((None, "none", "BUSI")):
        notes = {"external_data": data}
        report = make_report(method=f"m{number}", dice=0.9 - number / 10, notes=notes)
        append(ledger, sign(report, keys), keys)
    shown = busbench("rank", ledger, "--no-external-data", "--json")
    assert "1 of 3 state that they saw no external data, 1 do not state it" in shown.err
    (row,) = json.loads(shown.out)["tracks"][0]["rows"]
    assert (row["method"], row["rank"]) == ("m1", 2)
    assert len(json.loads(busbench("rank", ledger, "--json").out)["tracks"][0]["rows"]) == 3


def test_no_row_of_the_top_has_another_rank_or_lacks_those_it_ties_with(
    busbench: Busbench, keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for number, dice in enumerate((0.9, 0.8, 0.8, 0.7)):
        append(ledger, sign(make_report(method=f"m{number}", dice=dice), keys), keys)
    shown = busbench("rank", ledger, "--top", "2", "--json")
    rows = json.loads(shown.out)["tracks"][0]["rows"]
    assert [(row["method"], row["rank"]) for row in rows] == [("m0", 1), ("m1", 2), ("m2", 2)]
    assert "3 of 4 are shown" in shown.err
    written = busbench("table", ledger, "--top", "1", "--format", "csv").out.splitlines()
    assert len(written) == 2 and "m0" in written[1]
    assert "are shown" not in busbench("table", ledger, "--top", "4").err


@pytest.mark.parametrize("format_", ["markdown", "latex", "csv"])
def test_table_writes_each_format(busbench: Busbench, ledger: Path, format_: str) -> None:
    result = busbench("table", ledger, "--format", format_)
    assert result.status == 0
    assert "cmunext" in result.out


def test_a_missing_ledger_is_one_sentence_in_json_too(busbench: Busbench, tmp_path: Path) -> None:
    result = busbench("rank", tmp_path / "nowhere.jsonl", "--json")
    assert result.status == 2
    assert json.loads(result.out)["error"]["code"] == "usage"


def numbers_of(shown: str) -> set[str]:
    """The numbers of a table's rows."""
    rows = [line for line in shown.splitlines() if "method-" in line]
    return set(re.findall(r"\d+\.\d+", " ".join(rows)))


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200, None])
def test_no_number_is_cropped(
    busbench: Busbench,
    keys: Keys,
    tmp_path: Path,
    width: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cut 103.43 is a 10: another number, which nobody could tell from a true one."""
    pytest.importorskip("evaluator.metrics")
    from tests.support.runs import Organiser  # noqa: PLC0415

    monkeypatch.setattr(out, "width", 10_000)
    organiser = Organiser(tmp_path, keys)
    organiser.submit("method-a", 0.8)
    organiser.submit("method-b", 0.03)
    whole = busbench("rank", organiser.ledger, "--cases", organiser.runs, "--keys", keys.path).out
    monkeypatch.setattr(out, "width", width or 10_000)
    shown = busbench("rank", organiser.ledger).out
    assert numbers_of(shown) <= numbers_of(whole)
    heads = {
        "Rank",
        "Method",
        "Dice ↑",
        "HD95",
        "Group",
        "Ranks",
        "Team",
        "IoU ↑",
        "GMACs",
        "Latency",
    }
    missing = {head for head in heads if head not in shown.partition("Left out")[0]}
    assert all(head in shown for head in heads)  # those that do not fit are named
    assert missing == set() if width is None else "Rank" not in missing
    if width is not None and width >= 80:
        assert not missing & {"Dice ↑", "HD95", "Group", "Ranks"}


def test_no_pipe_is_as_narrow_as_a_terminal(ledger: Path) -> None:
    command = [sys.executable, "-m", "harness", "rank", str(ledger)]
    environment = os.environ | {"COLUMNS": "80"}  # as a shell may export it, of its own terminal
    shown = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "Latency" in shown.stdout and "Left out" not in shown.stdout


def test_rank_computes_rankings_and_says_what_it_did(
    busbench: Busbench, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("evaluator.metrics")
    from tests.support.runs import Organiser  # noqa: PLC0415

    monkeypatch.setattr(out, "width", 160)
    organiser = Organiser(tmp_path, keys)
    organiser.submit("strong", 0.8)
    organiser.submit("weak", 0.3)
    assert "no ranking" in busbench("rank", organiser.ledger).out.replace("\n", " ")
    asked = ("rank", organiser.ledger, "--cases", organiser.runs, "--keys", keys.path)
    first, second = busbench(*asked), busbench(*asked)
    assert (first.status, second.status) == (0, 0)
    assert "busbra v1, test part: 2 submissions, recorded." in first.err
    assert "busbra v1, test part: 2 submissions, unchanged." in second.err
    assert first.out == second.out == busbench("rank", organiser.ledger).out
    assert "1–1" in first.out and "Group" in first.out
    monkeypatch.setattr(out, "width", 80)
    narrow = busbench("rank", organiser.ledger).out
    assert all(head in narrow for head in ("Rank", "Method", "Group", "Dice ↑", "HD95"))
    assert max(map(len, narrow.splitlines())) <= 80
    (track,) = json.loads(busbench("rank", organiser.ledger, "--json").out)["tracks"]
    assert track["order"] == "mean-rank"
    assert track["rows"][0]["ranked"]["resamples_first"] == 2000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cases", "."], "--keys"),
        (["--keys", "."], "--cases"),
        (["--track", "busbra"], "--cases"),
    ],
)
def test_rank_wants_cases_and_keys_together(
    busbench: Busbench, ledger: Path, options: list[str], said: str
) -> None:
    result = busbench("rank", ledger, *options)
    assert result.status == 2
    assert said in result.err


def test_rank_names_a_folder_that_holds_no_runs_and_a_track_that_is_not_there(
    busbench: Busbench, ledger: Path, keys: Keys, tmp_path: Path
) -> None:
    asked = ("rank", ledger, "--keys", keys.path, "--cases")
    (tmp_path / "empty").mkdir()
    result = busbench(*asked, tmp_path / "empty")
    assert result.status == 20 and "cases-invalid" in result.err
    result = busbench(*asked, tmp_path, "--track", "moon")
    assert result.status == 2 and "moon" in result.err

"""Hostile words on every way to the command line's terminal: shown, and nothing more.

The verbs run in this process, whole. A test has all words of the family at once where that costs
time: what one of them breaks, breaks it.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from harness.cli import main
from harness.cli.progress import bars
from harness.cli.run_view import run_view
from harness.ledger import append, sign, verify_ledger
from harness.sandbox.log import LogReader, write_log
from harness.sealing.keys import Keys
from tests.support.command_line import Busbench, Shown, busbench_in
from tests.support.factories import make_report, submission_document
from tests.support.hostile import BYTES, TITLES, WORDS, steers
from tests.support.small_challenge import Evaluated, make_submission


@pytest.fixture
def busbench(capfd: pytest.CaptureFixture[str]) -> Busbench:
    """The command line; what it shows must steer nothing, however the verb ends."""

    def run(*arguments: object) -> Shown:
        shown = busbench_in(capfd, *arguments)
        assert steers(shown.out) == [] and steers(shown.err) == []
        assert shown.status in (0, 2, 10, 20, 30)
        return shown

    return run


@pytest.fixture(scope="module")
def ledger(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger in which every title is hostile."""
    path = tmp_path_factory.mktemp("hostile") / "ledger.jsonl"
    for title in TITLES.values():
        append(path, sign(make_report(title, title), keys), keys)
    return path


def challenge(folder: Path, title: str) -> Path:
    """A declaration whose track has a title."""
    declared = {"busbra": {"dataset": "busbra", "split_version": "v1", "title": title}}
    (folder / "challenge.yaml").write_text(json.dumps({"tracks": declared}))
    return folder / "challenge.yaml"


READERS: list[Sequence[str]] = [
    ("rank",),
    ("rank", "--json"),
    *(("table", "--format", kind) for kind in ("markdown", "latex", "csv", "html")),
    ("ledger", "entries"),
    ("ledger", "entries", "--json"),
    ("verify",),
]


@pytest.mark.parametrize("verb", READERS, ids=" ".join)
def test_no_title_steers_a_verb_that_reads_the_ledger(
    busbench: Busbench, ledger: Path, verb: Sequence[str]
) -> None:
    name, *more = verb
    words = ["entries", ledger, *more[1:]] if name == "ledger" else [ledger, *more]
    shown = busbench(name, *words)
    assert shown.status == 0
    assert re.fullmatch(r"(challenge +\S+\n)?", shown.err)  # the one in force, where it is read
    if "--json" in verb:  # where nothing may be lost
        stated = json.dumps(json.loads(shown.out), ensure_ascii=False)
        assert TITLES["bidi overrides"] in stated


def test_no_cell_of_the_csv_is_a_formula(busbench: Busbench, ledger: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(busbench("table", ledger, "--format", "csv").out)))
    assert len(rows) == len(TITLES)
    for cell in (cell for row in rows for cell in row.values()):
        assert not cell.startswith(("=", "+", "@", "＝", "＋", "－", "＠"))


@pytest.mark.parametrize("title", ["[/b]", TITLES["a link of markup"], TITLES["bidi overrides"]])
def test_no_title_of_a_track_is_markup(
    busbench: Busbench, keys: Keys, tmp_path: Path, title: str
) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, sign(make_report("[bold]", "[/b]"), keys), keys)
    declared = ("--challenge", challenge(tmp_path, title))
    for verb in ("rank", "table"):
        assert busbench(verb, path, *declared).status == 0
    assert "[/b]" in busbench("rank", path, *declared).out
    retracted = busbench(*("ledger", "retract", path, "1", "--reason", title, "--keys", keys.path))
    assert retracted.status == 0 and "[/b] by [bold]" in retracted.out


@pytest.mark.parametrize("what", WORDS)
def test_no_key_of_a_submissions_yaml_steers(busbench: Busbench, tmp_path: Path, what: str) -> None:
    document = submission_document({"all.onnx": b"x"})
    for place in (document, document["input"]):
        text = yaml.safe_dump({**document, WORDS[what]: 1} if place is document else document)
        (tmp_path / "submission.yaml").write_text(text)
        shown = busbench("check", tmp_path, "--runner", "process")
        assert shown.status == 10
        (tmp_path / "submission.yaml").write_text(f"{json.dumps(WORDS[what])}: [")
        assert busbench("check", tmp_path, "--runner", "process", "--json").status == 10


@pytest.mark.parametrize("what", [*WORDS, *BYTES])
def test_no_value_and_no_name_of_a_folder_steers(
    busbench: Busbench, tmp_path: Path, what: str
) -> None:
    word = (WORDS | BYTES)[what]
    for field in ("schema", "team", "track", "opset"):
        document = {**submission_document({"all.onnx": b"x"}), field: word}
        (tmp_path / "submission.yaml").write_text(json.dumps(document))
        assert busbench("check", tmp_path, "--runner", "process").status == 10
    folder = tmp_path / (
        word.replace("/", "_")
        .encode("utf-8", "surrogateescape")[:200]
        .decode("utf-8", "surrogateescape")
    )
    folder.mkdir(exist_ok=True)
    assert busbench("check", folder, "--runner", "process").status == 10
    assert busbench("rank", folder / "nothing").status == 2
    assert busbench(word.replace("-", "_")).status == 2


def test_no_line_of_a_log_steers_the_bars(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What an image prints as its progress; and its whole log, when somebody looks at it."""
    words = [*WORDS.values(), *BYTES.values(), "[/x]", "[link=x]y"]
    log = [f"progress 1/2 {word}\n".encode("utf-8", "surrogateescape") for word in words]
    with bars() as progress:
        LogReader(progress).follow(log)
    with run_view() as view:
        LogReader(view.progress).follow(log)
    shown = capfd.readouterr().err
    assert steers(shown) == [] and "[/x]" in shown
    write_log(tmp_path / "log", b"".join(log))
    assert steers((tmp_path / "log").read_text("utf-8")) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("--json",)], ids=["lines", "json"])
def test_no_bad_submission_of_a_batch_holds_up_another(
    busbench: Busbench, evaluated: Evaluated, tmp_path: Path, how: Sequence[str]
) -> None:
    good = make_submission(tmp_path / "good", team="[/b]", method="[link=x]\u202ey")
    bad = [tmp_path / f"bad-{number}" for number in range(4)]
    for folder in bad:
        folder.mkdir()
    (bad[1] / "submission.yaml").write_bytes(b"\xff[/b]: \x1b")
    (bad[2] / "submission.yaml").symlink_to("/etc/passwd")
    document = submission_document({"all.onnx": b"no model"}) | {"track": "phantom"}
    (bad[3] / "submission.yaml").write_text(json.dumps(document))
    (bad[3] / "all.onnx").write_bytes(b"no model")
    small, ledger = evaluated.challenge, tmp_path / "ledger.jsonl"
    where = ("--bundle", small.root / "bundles", "--keys", small.keys.path, "--ledger", ledger)
    shown = busbench(
        *("evaluate", bad[0], bad[1], good, bad[2], bad[3], *where, "--out", tmp_path / "runs"),
        *("--runner", "process", *how),
    )
    assert shown.status == 10 and shown.err.count("✗") == 4
    (recorded,) = verify_ledger(ledger).reports
    assert recorded.report.team == "[/b]" and datetime.fromisoformat(recorded.time)
    if how:
        stated = json.loads(shown.out)
        assert [report["team"] for report in stated["reports"]] == ["[/b]"]
        codes = sorted(failure["code"] for failure in stated["failed"])
        assert codes == ["gate-refused", *["submission-invalid"] * 3]
    else:
        assert "[link=x]y by [/b] on phantom (complete)" in " ".join(shown.out.split())
        assert re.search(r"stages +gate [\d.]+ s, verdict [\d.]+ s, infer ", shown.out)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("good",), ("bad",), ("good", "bad"), ("bad", "bad-2")])
def test_no_number_of_submissions_changes_the_shape_of_json(
    busbench: Busbench, evaluated: Evaluated, tmp_path: Path, names: Sequence[str]
) -> None:
    for name in names:
        (tmp_path / name).mkdir()
        if name == "good":  # kept from an earlier run, so nothing is run
            make_submission(tmp_path / name)
    small = evaluated.challenge
    where = ("--bundle", small.root / "bundles", "--keys", small.keys.path)
    shown = busbench(
        *("evaluate", *(tmp_path / name for name in names), *where, "--out", evaluated.runs),
        *("--runner", "process", "--json"),
    )
    stated = json.loads(shown.out)
    assert sorted(stated) == ["failed", "reports", "stage_seconds"]
    assert (len(stated["reports"]), len(stated["failed"])) == (
        names.count("good"),
        len(names) - names.count("good"),
    )
    stages = ["gate", "infer", "score", "verdict"]  # of an earlier run, too
    assert [sorted(each) for each in stated["stage_seconds"]] == [stages] * names.count("good")


def test_no_letter_that_the_terminal_lacks_ends_a_verb(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
        patch.setattr(sys, "argv", ["busbench", "rank", str(ledger)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code and b"Team" in raw.getvalue() and b"?" in raw.getvalue()


@pytest.mark.parametrize("what", [*WORDS, *BYTES])
def test_no_exception_that_nobody_foresaw_shows_its_traceback(
    busbench: Busbench, ledger: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    def fails(_: Path) -> None:
        raise RuntimeError((WORDS | BYTES)[what])

    monkeypatch.setattr("harness.cli.results.verify_ledger", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shown = busbench("rank", ledger)
    assert shown.status == 30 and "[stage-crashed]" in shown.err
    (kept,) = tmp_path.glob("*.txt")
    assert str(kept) in shown.err and "RuntimeError" in kept.read_text("utf-8")
    assert steers(kept.read_text("utf-8").replace("Traceback", "")) == []

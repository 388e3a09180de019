"""docs/verify.md: a reviewer without BUSBench finds every lie, with the page's own commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluator.documents.base import write
from evaluator.files import canonical_json, sha256_bytes
from harness.ledger import (
    Ranking,
    Replacement,
    Rescored,
    Rescoring,
    Retraction,
    append,
    rotate,
    sign,
    verify_ledger,
    write_checkpoint,
)
from harness.ledger.entries import Position, entry_line
from harness.ledger.report import Report
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit, reveal
from harness.store import CaseStore
from tests.support import absent
from tests.support.factories import make_report
from tests.support.samples import SECRET
from tests.support.small_challenge import Evaluated

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verify.md"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def public_tools() -> None:
    missing = [tool for tool in ("bash", "jq", "openssl") if shutil.which(tool) is None]
    if missing:
        absent(f"{', '.join(missing)} is not installed, so docs/verify.md cannot be tried")


@pytest.fixture(scope="module")
def published(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an organiser publishes, with an entry of every kind in the ledger."""
    folder = tmp_path_factory.mktemp("published")
    challenge, root = evaluated.challenge, evaluated.challenge.root
    ledger = Path(shutil.copy(evaluated.ledger, folder / "ledger.jsonl"))
    keys = challenge.keys
    wrong = append(ledger, sign(make_report(team="Müller"), keys), keys).entry.digest
    append(ledger, Retraction(entry=wrong, reason="A wrong split — “v0”."), keys)
    append(ledger, Ranking(body={"mean": 1e-07, "rows": [0.1, 1e22, -0.0]}), keys)
    new = keys.renewed(folder / "keys-2")
    rotate(ledger, keys, new)
    later = append(ledger, sign(make_report(method="later"), new), new).entry.digest
    scored = sign(make_report(method="later", dice=0.625, metric_profile="native@2"), new)
    after = append(ledger, Rescored(replaces=later, envelope=scored), new).entry.digest
    pair = Replacement(before=later, after=after, means={"dice": (0.8, 0.625)}, ranks=(2, 1))
    append(ledger, Rescoring(reason="Corrected.", replaced=(pair,)), new)
    write_checkpoint(ledger, new, folder / "checkpoints").rename(folder / "witness.checkpoint")
    shutil.copy(keys.path / "report.pub", folder)
    shutil.copytree(root / "splits" / "v1", folder / "split")
    split = FrozenSplit.open(folder / "split")
    write(reveal(split, CaseStore.open(root / "store"), SECRET), folder / "reveal.json")
    return folder


def follow(folder: Path) -> subprocess.CompletedProcess[str]:
    """Do what the page says in `folder`: save its programs, run its commands in order."""
    commands = []
    for kind, text in BLOCK.findall(PAGE.read_text("utf-8")):
        if kind == "python":
            name = re.match(r'"""python3 (\S+)', text)
            assert name is not None
            (folder / name[1]).write_text(text, "utf-8")
        else:
            commands.append(text)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_page_accepts_what_is_true(published: Path, evaluated: Evaluated) -> None:
    done = follow(published)
    assert done.returncode == 0, done.stderr
    verdict = verify_ledger(published / "ledger.jsonl")
    assert evaluated.challenge.keys.report.keyid in done.stdout
    assert "Signature Verified Successfully" in done.stdout
    assert f"{verdict.entries} entries are valid; head {verdict.head}" in done.stdout
    assert f"all {verdict.entries} entries that were seen are there" in done.stdout
    assert "phantom: bright by team: Dice" in done.stdout and "later by" in done.stdout
    assert "Müller: Dice" not in done.stdout  # retracted
    assert done.stdout.count("later by") == 1 and "Dice 0.625" in done.stdout  # scored anew
    assert "Dice [0.8,0.625], rank [2,1]" in done.stdout
    assert "the lock is unchanged" in done.stdout and "commitments match" in done.stdout


def test_the_page_needs_no_busbench() -> None:
    blocks = "".join(text for _, text in BLOCK.findall(PAGE.read_text("utf-8")))
    assert not re.search(r"\b(busbench |harness|import evaluator|securesystemslib)\b", blocks)


def _change(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        assert old in data
        (folder / name).write_bytes(data.replace(old, new, 1))

    return change


def _drop_line(number: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
        del lines[number]
        (folder / "ledger.jsonl").write_bytes(b"".join(lines))

    return change


def _forge_entry(folder: Path) -> None:
    """Change a reason, and repair the digest as who lacks the key can."""
    lines = (folder / "ledger.jsonl").read_bytes().splitlines()
    entry = json.loads(lines[3])
    entry["reason"] = "No reason at all."
    body = {name: entry[name] for name in entry.keys() - {"digest", "signature"}}
    entry["digest"] = sha256_bytes(canonical_json(body))
    (folder / "ledger.jsonl").write_bytes(b"\n".join([*lines[:3], canonical_json(entry)]) + b"\n")


def _date_ahead(folder: Path) -> None:
    """An entry by a clock that is years ahead, with a checkpoint of its own."""
    keys, ledger = Keys.open(folder / "keys-2"), folder / "ledger.jsonl"
    append(ledger, Ranking(body={"later": 1}), keys, clock=lambda: "2999-01-01T00:00:00Z")
    write_checkpoint(ledger, keys, folder / "checkpoints").rename(folder / "witness.checkpoint")


def _another_key(folder: Path) -> None:
    shutil.copy(folder / "keys-2" / "report.pub", folder / "report.pub")


def _repair_lock(folder: Path) -> None:
    """Change the lock and its digest together: then no report names it any more."""
    lock = json.loads((folder / "split" / "lock.json").read_bytes())
    lock["seed"] += 1
    del lock["digest"]
    lock["digest"] = sha256_bytes(canonical_json(lock))
    (folder / "split" / "lock.json").write_text(json.dumps(lock))


def _replaced(folder: Path, before: str, report: Report) -> None:
    """Write a rescoring that the organiser's own key signed, and `append` would refuse."""
    keys, ledger = Keys.open(folder / "keys-2"), folder / "ledger.jsonl"

    def write(body: Rescored | Rescoring) -> str:
        last = json.loads(ledger.read_bytes().splitlines()[-1])
        place = Position(last["number"] + 1, last["digest"], last["recorded"])
        line = entry_line(body, place, keys)
        with ledger.open("ab") as handle:
            handle.write(line)
        return str(json.loads(line)["digest"])

    after = write(Rescored(replaces=before, envelope=sign(report, keys)))
    pair = Replacement(before=before, after=after, means={}, ranks=(1, 1))
    write(Rescoring(reason="So it is.", replaced=(pair,)))


def _digest_of(folder: Path, kind: str) -> str:
    entries = map(json.loads, (folder / "ledger.jsonl").read_bytes().splitlines())
    return [str(entry["digest"]) for entry in entries if entry["kind"] == kind][-1]


def _of_another(folder: Path) -> None:
    before = _digest_of(folder, "rescored")
    _replaced(folder, before, make_report(method="another", metric_profile="native@2"))


def _trained_now(folder: Path) -> None:
    before = _digest_of(folder, "rescored")
    _replaced(folder, before, make_report(method="later", trained_here="sha256:1"))


LIES: dict[str, Callable[[Path], object]] = {
    "a changed digit": _change("ledger.jsonl", b'"number":3', b'"number":4'),
    "a changed report": _change("ledger.jsonl", b'"payload":"ey', b'"payload":"eY'),
    "a dropped entry": _drop_line(2),
    "a dropped rotation": _drop_line(5),
    "an entry forged with a digest that fits": _forge_entry,
    "another key than the report's": _another_key,
    "a dropped last entry": _drop_line(-1),
    "a time to come": _date_ahead,
    "a checkpoint of a longer ledger": _change("witness.checkpoint", b"\n9\n", b"\n10\n"),
    "a checkpoint of another head": _change("witness.checkpoint", b"head ", b"head 0"),
    "an unsigned checkpoint": _change("witness.checkpoint", b" busbench.org/", b" busbench,org/ x"),
    "a changed lock": _change("split/lock.json", b'"seed": 42', b'"seed": 43'),
    "a lock that was repaired": _repair_lock,
    "a changed split": _change("split/split.csv", b",train,", b",test,"),
    "a changed label": _change("reveal.json", b'"class": "benign"', b'"class": "malignant"'),
    "a number of a rescoring": _change("ledger.jsonl", b"[0.8,0.625]", b"[0.8,0.925]"),
    "a rescoring of another result": _of_another,
    "a rescoring that makes a result trained here": _trained_now,
    "a torn tail": lambda folder: (folder / "ledger.jsonl").open("ab").write(b'{"di'),
}


@pytest.mark.parametrize("lie", LIES)
def test_the_page_finds_a_lie(published: Path, tmp_path: Path, lie: str) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "published"))
    LIES[lie](folder)
    assert follow(folder).returncode != 0

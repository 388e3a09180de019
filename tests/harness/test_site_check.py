"""The page that checks the ledger in a browser refuses whatever `busbench verify` refuses."""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from playwright.sync_api import Browser, expect
from securesystemslib.dsse import Envelope

from evaluator.errors import BusbenchError
from evaluator.files import sha256_bytes
from harness.challenge import Challenge
from harness.ledger import (
    Ranking,
    Replacement,
    Rescored,
    Rescoring,
    Retraction,
    append,
    rotate,
    sign,
    verify_bytes,
)
from harness.ledger.entries import ENTRY_TYPE, Position, entry_line, rotation_line
from harness.ledger.report import Report
from harness.sealing.keys import Keys
from harness.website import publish
from harness.website.pages.feeds import ledger_format
from tests.support import ROOT, absent
from tests.support.factories import TIME, make_report

SCRIPT = ROOT / "harness" / "website" / "templates" / "ledger.js"
RUNNER = ROOT / "tests" / "support" / "check_ledger.js"
PATIENCE = 120_000  # milliseconds: a machine may be very busy


def check(ledgers: Sequence[bytes], texts: Sequence[str] = (), **more: str) -> dict[str, Any]:
    """What the site's script says of each, under Node."""
    node = shutil.which("node")
    if node is None:
        absent("node is not installed, so the script that checks a ledger is not tested")
    cases = [{"ledger": base64.b64encode(data).decode(), **more} for data in ledgers]
    asked = {"check": str(SCRIPT), "format": ledger_format(), "cases": cases, "texts": texts}
    done = subprocess.run(
        [node, str(RUNNER)], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Keys:
    return keys.renewed(tmp_path_factory.mktemp("second") / "keys")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory, keys: Keys, second: Keys) -> bytes:
    """An entry of every kind, and numbers and letters that languages spell apart."""
    path = tmp_path_factory.mktemp("check") / "ledger.jsonl"
    wrong = append(path, sign(make_report(team="Müller \U0001f989", folds=1), keys), keys)
    append(path, Retraction(entry=wrong.entry.digest, reason="A wrong split — “v0”."), keys)
    numbers = {"\ufb33": [0.1, 1e22, -0.0, 1e-7, 5e-324], "\U0001f600": 1.5e300}
    append(path, Ranking(body={"mean": 1e-07, "rows": numbers}), keys)
    rotate(path, keys, second)
    old = append(path, sign(make_report(method="later", folds=1), second), second).entry.digest
    new = _anew(path, old, make_report(method="later", folds=1, dice=0.7), second)
    append(path, _rescoring(old, new), second)
    return path.read_bytes()


def _anew(path: Path, replaces: str, report: Report, keys: Keys) -> str:
    body = Rescored(replaces=replaces, envelope=sign(report, keys))
    return append(path, body, keys).entry.digest


def _rescoring(before: str, after: str) -> Rescoring:
    one = Replacement(before=before, after=after, means={"dice": (0.8, 0.7)}, ranks=(1, 1))
    return Rescoring(reason="Corrected.", replaced=(one,))


def test_a_whole_ledger_holds_with_the_same_numbers(ledger: bytes, second: Keys) -> None:
    verdict, key = verify_bytes(ledger, "here"), (second.path / "report.pub").read_text()
    (found,) = check([ledger], key=key, holds=verdict.head)["found"]
    assert found["step"] is None, found
    assert (found["entries"], found["head"]) == (verdict.entries, verdict.head)
    assert (found["reports"], found["keys"]) == (len(verdict.reports), list(verdict.keys))
    assert found["counts"] == {
        **dict.fromkeys(("bytes", "chain", "digests", "signatures"), 8),
        **{"reports": 3, "retractions": 1, "rescorings": 1, "rotations": 1, "key": 1, "head": 1},
    }


CHANGES: dict[str, Callable[[bytes, int], bytes]] = {
    "a bit": lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
    "the case": lambda data, at: data[:at] + bytes([data[at] ^ 32]) + data[at + 1 :],
    "dropped": lambda data, at: data[:at] + data[at + 1 :],
    "a blank before": lambda data, at: data[:at] + b" " + data[at:],
    "cut": lambda data, at: data[:at],
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_changed_byte_passes(ledger: bytes, change: str) -> None:
    ends = {n + 1 for n, byte in enumerate(ledger) if byte == 10} if change == "cut" else set()
    places = sorted({*random.Random(change).sample(range(1, len(ledger)), 60)} - ends)
    changed = [CHANGES[change](ledger, at) for at in places]
    found = check(changed)["found"]
    assert [at for at, one in zip(places, found, strict=True) if one["step"] is None] == []


def _forged(ledger: bytes, keys: Keys, second: Keys) -> Iterator[tuple[str, bytes]]:
    """Ledgers of a liar, who has the keys, and where each lie is found."""
    lines = ledger.splitlines(keepends=True)
    whole = verify_bytes(ledger, "here")
    after = Position(whole.entries, whole.head, whole.time)
    yield "chain", b"".join(lines[:2] + lines[3:])
    yield "chain", b"".join([lines[0], lines[2], lines[1], *lines[3:]])
    yield "bytes", ledger + b"\n"
    yield "bytes", b"\xef\xbb\xbf" + ledger
    yield "bytes", ledger.replace(b"\n", b"\r\n")
    yield "bytes", b""
    yield "signatures", ledger + entry_line(Ranking(body={}), after, keys)  # the key of before
    gone = json.loads(lines[2])["entry"]
    yield "retractions", ledger + entry_line(Retraction(entry=gone, reason="Again."), after, second)
    newest, stale = json.loads(lines[-2])["digest"], json.loads(lines[-3])["digest"]
    signed = sign(make_report(method="another", folds=1), second)
    for replaces in (newest, stale):  # of another method, and of what no longer counts
        body = Rescored(replaces=replaces, envelope=signed)
        yield "rescorings", ledger + entry_line(body, after, second)
    yield "rescorings", ledger + entry_line(_rescoring(stale, newest), after, second)
    body = Rescored(
        replaces=newest, envelope=sign(make_report(method="later", folds=1, dice=0.6), second)
    )
    made = entry_line(body, after, second)
    (digest, time) = (json.loads(made)[name] for name in ("digest", "recorded"))
    then = Position(whole.entries + 1, digest, time)
    for left in (newest, digest, stale):  # replaced here, not counting yet, not counting any more
        both = _rescoring(newest, digest).model_copy(update={"left": (left,)})
        yield "rescorings", ledger + made + entry_line(both, then, second)
    earlier = Position(whole.entries, whole.head, "2020-01-01T00:00:00Z")
    yield "chain", ledger + entry_line(Ranking(body={}), earlier, second)
    ahead = Position(whole.entries + 1, whole.head, TIME)
    yield "chain", ledger + entry_line(Ranking(body={}), ahead, second)
    yield "rotations", ledger + rotation_line(keys, after, second)  # back to a key given up
    yield "rotations", b"".join(lines[:4]) + _taken_over(lines[4], keys)


def _taken_over(rotation: bytes, keys: Keys) -> bytes:
    """A rotation to a key that never countersigned it, by the key before."""
    fields = json.loads(rotation)
    fields["countersignature"]["sig"] = fields["signature"]["sig"]
    body = rfc8785.dumps({k: v for k, v in fields.items() if k not in {"digest", "signature"}})
    envelope = Envelope(body, ENTRY_TYPE, {})
    envelope.sign(keys.signer())
    (signature,) = envelope.to_dict()["signatures"]
    return rfc8785.dumps({**fields, "digest": sha256_bytes(body), "signature": signature}) + b"\n"


def test_no_lie_of_who_has_the_key_passes_and_each_is_named(
    ledger: bytes, keys: Keys, second: Keys
) -> None:
    lies = list(_forged(ledger, keys, second))
    found = check([data for _, data in lies])["found"]
    assert [one["step"] for one in found] == [step for step, _ in lies]
    for _, data in lies:
        with pytest.raises(BusbenchError):
            verify_bytes(data, "here")


def test_no_report_that_a_rescoring_leaves_is_taken_for_a_lie(keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    stays, old = (
        append(path, sign(make_report(method=name, folds=1), keys), keys).entry.digest
        for name in ("stays", "old")
    )
    new = _anew(path, old, make_report(method="old", folds=1, dice=0.7), keys)
    append(path, _rescoring(old, new).model_copy(update={"left": (stays,)}), keys)
    assert verify_bytes(path.read_bytes(), "here").left == {stays}
    assert check([path.read_bytes()])["found"][0]["step"] is None


def test_no_other_key_and_no_missing_head_passes(ledger: bytes, other_keys: Keys) -> None:
    stranger = (other_keys.path / "report.pub").read_text()
    assert check([ledger], key=stranger)["found"][0]["step"] == "key"
    assert check([ledger], holds="0" * 64)["found"][0]["step"] == "head"


def test_the_first_of_two_faults_is_the_one_named(ledger: bytes) -> None:
    lines = ledger.splitlines(keepends=True)
    broken = json.loads(lines[1])
    broken["signature"]["sig"] = json.loads(lines[2])["signature"]["sig"]
    lines[1] = rfc8785.dumps(broken) + b"\n"
    (found,) = check([b"".join(lines[:3]) + lines[1]])["found"]
    assert (found["step"], found["message"]) == (
        "signatures",
        "Entry 1: its signature is not valid",
    )


VALUES: list[Any] = [
    *(0.0, -0.0, 1e-7, 1e21, 1.5e300, 5e-324, 333333333.3333333, 9007199254740991),
    *("\u007f\u2028\x00\x1f", '€$\u000f\nA\'B"\\"/', {"\U0001f600": 1, "\ufb33": 2.0, "": []}),
    {
        "10": None,
        "1": True,
        "\r": "Carriage Return",
        "\u0080": "Control",
        "ö": False,
        "</script>": 1,
    },
]


def test_no_value_is_written_otherwise_than_by_rfc8785() -> None:
    expected = [rfc8785.dumps(value).decode() for value in VALUES]
    assert check([], [json.dumps(value) for value in VALUES])["written"] == expected
    refused = check([], ["9007199254740993", "1e400", '"\\ud800"'])["written"]
    assert refused == [None, None, None]


def published(root: Path, ledger: bytes) -> Path:
    (root / "ledger.jsonl").write_bytes(ledger)
    publish(root / "ledger.jsonl", root / "site", challenge=Challenge())
    return root / "site"


@pytest.mark.browser
def test_the_page_checks_itself_from_a_file_and_names_a_changed_copy(
    browser: Browser, ledger: bytes, tmp_path: Path
) -> None:
    site = published(tmp_path, ledger)
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / "check.html").as_uri())
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("The ledger holds", timeout=PATIENCE)
    expect(verdict).to_contain_text(verify_bytes(ledger, "here").head)
    assert page.locator("#steps li").all_inner_texts()[0].endswith("✓ 8 checked.")
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(CHANGES["a bit"](ledger, len(ledger) // 2))
    page.set_input_files("#file", copy)
    expect(verdict).to_contain_text("does not hold", timeout=PATIENCE)
    assert "✗ fails" in page.locator("#steps").inner_text()
    assert said == [] and all(url.startswith("file:") for url in asked)
    context.close()


@pytest.mark.browser
def test_a_browser_without_ed25519_says_so(browser: Browser, ledger: bytes, tmp_path: Path) -> None:
    site = published(tmp_path, ledger)
    context = browser.new_context()
    context.add_init_script("crypto.subtle.importKey = () => Promise.reject(new Error('no'))")
    page = context.new_page()
    page.goto((site / "check.html").as_uri())
    expect(page.locator("#verdict")).to_contain_text(
        "This browser cannot check ed25519 signatures", timeout=PATIENCE
    )
    context.close()


def test_a_ledger_too_long_for_the_page_is_not_embedded(
    ledger: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.website.pages.site.EMBEDDED", len(ledger))
    assert '<template id="ledger">' in (published(tmp_path, ledger) / "check.html").read_text()
    monkeypatch.setattr("harness.website.pages.site.EMBEDDED", len(ledger) - 1)
    assert '<template id="ledger">' not in (published(tmp_path, ledger) / "check.html").read_text()
    assert list(islice((tmp_path / "site").glob("ledger.js*"), 2))

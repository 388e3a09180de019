"""Hostile words in a pull request: neither the public logs nor the comment repeat what steers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ci import after_merge, check_pr, score_pr
from ci.comment import MAX_COMMENT, refusal, result
from ci.public import Desk
from ci.state import State
from evaluator.errors import BusbenchError, Code, Fault
from harness.ledger import verify_ledger
from harness.quotas import Feedback
from harness.quotas.recording import RefusedError
from harness.sandbox.participant_error import participant_error
from tests.support.forge import Forge, git, hand_in, make_forge, manifest
from tests.support.hostile import BYTES, TITLES, WORDS, outside_of_spans, steers

pytestmark = pytest.mark.slow
PRIVATE = re.compile(r"errors/\S+\.txt")


@dataclass(frozen=True)
class Said:
    status: int
    log: str
    comment: str


@dataclass(frozen=True)
class Pulls:
    """Pull requests to one base, and the scripts that read them."""

    forge: Forge
    work: Path
    capture: pytest.CaptureFixture[str]

    def open(self, edit: Callable[[Path], object]) -> tuple[str, str]:
        git(self.work, "checkout", "-q", "-f", "-B", "mine", "origin/main")
        git(self.work, "clean", "-fdq")
        edit(self.work)
        return self.forge.propose(self.work)

    def common(self) -> list[str]:
        declared = self.forge.root / "challenge.yaml"
        declared.write_text("tracks: {phantom: {dataset: phantom, split_version: v1}}\n")
        return ["--repository", str(self.forge.clone), "--challenge", str(declared)]

    def check(self, head: str, reference: str, author: str = "alice") -> Said:
        git(self.forge.clone, "fetch", "-q", "origin", reference)
        words = ["--base", "main", "--head", head, "--author", author]
        return self._said(check_pr.main([*self.common(), *words]), None)

    def score(self, head: str, reference: str, author: str = "alice") -> Said:
        out = self.forge.root / "out"
        state = self.forge.machine.state.path
        words = ["--base", "main", "--head", head, "--reference", reference, "--author", author]
        words += ["--state", str(state), "--out", str(out), "--runner", "process"]
        words += ["--pad-minutes", "0"]
        return self._said(score_pr.main([*self.common(), *words]), out / "comment.md")

    def _said(self, status: int, comment: Path | None) -> Said:
        log = "".join(self.capture.readouterr())
        text = "" if comment is None else comment.read_text("utf-8")
        assert steers(log) == [] and steers(text) == []
        assert str(self.forge.root) not in log + text
        assert len(text) <= MAX_COMMENT + 100
        outside = outside_of_spans(text)
        assert not re.search(
            r"@|://|<|&#|\]\(|^#(?!## (?:Not scored| by  on )$)", outside, re.MULTILINE
        )
        return Said(status, log, text)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    root = tmp_path_factory.mktemp("hostile")
    forge = make_forge(root, State(root / "state"))
    forge.checkout("alice")
    return forge


@pytest.fixture
def pulls(base: Forge, capfd: pytest.CaptureFixture[str]) -> Pulls:
    return Pulls(base, base.root / "alice", capfd)


def writes(data: bytes) -> Callable[[Path], object]:
    return lambda work: hand_in(work).write_bytes(data)


def names(word: str) -> Callable[[Path], object]:
    def edit(work: Path) -> None:
        hand_in(work)
        name = (
            word.replace("/", "_")
            .encode("utf-8", "surrogateescape")[:200]
            .decode("utf-8", "surrogateescape")
        )
        (work / "submissions" / "alpha" / "bright" / f"{name}.onnx").write_bytes(b"x")

    return edit


@pytest.mark.parametrize("what", WORDS)
def test_no_key_and_no_value_of_a_manifest_steers(pulls: Pulls, what: str) -> None:
    word = WORDS[what]
    for document in (
        {**manifest(), word: 1},
        manifest(track=word),
        manifest(onnx=None, image={"reference": "x@sha256:" + "0" * 64, "command": [word]}),
    ):
        said = pulls.score(*pulls.open(writes(yaml.safe_dump(document).encode())))
        assert said.status == 10 and "### Not scored" in said.comment


@pytest.mark.parametrize("what", [*WORDS, *BYTES])
def test_no_name_of_a_file_steers(pulls: Pulls, what: str) -> None:
    pull = pulls.open(names((WORDS | BYTES)[what]))
    for said in (pulls.check(*pull), pulls.score(*pull)):
        assert said.status == 10 and "pull-request-refused" in said.log


def test_no_author_and_no_reference_steers(pulls: Pulls) -> None:
    pull = pulls.open(hand_in)
    for word in WORDS.values():
        assert pulls.check(*pull, author=word).status == 10
        assert pulls.score(pull[0], f"refs/{word}").status == 10


def _huge(digits: int) -> bytes:
    text = yaml.safe_dump(manifest()).replace("opset: 17", "opset: 17\n  parameters: 0x")
    return text.replace("0x", "0x" + "F" * digits).encode()


UNREADABLE = {
    **{f"a number of {digits} digits": _huge(digits) for digits in (14, 300, 5000, 60_000)},
    **{
        f"a tag of YAML, {tag}": f"schema: {tag}\n".encode()
        for tag in (
            *('!!int ""', "!!int x", "!!float x", "!!bool x", "!!timestamp x", "!!map [a]"),
            *("!!set [a]", "!!omap {a: b}", "!!pairs x", "!!binary ä", "!!merge x", "!!x y"),
            *("2001-99-99", "1:99:99:99", "? [a]\n: b", "{[a]: b}", "!!null x", "-.inf", ".nan"),
        )
    },
    "a long key": b"a" * 60_000 + b": 1\n",
    "a key of many parts": yaml.safe_dump({"onnx": {"@team " * 9000: 1}}).encode(),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_no_manifest_ends_in_anything_but_a_refusal(pulls: Pulls, what: str) -> None:
    said = pulls.score(*pulls.open(writes(UNREADABLE[what])))
    assert said.status == 10 and "submission-invalid" in said.log


def test_no_word_of_the_organisers_leaves_but_the_name_of_the_file_that_has_it(
    pulls: Pulls,
) -> None:
    """The state has neither keys nor bundles: the organiser's fault, with their paths in it."""
    said = pulls.score(*pulls.open(hand_in))
    assert said.status == 20 and "This is the organiser's fault" in said.comment
    (kept,) = PRIVATE.findall(said.log)
    whole = (pulls.forge.machine.state.path / kept).read_text("utf-8")
    assert str(pulls.forge.machine.state.path) in whole and "Traceback" in whole
    assert (pulls.forge.machine.state.path / kept).stat().st_mode & 0o077 == 0


def test_no_error_that_nobody_foresaw_leaves_a_traceback(
    pulls: Pulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(f"pixel 37 of {pulls.forge.root}/case_017.png\x1b[2J")

    monkeypatch.setattr("ci.score_pr.score", fails)
    said = pulls.score(*pulls.open(hand_in))
    assert said.status == 30 and "stage-crashed" in said.comment
    assert "pixel" not in said.log + said.comment
    (kept,) = PRIVATE.findall(said.log)
    assert "pixel 37" in (pulls.forge.machine.state.path / kept).read_text("utf-8")


def test_no_bad_merge_holds_up_another(
    organiser: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Three were merged: one was never scored, one cannot be read, one is good."""
    state = State(Path(shutil.copytree(organiser, tmp_path / "state")))
    forge = make_forge(tmp_path, state)
    pulls = Pulls(forge, forge.checkout("alice"), capfd)
    before = forge.base
    good = pulls.open(lambda work: hand_in(work, method="good"))
    assert pulls.score(*good).status == 0
    for edit in (
        lambda work: hand_in(work, method="a-unscored"),
        lambda work: hand_in(work, method="b-broken").write_bytes(b'schema: !!int ""\n'),
        None,
    ):
        forge.merge(good[1] if edit is None else pulls.open(edit)[1])
    words = ["--before", before, "--after", forge.base, "--state", str(state.path)]
    said = pulls._said(after_merge.main([*pulls.common(), *words, "--runner", "process"]), None)
    assert said.status == 10
    for reported in (
        "a-unscored.yaml: [pull-request-refused]",
        "b-broken.yaml: [submission-invalid]",
    ):
        assert reported in said.log
    assert "good.yaml recorded as entry 1" in said.log and "the site is published" in said.log
    assert [entry.report.method for entry in verify_ledger(state.ledger).reports] == ["good"]


@pytest.mark.parametrize("what", TITLES)
def test_no_title_is_markup_in_a_comment(what: str) -> None:
    feedback = feedback_of(TITLES[what], scores={TITLES[what]: {"dice": 0.5}})
    text = result(feedback, "f" * 40)
    assert steers(text) == [] and len(re.findall(r"^#", text, re.MULTILINE)) == 1
    outside = outside_of_spans(text.replace(r"\`", ""))
    assert "@" not in outside and "://" not in outside and not re.search(r"(?<!\\)<", outside)
    row = text.splitlines()[4]
    assert len(re.findall(r"(?<!\\)\|", row.replace(r"\\", ""))) == 3


def test_no_comment_is_longer_than_a_forge_takes() -> None:
    scores = {f"scanner {number} {'x' * 60}": {"dice": 0.5} for number in range(5000)}
    text = result(feedback_of("team", scores=scores), "f" * 40)
    assert len(text) < 65_536 and text.endswith("too long.\n")


def feedback_of(title: str, **changes: object) -> Feedback:
    fields = {
        "team": title,
        "method": title,
        "track": "phantom",
        "phase": "now",
        "submission_sha256": "0" * 64,
        "status": "complete",
        "counted": True,
        "left_today": None,
        "left": None,
        "cases_open": False,
    }
    return Feedback.model_validate(fields | changes)


@pytest.mark.parametrize("stage", ["infer", "score"])
@pytest.mark.parametrize("code", [code for code in Code if code.fault is Fault.SUBMISSION])
def test_no_word_of_a_stage_that_saw_hidden_data_is_public(stage: str, code: Code) -> None:
    """Whatever a taken-over stage says: for each code there is one text."""
    texts = set()
    for said in ("It gives 37.3 to 37.3", "case_017 is malignant", *WORDS.values()):
        error = BusbenchError(code, said, f"Look at {said}.", stage=stage, last_line=said)
        reported = feedback_of("team", status="failed", error=participant_error(error).document())
        for raised in (error, RefusedError(error, reported)):
            texts.add(refusal(raised, reported, "f" * 40) + Desk().reported(raised))
    assert len(texts) == 1 and "37" not in json.dumps(sorted(texts)).replace("f" * 40, "")

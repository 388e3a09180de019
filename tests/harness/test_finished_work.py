"""Finished work: the same settings resume it, and other settings refuse it by name.

A verb that finds its output and skips the work must not print success for settings that the output
was not made with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from harness.cli import app
from tests.support.small_challenge import SmallChallenge, make_submission

pytestmark = pytest.mark.slow


def busbench(*words: str | Path) -> BusbenchError | None:
    """Run a verb; the error that it ended with."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is None:
        return None
    assert isinstance(done.exception, BusbenchError), (words, done.output, done.exception)
    return done.exception


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class Verb:
    """A verb that skips finished work; `{w}` is the folder of inputs, `{o}` where it writes."""

    words: str
    others: dict[str, str]  # setting as the error names it -> words to add, or FROM=>TO
    code: str = "output-exists"


VERBS = {
    "prepare": Verb(
        "prepare generic --raw {w}/raw --out {o}/store",
        {
            "--strict": "--strict",
            "--skip-refused": "--skip-refused",
            "--raw": "{w}/raw=>{w}/raw-2",
            "dataset": "generic=>phantom",
        },
    ),
    "prepare, phantoms": Verb(
        "prepare phantom --patients 3 --seed 5 --raw {o}/raw --out {o}/store",
        {"--patients": "--patients 3=>--patients 4", "--seed": "--seed 5=>--seed 6"},
    ),
    "audit": Verb(
        "audit {w}/store --out {o}/audit",
        {"--near": "--no-near", "store": "{w}/store=>{w}/store-2"},
    ),
    "freeze": Verb(
        "freeze {w}/store --out {o}/v1 --secret {w}/secret",
        {
            "seed": "--seed 7",
            "folds": "--folds 3",
            "policy": "--policy image",
            "test_fraction": "--test-fraction 0.4",
            "version": "--version v9",
            "commitments": "{w}/secret=>{w}/secret-2",
            "store_digest": "{w}/store =>{w}/store-2 ",
        },
        code="split-frozen",
    ),
    "seal": Verb(
        "seal {w}/store --split {w}/splits/v1 --keys {w}/keys --out {o}/bundles",
        {
            "--private-labels": "--private-labels",
            "--consistency": "--no-consistency",
            "--keys": "{w}/keys=>{w}/keys-2",
            "--split": "splits/v1=>splits/v2",
            "--track": "--track other",
        },
    ),
    "export-split": Verb(
        "export-split {w}/store --split {w}/splits/v1 --format nnunet --out {o}/out",
        {
            "--split": "splits/v1=>splits/v2",
            "--format": "nnunet=>names",
            "--dataset-id": "--dataset-id 7",
            "--with-test-labels": "--with-test-labels --challenge {w}/challenge.yaml",
        },
    ),
}
# What never resumes, and what is derived anew each time, so that there is nothing to skip.
NEVER_RESUMES = ("keys new {o}/keys", "new-submission {o}/mine")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    challenge = SmallChallenge.make(root)
    for name, patients in (("raw", 12), ("raw-2", 3)):
        made = ("prepare", "phantom", "--patients", str(patients), "--raw", root / name)
        assert busbench(*made, "--out", root / f"from-{name}") is None
    (root / "from-raw").rename(root / "store-2")
    for name, digit in (("secret", "a"), ("secret-2", "b")):
        (root / name).write_text(digit * 64 + "\n")
    assert busbench("keys", "new", root / "keys-2") is None
    tracks = "{phantom: {dataset: phantom, split_version: v1}}"
    (root / "challenge.yaml").write_text(f"schema: busbench/challenge/v1\ntracks: {tracks}\n")
    store = challenge.root / "store"
    assert busbench("freeze", store, "--out", root / "splits" / "v2", "--seed", "3") is None
    return root


def split_words(text: str, inputs: Path, out: Path) -> list[str]:
    return [word.format(w=inputs, o=out) for word in text.split()]


CASES = [(name, setting) for name, verb in VERBS.items() for setting in verb.others]


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_other_settings_never_read_that_all_is_done(
    name: str, setting: str, inputs: Path, tmp_path: Path
) -> None:
    verb = VERBS[name]
    assert busbench(*split_words(verb.words, inputs, tmp_path)) is None
    before = contents(tmp_path)
    old, arrow, new = verb.others[setting].partition("=>")
    other = verb.words.replace(old, new) if arrow else f"{verb.words} {old}"
    assert other != verb.words
    error = busbench(*split_words(other, inputs, tmp_path))
    assert error is not None and error.code == verb.code
    assert setting in error.message
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", VERBS)
def test_the_same_settings_find_the_work_done(name: str, inputs: Path, tmp_path: Path) -> None:
    words = split_words(VERBS[name].words, inputs, tmp_path)
    assert busbench(*words) is None
    before = contents(tmp_path)
    assert busbench(*words) is None
    assert contents(tmp_path) == before


@pytest.mark.parametrize("words", NEVER_RESUMES)
def test_what_never_resumes_refuses_what_is_there(words: str, tmp_path: Path) -> None:
    assert busbench(*split_words(words, tmp_path, tmp_path)) is None
    before = contents(tmp_path)
    error = busbench(*split_words(words, tmp_path, tmp_path))
    assert error is not None and error.code == "output-exists"
    assert contents(tmp_path) == before


def test_keys_are_never_rotated_to_those_of_another_challenge(inputs: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    submission = make_submission(tmp_path / "submission")
    words = ("--bundle", inputs / "bundles", "--keys", inputs / "keys", "--runner", "process")
    first = ("evaluate", submission, *words, "--out", tmp_path / "runs", "--ledger", ledger)
    challenge = tmp_path / "challenge.yaml"
    challenge.write_text("schema: busbench/challenge/v1\n")
    assert busbench(*first, "--challenge", challenge) is None
    before = ledger.read_bytes()
    error = busbench(
        "keys", "rotate", ledger, "--keys", inputs / "keys", "--out", inputs / "keys-2"
    )
    assert error is not None and error.code == "output-exists"
    assert ledger.read_bytes() == before
    rotate = ("keys", "rotate", ledger, "--keys", inputs / "keys", "--out", tmp_path / "new")
    assert busbench(*rotate) is None
    after = ledger.read_bytes()
    assert busbench(*rotate) is None and ledger.read_bytes() == after

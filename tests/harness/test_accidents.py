"""Accidents of an organiser's day: each is one sentence, and no secret is lost or shown."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from evaluator.progress import quiet
from harness import demo
from harness.audit import audit
from harness.challenge import Challenge
from harness.cli import app
from harness.evaluation import known_good
from harness.evaluation.stages import pass_gate
from harness.execution import ExecutionEnvironment
from harness.execution.inputs import cache_folder
from harness.sandbox.cached import Context
from harness.sandbox.docker_runner import connect
from harness.sandbox.process_runner import ProcessRunner
from harness.sealing.bundle import Recipients, seal
from harness.sealing.keys import SECRETS, Keys
from harness.splits import FrozenSplit, freeze, make_secret
from harness.store import CaseStore, write_store
from harness.training.train import TrainSettings
from tests.support.samples import samples
from tests.support.small_challenge import Evaluated


def code_of(*words: str | Path) -> str | None:
    """The code of a command's error; None where it did well."""
    error = CliRunner().invoke(app, [*map(str, words)]).exception
    assert error is None or isinstance(error, BusbenchError), error
    return error.code if error else None


# --- the machine -----------------------------------------------------------------------------


def test_no_user_outside_the_engines_group_is_sent_to_start_an_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(socket.socket, "connect", denied)
    with pytest.raises(BusbenchError) as refused:
        connect()
    assert refused.value.code == "engine-unavailable" and "denies permission" in refused.value.shown
    assert "docker" in refused.value.remedy and "log in again" in refused.value.remedy


def test_no_home_folder_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(BusbenchError, match="no home folder") as refused:
        cache_folder()
    assert "XDG_CACHE_HOME" in refused.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_no_interruption_prints_a_traceback(tmp_path: Path, seconds: float) -> None:
    words = ["prepare", "phantom", "--raw", "raw", "--out", "store", "--patients", "500"]
    start = (
        f"from harness.cli.main import main; import sys; sys.argv[1:] = {words}; print(1); main()"
    )
    command = [sys.executable, "-u", "-c", start]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(seconds)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in said and said.splitlines()[-1].startswith("Interrupted.")


# --- secrets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "splits/deep"])
@pytest.mark.parametrize("ignored", [None, "", "other", "*.secret\n", "*.key"])
def test_no_secret_is_added_to_git(tmp_path: Path, place: str, ignored: str | None) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    if ignored is not None:
        (folder / ".gitignore").write_text(ignored)
    Keys.new(folder / "keys").renewed(folder / "keys-2")
    (folder / "here").mkdir()
    Keys.new(folder / "here")  # an empty folder that was there
    for name in ("v1.secret", "another name"):
        make_secret(folder / name)
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "add", "-A"], check=True)
    listed = subprocess.run([*git, "ls-files"], check=True, capture_output=True, text=True).stdout
    assert not [name for name in listed.splitlines() if name.endswith((".key", "v1.secret"))]
    assert "another name" not in listed and listed.count("report.pub") == 3
    assert (ignored or "") in (folder / ".gitignore").read_text()
    assert make_secret(folder / "v1.secret") == make_secret(folder / "v1.secret")


def test_no_secret_outside_of_git_brings_a_file_along(tmp_path: Path) -> None:
    make_secret(tmp_path / "v1.secret")
    assert [path.name for path in tmp_path.iterdir()] == ["v1.secret"]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    root = tmp_path_factory.mktemp("accidents")
    store = write_store(root / "store", "phantom", samples(6))
    secret = make_secret(root / "v1.secret")
    freeze(store, audit(store, near=False), root / "v1", version="v1", folds=2, secret=secret)
    Keys.new(root / "keys")
    return store


def test_no_umask_keeps_the_demos_release_from_the_container_that_reads_it(
    frozen: CaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Path] = []

    def trained(_: Path, __: Path, settings: TrainSettings, *, context: Context) -> None:
        assert context.keys is None
        folder = settings.inputs["published"]
        paths = [folder, *folder.rglob("*")]
        closed.extend(each for each in paths if not each.stat().st_mode & 0o004)

    monkeypatch.setattr(demo, "train", trained)
    root = frozen.path.parent
    store = CaseStore.open(shutil.copytree(frozen.path, tmp_path / "store"))
    for path in [store.path, *store.path.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    keys, split = Keys.open(root / "keys"), FrozenSplit.open(root / "v1")
    recipients = Recipients(keys.images.recipient, keys.labels.recipient)
    bundles = seal(store, split, recipients, out=tmp_path / "bundles")
    environment = ExecutionEnvironment("process", Challenge(), root / "keys")
    track = demo._SealedTrack(demo.Demo(tmp_path / "demo"), store, bundles, environment)
    (cheat,) = (method for method in demo.METHODS if method.cheats)
    demo._learn_by_heart(cheat, track, progress=quiet)
    assert closed == []


TAKEN = [
    *("v1.secret", "v1/lock.json", "v1/split.csv", "v1/audit.json", "store/store.json"),
    *("store/cases.parquet", *(f"keys/{name}" for name in SECRETS)),
]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("taken", TAKEN)
def test_no_revelation_is_written_over_another_file(
    frozen: CaseStore, taken: str, named: bool
) -> None:
    root = frozen.path.parent
    before = (root / taken).read_bytes()
    command = ("splits", "reveal", root / "v1", "--store", frozen.path, "--out", root / taken)
    secret = ("--secret", root / "v1.secret") if named else ()
    assert code_of(*command, *secret) == "output-exists"
    assert (root / taken).read_bytes() == before


def test_a_revelation_may_be_written_again(frozen: CaseStore, tmp_path: Path) -> None:
    split = frozen.path.parent / "v1"
    for _ in range(2):
        to = ("--out", tmp_path / "reveal.json")
        assert code_of("splits", "reveal", split, "--store", frozen.path, *to) is None


@pytest.mark.parametrize("name", ["submission.yaml", "all.onnx", "new.log"])
def test_no_log_is_written_into_the_submission(evaluated: Evaluated, name: str) -> None:
    folder = evaluated.challenge.root / "submission"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert code_of("check", folder, "--runner", "process", "--log", folder / name) == "usage"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# --- keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["evaluate", "benchmark"])
def test_no_wrong_keys_are_found_after_the_work(
    evaluated: Evaluated, tmp_path: Path, verb: str
) -> None:
    root, wrong = evaluated.challenge.root, Keys.new(tmp_path / "wrong")
    keys = ("--keys", wrong.path, "--out", tmp_path / "runs", "--runner", "process")
    words = {
        "evaluate": (root / "submission", "--bundle", root / "bundles"),
        "benchmark": ("--networks", "unext", "--tracks", root / "bundles"),
    }[verb]
    ledger = ("--ledger", tmp_path / "ledger.jsonl")
    assert code_of(verb, *words, *keys, *ledger) == "keys-invalid"
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not left & {"gate.log", "ledger.jsonl.log.json", "result.json"}
    assert not os.path.lexists(tmp_path / "ledger.jsonl")


def test_no_verdict_within_other_limits_is_taken_because_it_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    known_good.write_submission(tmp_path / "submission")
    for stage in ("gate", "verdict"):
        (tmp_path / stage).mkdir()
    context = Context(ProcessRunner(), Challenge())
    monkeypatch.setattr(os, "rmdir", denied)
    with pytest.raises(BusbenchError) as refused:
        pass_gate(tmp_path, context, None, cases=())
    monkeypatch.undo()
    assert (
        refused.value.code == "permission-denied" and str(tmp_path / "gate") in refused.value.shown
    )

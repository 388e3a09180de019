"""Mistakes on the command line: one sentence, a remedy, the right exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.challenge import Challenge, Limits
from harness.sandbox import Stage
from harness.sandbox.cached import Context
from tests.support import ROOT

pytestmark = pytest.mark.slow


def busbench(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], status: int, code: str) -> str:
    assert done.returncode == status, done.stderr
    assert f"[{code}]" in done.stderr and "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    words = ("--raw", folder / "raw", "--out", folder / "store", "--patients", "12")
    done = busbench("prepare", "phantom", *words)
    assert done.returncode == 0, done.stderr
    return folder / "store"


@pytest.mark.parametrize(
    "words", [("frobnicate",), ("seal",), ("demo", "--dataset", "busbra"), ("rank", "a", "b")]
)
def test_a_command_that_cannot_be_understood_is_status_2(words: tuple[str, ...]) -> None:
    done = busbench(*words)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_an_empty_dataset_folder_is_the_organisers(tmp_path: Path) -> None:
    refused(
        busbench("prepare", "busbra", "--raw", tmp_path, "--out", tmp_path / "o"), 20, "raw-missing"
    )


def test_a_store_without_a_split_cannot_be_sealed(store: Path, tmp_path: Path) -> None:
    assert busbench("keys", "new", tmp_path / "keys").returncode == 0
    words = ("--split", tmp_path, "--keys", tmp_path / "keys", "--out", tmp_path / "b")
    refused(busbench("seal", store, *words), 20, "split-invalid")


def test_a_split_without_its_fold_file_cannot_be_sealed(store: Path, tmp_path: Path) -> None:
    split = tmp_path / "split"
    assert busbench("freeze", store, "--out", split).returncode == 0
    assert busbench("keys", "new", tmp_path / "keys").returncode == 0
    (split / "split.csv").unlink()
    words = ("--split", split, "--keys", tmp_path / "keys", "--out", tmp_path / "bundles")
    assert "split.csv" in refused(busbench("seal", store, *words), 20, "split-invalid")
    assert not (tmp_path / "bundles").exists()


def test_a_submission_without_a_model_is_the_participants(tmp_path: Path) -> None:
    (tmp_path / "submission.yaml").write_text("schema: busbench/submission/v1\n")
    refused(busbench("check", tmp_path, "--runner", "process"), 10, "submission-invalid")


def test_an_engine_that_is_not_running_is_the_infrastructure(tmp_path: Path) -> None:
    done = busbench("check", tmp_path, DOCKER_HOST=f"unix://{tmp_path}/no.sock")
    assert "--runner process" in refused(done, 30, "engine-unavailable")


def test_a_ledger_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text("hello\n")
    refused(busbench("verify", tmp_path / "ledger.jsonl"), 20, "ledger-invalid")


def test_errors_are_json_where_a_script_asks(tmp_path: Path) -> None:
    done = busbench("check", tmp_path, "--runner", "process", "--json")
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "submission-invalid" and error["fault"] == "submission"
    assert error["remedy"].endswith(".")


def test_a_full_disk_leaves_nothing_that_looks_finished(store: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted without root")
    try:
        words = ("--raw", store.parent / "raw", "--out", disk / "store")
        refused(busbench("prepare", "phantom", *words), 30, "disk-full")
        assert not (disk / "store").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_killed_prepare_leaves_nothing_that_looks_finished(store: Path, tmp_path: Path) -> None:
    words = ["prepare", "phantom", "--raw", str(store.parent / "raw"), "--out"]
    command = [sys.executable, "-m", "harness", *words, str(tmp_path / "store")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(tmp_path.rglob("*.png")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "store").exists()
    assert busbench(*words, tmp_path / "store").returncode == 0
    again = (tmp_path / "store" / "store.json").read_bytes()
    assert again == (store / "store.json").read_bytes()


class DyingRunner:
    """Writes something, then dies as often as it is asked to."""

    name = "process"

    def __init__(self, deaths: int) -> None:
        self.deaths, self.runs = deaths, 0

    def run(self, stage: Stage, progress: object) -> None:
        assert not any(stage.output.iterdir()), "what a dead run left is never reused"
        self.runs += 1
        (stage.output / "half").write_text("half")
        if self.runs <= self.deaths:
            raise KeyboardInterrupt

    def identify(self, component: str) -> str:
        return "dying"

    def identify_base(self) -> str:
        return "dying"


def test_a_half_written_stage_is_run_again_and_a_whole_one_is_not(tmp_path: Path) -> None:
    stage = Stage("infer", "infer", (), {}, tmp_path / "infer", Limits())
    runner = DyingRunner(deaths=1)
    context = Context(runner, Challenge())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        context.run_once(stage)
    assert not (tmp_path / "infer").exists()
    for _ in range(2):
        context.run_once(stage)
    assert runner.runs == 2 and (tmp_path / "infer" / "half").exists()

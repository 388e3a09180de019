"""Inputs that jobs read from an address: a real S3 server on this machine, asked through s3fs."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from evaluator.errors import BusbenchError
from evaluator.files import sha256_bytes
from harness.execution.inputs import Depot, Input, cache_folder, offer
from tests.support import ROOT, soon
from tests.support.cluster import get_done
from tests.support.jobs import ReadWord, runs

pytestmark = pytest.mark.slow

pytest.importorskip("s3fs", reason="the extra `cluster` is not installed")
pytest.importorskip("moto.server", reason="the extra `dev` is not installed")
BUCKET = "s3://busbench/inputs"


@dataclass
class Storage:
    """A running S3 server, and what it was asked."""

    log: Path

    def fetches(self, digest: str) -> int:
        return sum(f"GET /busbench/inputs/{digest}" in line for line in self.lines())

    def uploads(self) -> int:
        return sum("PUT /busbench/inputs/" in line for line in self.lines())

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    s3fs = pytest.importorskip("s3fs")
    log = tmp_path_factory.mktemp("s3") / "log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    stated = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "organiser",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with log.open("w") as handle, pytest.MonkeyPatch.context() as patch:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=handle, stderr=handle)
        try:
            for name, value in stated.items():
                patch.setenv(name, value)
            soon(lambda: answers(address))
            s3fs.S3FileSystem(skip_instance_cache=True).mkdir("busbench")
            yield Storage(log)
        finally:
            process.kill()
            process.wait()


def answers(address: str) -> bool:
    try:
        return bool(urlopen(f"{address}/moto-api/", timeout=60).status == 200)
    except OSError:
        return False


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh machine: it has fetched nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


def folder_of(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def given(folder: Path, address: str | None = BUCKET) -> Input:
    return offer(folder, sorted(folder.rglob("*")), address)


def test_two_jobs_of_one_machine_fetch_an_input_once(
    server: Storage, tmp_path: Path, cache: Path
) -> None:
    folder = folder_of(tmp_path / "words", word="hello of two", **{"deep/other": "world"})
    wanted = given(folder)
    (folder / "word").unlink()  # nobody reads it where it came from
    jobs = [ReadWord(f"job-{n}", tmp_path / "out", input=wanted) for n in range(2)]
    ranked = get_done("local:2", jobs)
    assert not ranked.failed and sorted(runs(tmp_path / "out")) == ["job-0", "job-1"]
    assert [(tmp_path / "out" / job.word).read_text() for job in jobs] == ["hello of two"] * 2
    assert server.fetches(sha256_bytes(b"hello of two")) == 1
    assert (cache / str(wanted.digest) / "words" / "deep" / "other").read_text() == "world"


def test_what_is_at_the_address_is_not_put_there_again(server: Storage, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "words", one="only once", two="only once more")
    first, before = given(folder), server.uploads()
    assert given(folder) == first and server.uploads() == before
    (folder / "two").write_text("changed meanwhile")
    assert given(folder).digest != first.digest
    assert server.uploads() == before + 2  # the file and the list


def test_a_damaged_object_is_never_taken_for_an_input(
    server: Storage, tmp_path: Path, cache: Path
) -> None:
    wanted = given(folder_of(tmp_path / "words", word="it was right"))
    digest = sha256_bytes(b"it was right")
    depot = Depot(BUCKET)
    depot._files.pipe_file(f"busbench/inputs/{digest}", b"it was wrong")
    with pytest.raises(BusbenchError, match=f"{digest} is damaged") as caught:
        wanted.here()
    assert caught.value.code == "input-unavailable" and caught.value.fault.name == "INFRASTRUCTURE"
    assert not (cache / str(wanted.digest)).exists()
    depot._files.rm_file(f"busbench/inputs/{digest}")
    with pytest.raises(BusbenchError, match=f"{digest} is missing"):
        wanted.here()
    given(tmp_path / "words")  # the same command again
    assert (wanted.here() / "word").read_text() == "it was right"


def test_a_killed_fetch_leaves_nothing_that_is_half(
    server: Storage, tmp_path: Path, cache: Path
) -> None:
    files = {f"part-{n}": f"{n} " * 2_000_000 for n in range(12)}
    wanted = given(folder_of(tmp_path / "words", **files))
    partial = cache / f"{wanted.digest}.partial"
    fetch = "import sys, pickle; pickle.loads(bytes.fromhex(sys.argv[1])).here()"
    command = [sys.executable, "-c", fetch, pickle.dumps(wanted).hex()]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ))
    soon(lambda: any(partial.rglob("part-*")) or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was too fast to be killed"
    assert partial.exists() and not (cache / str(wanted.digest)).exists()
    assert {p.name: p.read_text() for p in wanted.here().iterdir()} == files
    assert not partial.exists()


def test_links_and_what_lies_elsewhere_are_never_put_at_an_address(
    server: Storage, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("the organiser's key")
    folder = folder_of(tmp_path / "words", word="a word beside a link")
    (folder / "link").symlink_to(tmp_path / "secret")
    assert sorted(p.name for p in given(folder).here().iterdir()) == ["word"]


@pytest.mark.parametrize(
    ("address", "code", "says"),
    [
        ("nowhere://bucket", "usage", "is no address"),
        ("s3://no-such-bucket/inputs", "input-unavailable", "s3://no-such-bucket/inputs"),
    ],
)
def test_an_address_that_takes_nothing_is_said_in_one_sentence(
    server: Storage, tmp_path: Path, address: str, code: str, says: str
) -> None:
    with pytest.raises(BusbenchError, match=says) as caught:
        given(folder_of(tmp_path / "words", word="word"), address)
    assert caught.value.code == code


def test_a_shared_folder_is_an_address_too(tmp_path: Path, cache: Path) -> None:
    wanted = given(folder_of(tmp_path / "words", word="shared"), str(tmp_path / "depot" / "inputs"))
    assert (wanted.here() / "word").read_text() == "shared"
    assert wanted.here().is_relative_to(cache)


def test_without_an_address_nothing_is_copied(tmp_path: Path, cache: Path) -> None:
    folder = folder_of(tmp_path / "words", word="here")
    assert given(folder, None).here() == folder and not cache.exists()

"""Output places: folders that are there keep their mode, and `.` is as good as any."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluator.errors import BusbenchError, Fault
from evaluator.files import disk_error, disk_errors
from harness.folders import let_all_read, whole_folder
from tests.support import ROOT
from tests.support.small_challenge import SmallChallenge, make_submission

pytestmark = pytest.mark.slow

PHANTOMS, CSV = ("--patients", "12"), ("--format", "csv")


def busbench(*words: str | Path, here: Path, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, words)],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, (words, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    return SmallChallenge.make(tmp_path_factory.mktemp("places"))


@pytest.mark.parametrize("named", ["runs", "."])
def test_a_shared_folder_of_runs_keeps_its_mode(
    challenge: SmallChallenge, tmp_path: Path, named: str
) -> None:
    submission = make_submission(tmp_path / "submission")
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "a-colleagues-file").write_text("x")
    runs.chmod(0o1777)
    words = ("--bundle", challenge.root / "bundles", "--keys", challenge.keys.path)
    here = runs if named == "." else tmp_path
    busbench(*("evaluate", submission, *words, "--out", named, "--runner", "process"), here=here)
    assert runs.stat().st_mode & 0o7777 == 0o1777
    (run,) = (path.parent for path in runs.rglob("report.dsse.json"))
    assert run.stat().st_mode & 0o7777 == 0o700


def test_the_current_folder_may_be_the_output_where_it_is_empty(
    challenge: SmallChallenge, tmp_path: Path
) -> None:
    store, split, keys = challenge.root / "store", challenge.root / "splits/v1", challenge.keys.path
    for words, whole in (
        (("prepare", "phantom", *PHANTOMS, "--raw", tmp_path / "raw", "--out", "."), "store.json"),
        (("prepare", "phantom", *PHANTOMS, "--raw", ".", "--out", tmp_path / "store"), "cases.csv"),
        (("freeze", store, "--out", "."), "lock.json"),
        (("keys", "new", "."), "report.pub"),
        (("seal", store, "--split", split, "--keys", keys, "--out", "."), "sealed/bundle.json"),
        (("audit", store, "--no-near", "--out", "."), "audit.json"),
        (("export-split", store, "--split", split, *CSV, "--out", "."), "cases.csv"),
        (("new-submission", "."), "README.md"),
    ):
        here = tmp_path / f"here-{words[0]}-{whole.replace('/', '-')}"
        here.mkdir()
        inode = here.stat().st_ino
        busbench(*words, here=here)
        assert here.stat().st_ino == inode  # else a shell would be in a folder that is gone
        assert (here / whole).is_file()
        hidden = {path.name for path in here.iterdir() if path.name.startswith(".")}
    assert hidden <= {".gitignore", ".dockerignore"}  # of keys, and of a template


def test_a_folder_is_no_place_for_a_file(challenge: SmallChallenge, tmp_path: Path) -> None:
    submission = make_submission(tmp_path / "submission")
    store, split = challenge.root / "store", challenge.root / "splits/v1"
    for words in (
        ("splits", "reveal", split, "--store", store, "--out", "."),
        ("check", submission, "--log", ".", "--runner", "process"),
    ):
        assert "is a directory" in busbench(*words, here=tmp_path, status=2)
    (tmp_path / "file").touch()
    said = busbench("keys", "new", "file/keys", here=tmp_path, status=2)
    assert "[usage] file " in said


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody may write to."""
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    if os.geteuid():
        yield folder
        return
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("root may write everywhere, and a read-only disk cannot be mounted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_place_that_may_not_be_written_is_no_full_disk(
    challenge: SmallChallenge, read_only: Path, tmp_path: Path
) -> None:
    store, keys = challenge.root / "store", challenge.keys.path
    split = ("--split", challenge.root / "splits" / "v1")
    for words in (
        ("prepare", "phantom", *PHANTOMS, "--raw", tmp_path / "raw", "--out", read_only / "store"),
        ("keys", "new", read_only / "keys"),
        ("freeze", store, "--out", read_only / "v1", "--secret", tmp_path / "secret"),
        ("seal", store, *split, "--keys", keys, "--out", read_only / "bundles"),
        ("export-split", store, *split, *CSV, "--out", read_only / "out"),
        ("audit", store, "--no-near", "--out", read_only / "audit"),
        ("new-submission", read_only / "mine"),
    ):
        said = busbench(*words, here=tmp_path, status=30)
        assert "[permission-denied]" in said and "Free some space" not in said


@pytest.mark.parametrize(
    ("number", "code", "fault"),
    [
        (errno.ENOSPC, "disk-full", Fault.INFRASTRUCTURE),
        (errno.EDQUOT, "disk-full", Fault.INFRASTRUCTURE),
        (errno.EACCES, "permission-denied", Fault.INFRASTRUCTURE),
        (errno.EPERM, "permission-denied", Fault.INFRASTRUCTURE),
        (errno.EROFS, "permission-denied", Fault.INFRASTRUCTURE),
        (errno.ENOTDIR, "usage", Fault.USAGE),
        (errno.EISDIR, "usage", Fault.USAGE),
    ],
)
def test_each_complaint_of_the_system_has_its_own_code(
    number: int, code: str, fault: Fault
) -> None:
    complaint = OSError(number, os.strerror(number))
    error = disk_error(complaint, Path("place"))
    assert error is not None and "place" in error.message
    assert (error.code, error.fault) == (code, fault)
    expected = OSError if fault is Fault.USAGE else BusbenchError
    with pytest.raises(expected), disk_errors(Path("place")):
        raise complaint


def test_what_a_link_points_to_is_never_opened_to_others(tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "folder"
    secret.write_text("x")
    secret.chmod(0o600)
    (folder / "inner").mkdir(parents=True, mode=0o700)
    (folder / "inner" / "link").symlink_to(secret)
    (folder / "file").touch(0o600)
    let_all_read(folder)
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (folder / "inner").stat().st_mode & 0o777 == 0o755
    assert (folder / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("given", [False, True])
def test_nothing_is_left_of_a_folder_that_was_not_finished(tmp_path: Path, given: bool) -> None:
    place = tmp_path / "place"
    if given:
        place.mkdir()
    with pytest.raises(RuntimeError), whole_folder(place) as partial:
        (partial / "half").touch()
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == (["place"] if given else [])

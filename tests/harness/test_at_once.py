"""The same command several times at once: one does the work, and the others find it done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.splits import FrozenSplit, read_secret, reveal, secret_path, verify
from harness.store import CaseStore
from tests.support.small_challenge import SmallChallenge

pytestmark = pytest.mark.slow
AT_ONCE, ROUNDS = 3, 2
# Started, each waits until all are, then runs its verb: else the first would be done too early.
RACE = """
import sys, time
from pathlib import Path
from harness.cli.main import main
place, number, count, words = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
(place / number).touch()
while len(list(place.iterdir())) < count:
    time.sleep(0.001)
sys.argv = ["busbench", *words]
sys.exit(main())
"""


def at_once(folder: Path, *words: str | Path) -> list[tuple[int, str]]:
    """Run a verb in several processes that begin at the same moment; exit status and output."""
    start = folder / "start"
    start.mkdir()
    texts = [str(word) for word in words]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, start, str(number), str(AT_ONCE), *texts],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(AT_ONCE)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    return SmallChallenge.make(tmp_path_factory.mktemp("at-once"))


def require_done(ends: list[tuple[int, str]], folder: Path) -> None:
    assert [status for status, _ in ends] == [0] * AT_ONCE, ends
    left = [path.name for path in folder.rglob(".*")]
    assert left == []


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_no_split_is_left_that_its_secret_does_not_open(
    round_: int, challenge: SmallChallenge, tmp_path: Path
) -> None:
    out = tmp_path / "v1"
    ends = at_once(tmp_path, "freeze", challenge.root / "store", "--out", out)
    require_done(ends, tmp_path)
    store, split = CaseStore.open(challenge.root / "store"), FrozenSplit.open(out)
    secret = read_secret(secret_path(out))
    assert verify(out, store, reveal(split, store, secret)) == [], round_


@pytest.mark.parametrize("there", [False, True])
def test_one_store_is_made_where_two_prepare_it(there: bool, tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "store"
    if there:
        out.mkdir()
    words = ("prepare", "phantom", "--patients", "4", "--raw", raw, "--out", out)
    require_done(at_once(tmp_path, *words), tmp_path)
    assert len(CaseStore.open(out).cases) == len(list((out / "images").iterdir()))


def test_one_pair_of_bundles_is_made_where_two_seal_it(
    challenge: SmallChallenge, tmp_path: Path
) -> None:
    root = challenge.root
    words = ("seal", root / "store", "--split", root / "splits" / "v1", "--keys", root / "keys")
    require_done(at_once(tmp_path, *words, "--out", tmp_path / "bundles"), tmp_path)


def test_no_two_folders_of_keys_are_made_in_one_place(tmp_path: Path) -> None:
    ends = at_once(tmp_path, "keys", "new", tmp_path / "keys")
    assert sorted(status for status, _ in ends) == [0, *[20] * (AT_ONCE - 1)], ends
    assert not any("Traceback" in text for _, text in ends)


def test_a_project_that_two_begin_is_whole_and_the_other_is_refused(tmp_path: Path) -> None:
    ends = at_once(tmp_path, "new-submission", tmp_path / "mine")
    assert sorted(status for status, _ in ends) == [0, *[20] * (AT_ONCE - 1)], ends
    assert not any("Traceback" in text for _, text in ends)

"""`busbench benchmark` for real: killed and resumed, taken over, refused, and its table."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.ledger import verify_ledger
from tests.support import ROOT, soon
from tests.support.jobs import SealedTrack, command, run, seal_phantoms, write_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> SealedTrack:
    return seal_phantoms(tmp_path_factory.mktemp("track"))


def words(track: SealedTrack, out: Path, recipe: Path, *more: str | Path) -> tuple[str | Path, ...]:
    return (
        *("benchmark", "--networks", recipe.stem, "--tracks", f"phantom={track.bundles.path}"),
        *("--keys", track.keys.path, "--out", out, "--recipe", recipe, "--runner", "process"),
        *more,
    )


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not what():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)


def is_alive(out: Path) -> bool:
    """Whether any process names the folder in its command."""
    found = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline"))
    try:
        return any(str(out).encode() in line for line in found)
    except (FileNotFoundError, ProcessLookupError):
        return is_alive(out)


def test_a_killed_benchmark_does_nothing_twice_and_counts_nothing_twice(
    track: SealedTrack, tmp_path: Path
) -> None:
    out, ledger = tmp_path / "bench", tmp_path / "ledger.jsonl"
    recipe = write_recipe(tmp_path / "unext.yaml", steps=60)
    asked = words(track, out, recipe, "--ledger", ledger)
    first, second = (out / "phantom" / "unext" / f"fold-{fold}" for fold in (0, 1))
    process = subprocess.Popen(command(*asked), cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for((second / "submission.work" / "work" / "fold-1.checkpoint").exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    soon(lambda: not is_alive(out))  # else a stage outlives the benchmark that was killed
    made = (first / "result.json").stat().st_mtime_ns
    assert not (second / "result.json").exists()

    done = run(*asked, "--cluster", "local:1")
    assert done.returncode == 0, done.stderr
    assert "dashboard  http://" in done.stderr
    assert "train unext on phantom, fold 0  done before" in done.stderr
    assert (first / "result.json").stat().st_mtime_ns == made
    assert "fold 1 goes on after step" in (second / "submission.train.log").read_text()
    assert (out / "table.md").read_text() == done.stdout
    (recorded,) = verify_ledger(ledger).reports
    assert len(recorded.report.models) == 2 and recorded.report.status == "complete"

    before = ledger.read_bytes()
    again = run(*asked, "--json")
    assert again.returncode == 0 and again.stderr.count("done before") == 3
    assert ledger.read_bytes() == before
    (table,) = json.loads(again.stdout)["tracks"]
    assert table["lines"][0]["report"] == recorded.report.document()

    submission = out / "phantom" / "unext" / "submission"
    many = run(
        *("evaluate", submission, submission, "--bundle", track.bundles.path, "--json"),
        *("--keys", track.keys.path, "--out", out / "runs", "--ledger", ledger),
        *("--runner", "process"),
    )
    assert many.returncode == 0, many.stderr
    found = json.loads(many.stdout)
    assert len(found.pop("stage_seconds")) == 1
    assert found == {"reports": [recorded.report.document()], "failed": []}
    assert ledger.read_bytes() == before


def train_by_hand(track: SealedTrack, recipe: Path, folder: Path, *fold: str) -> None:
    given = ("--out", str(folder / "submission"), "--work", str(folder / "work"))
    bundle = ("--bundle", str(track.bundles.path / "training"), "--threads", "1")
    subprocess.run(
        [
            *(sys.executable, "-m", "reference_models", "train", "--config", str(recipe)),
            *(*bundle, *given, *(fold or ("--all-folds",))),
        ],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def test_a_training_begun_by_hand_is_taken_over_and_never_passed_off_as_another(
    track: SealedTrack, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "unext.yaml", steps=6)
    cell = tmp_path / "bench" / "phantom" / "unext"
    train_by_hand(track, recipe, cell / "given", "--fold", "1")
    done = run(*words(track, tmp_path / "bench", recipe))
    assert done.returncode == 0, done.stderr
    assert "already contains" in (cell / "fold-1" / "submission.train.log").read_text()
    assert "already contains" not in (cell / "fold-0" / "submission.train.log").read_text()
    ours = (cell / "submission" / "fold-1.onnx").read_bytes()
    assert ours == (cell / "given" / "submission" / "fold-1.onnx").read_bytes()
    assert not (cell / "submission.provenance.json").exists()

    other = write_recipe(tmp_path / "other.yaml", steps=8)
    wrong = tmp_path / "wrong" / "phantom" / "other" / "given"
    wrong.parent.mkdir(parents=True)
    (cell / "given").rename(wrong)
    refused = run(*words(track, tmp_path / "wrong", other))
    assert refused.returncode == 10 and "Traceback" not in refused.stderr
    assert "does not come from this training" in " ".join(refused.stderr.split())
    assert f"If {wrong} is of another training, remove it" in refused.stderr
    assert "| other | failed |" in refused.stdout


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        (("--networks", "unext,unexxt"), 2, "Did you mean 'unext'?"),
        (("--tracks", "busbra={bundles}"), 2, "is for track phantom, not busbra"),
        (("--tracks", "{bundles},{bundles}/."), 2, "names a track twice"),
        (("--recipe", "medt={recipe}"), 2, "is for none of --networks"),
        (("--recipe", "unext=nowhere.yaml"), 2, "nowhere.yaml does not exist"),
        (("--tracks", "nowhere"), 2, "nowhere does not exist"),
        (("--networks", ","), 2, "--networks names nothing"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_anything_is_trained(
    track: SealedTrack, tmp_path: Path, change: Any, status: int, says: str
) -> None:
    recipe = write_recipe(tmp_path / "unext.yaml", steps=2)
    places = {"bundles": track.bundles.path, "recipe": recipe}
    done = run(*words(track, tmp_path / "out", recipe), *(word.format(**places) for word in change))
    assert done.returncode == status, done.stderr
    assert says in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*/*/fold-*"))


def test_another_recipe_never_goes_on_in_the_folder_of_the_first(
    track: SealedTrack, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "unext.yaml", steps=2)
    (tmp_path / "out" / "recipes").mkdir(parents=True)
    (tmp_path / "out" / "recipes" / "unext.yaml").write_text("network: unext\n")
    done = run(*words(track, tmp_path / "out", recipe))
    assert done.returncode == 20 and "begun with another recipe" in " ".join(done.stderr.split())

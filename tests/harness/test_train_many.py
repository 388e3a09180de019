"""`busbench train` of many images as jobs on a real Dask cluster; stages are plain processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluator.errors import BusbenchError
from harness.cli.train import named_images
from harness.ledger.provenance import trained_here
from harness.submission import read_submission
from tests.support.jobs import SealedTrack, run, seal_phantoms, write_recipe

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
DIGEST = "sha256:" + "a" * 64


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> SealedTrack:
    return seal_phantoms(tmp_path_factory.mktemp("track"))


def words(track: SealedTrack, recipe: Path, out: Path) -> tuple[str | Path, ...]:
    command = "train --config {} --bundle {{bundle}} --all-folds --out {{out}} --threads 1"
    return (
        *("--bundle", track.bundles.path / "training", "--out", out, "--runner", "process"),
        *("--keys", track.keys.path, "--command", command.format(recipe)),
    )


@pytest.mark.slow
def test_an_image_that_fails_on_a_cluster_holds_up_no_other_and_nothing_is_trained_twice(
    track: SealedTrack, tmp_path: Path
) -> None:
    recipe, out = write_recipe(tmp_path / "unext.yaml", steps=2), tmp_path / "trained"
    asked = words(track, recipe, out)
    cluster = ("--cluster", "local:2", "--inputs", tmp_path / "depot", "--json")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    images = ("reference", f"ghost=registry.test/ghost@{DIGEST}")
    done = run("train", *images, *asked, *cluster, **cache)
    assert done.returncode == 30, done.stderr
    assert "dashboard  http://" in done.stderr and "1 of 2 done" in done.stderr
    assert "failed: 1 by the machine" in done.stderr
    stated = json.loads(done.stdout)
    assert [failed["code"] for failed in stated["failed"]] == ["engine-unavailable"]
    (trained,) = stated["trained"]
    folder = out / "phantom" / "reference"
    submission = read_submission(folder)
    assert trained == {"folder": str(folder), "submission": submission.document()}
    split = track.bundles.sealed.split_digest
    assert trained_here(folder, submission, split, keys=track.keys) is not None
    assert not (out / "phantom" / "ghost").exists()
    assert list((tmp_path / "cache").glob("busbench/inputs/*/training/bundle.json"))

    made = (folder / "submission.yaml").stat().st_mtime_ns
    again = run("train", *images, *asked, **cache)
    assert again.returncode == 30
    assert "train reference on phantom  done before" in again.stderr
    assert (folder / "submission.yaml").stat().st_mtime_ns == made

    other = write_recipe(tmp_path / "other.yaml", steps=4)
    refused = run("train", *images, *words(track, other, out))
    assert "is the result of another recipe, image or bundle" in " ".join(refused.stderr.split())
    assert (folder / "submission.yaml").stat().st_mtime_ns == made


def test_what_nobody_knows_the_training_of_is_never_overwritten(
    track: SealedTrack, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "submission.yaml").write_text("team: somebody\n")
    recipe = write_recipe(tmp_path / "unext.yaml", steps=2)
    done = run("train", "reference", *words(track, recipe, out), "--json")
    assert done.returncode == 20 and "nothing tells which" in done.stdout
    assert (out / "submission.yaml").read_text() == "team: somebody\n"


def test_images_are_called_by_their_last_part_and_never_share_a_name() -> None:
    images = ("reference", f"registry:5000/lab/net@{DIGEST}", "mine=net:v2")
    assert named_images(images) == {
        "reference": "reference",
        "net": f"registry:5000/lab/net@{DIGEST}",
        "mine": "net:v2",
    }
    assert named_images(("../..=net",)) == {"image": "net"}
    with pytest.raises(BusbenchError, match="Two images would be called net"):
        named_images(("net:v1", "net:v2"))


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        (("--cluster", "nowhere"), 2, "--cluster nowhere names no cluster"),
        (("--bundle", "{bundle}"), 2, "--bundle names a track twice"),
        (("--track", "busbra"), 20, "is of track phantom, not busbra"),
        (("--inputs", "nowhere://here"), 2, "is no address"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    track: SealedTrack, tmp_path: Path, change: Any, status: int, says: str
) -> None:
    recipe = write_recipe(tmp_path / "unext.yaml", steps=2)
    more = (word.format(bundle=track.bundles.path / "training") for word in change)
    asked = words(track, recipe, tmp_path / "out")
    done = run("train", "reference", *asked, "--json", *more)
    assert done.returncode == status, done.stderr
    assert says in " ".join((done.stderr + done.stdout).split())
    assert "Traceback" not in done.stderr and not (tmp_path / "out.work").exists()

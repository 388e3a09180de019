"""Jobs of a Dask cluster in real containers: two images to train, then two submissions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from harness.ledger import verify_ledger
from harness.submission import read_submission
from tests.support.image_submissions import build, forget
from tests.support.jobs import run, seal_phantoms

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def images(engine: docker.DockerClient) -> Iterator[tuple[str, str]]:
    """The ids of an image that trains well, and of one that leaves a link."""
    tags = [f"busbench-test/{name}:{uuid.uuid4().hex[:8]}" for name in ("well", "link")]
    ends = ("honest", "symlink")
    well, link = (
        build(engine, tag, f'ENTRYPOINT ["/bin/sh", "/train.sh", "{end}"]')
        for tag, end in zip(tags, ends, strict=True)
    )
    yield well, link
    forget(engine, *tags)


def test_containers_of_a_cluster_train_and_evaluate_and_blame_and_count_each_once(
    images: tuple[str, str], tmp_path: Path
) -> None:
    track = seal_phantoms(tmp_path)
    ledger, trained = tmp_path / "ledger.jsonl", tmp_path / "trained"
    where = ("--keys", track.keys.path, "--cluster", "local:2", "--inputs", tmp_path / "depot")
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    well, link = images
    done = run(
        *("train", f"well={well}", f"link={link}", "--out", trained, "--json", *where),
        *("--bundle", track.bundles.path / "training"),
        **cache,
    )
    assert done.returncode == 10, done.stderr
    stated = json.loads(done.stdout)
    assert [(f["code"], f["fault"]) for f in stated["failed"]] == [("output-refused", "submission")]
    first = trained / "phantom" / "well"
    assert not (trained / "phantom" / "link").exists()

    second = tmp_path / "second"  # the same model under another name is another submission
    second.mkdir()
    (second / "all.onnx").write_bytes((first / "all.onnx").read_bytes())
    document = (first / "submission.yaml").read_text()
    (second / "submission.yaml").write_text(document.replace("method: method", "method: second"))
    asked = ("evaluate", first, second, first, "--bundle", track.bundles.path, "--json", *where)
    scored = run(*asked, "--out", tmp_path / "runs", "--ledger", ledger, **cache)
    assert scored.returncode == 0, scored.stderr
    assert "dashboard  http://" in scored.stderr and "2 of 2 done" in scored.stderr
    recorded = {entry.report.method: entry.report for entry in verify_ledger(ledger).reports}
    assert recorded.keys() == {"method", "second"}
    assert recorded["method"].provenance.runner == "docker"
    assert recorded["method"].provenance.trained_here == well
    assert recorded["second"].provenance.trained_here is None
    assert recorded["method"].scores.groups == recorded["second"].scores.groups
    assert read_submission(first).digest == recorded["method"].provenance.submission_sha256

    before = ledger.read_bytes()
    again = run(*asked, "--out", tmp_path / "runs", "--ledger", ledger, **cache)
    assert again.returncode == 0 and again.stderr.count("done before") == 2
    assert ledger.read_bytes() == before

"""Holds the comparison of the audit with perceptual hashes to its word."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.datasets import phantom
from harness.prepare import prepare
from harness.store import Sample
from tests.support.studies.audit_plants import KINDS

imagehash = pytest.importorskip("imagehash")
pytest.importorskip("pdqhash")
from tests.support.studies import audit_hashes  # noqa: E402  imports both

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("phantoms")
    phantom.generate(folder / "raw", patients=12, seed=7)
    store = prepare("phantom", folder / "raw", folder / "store").store
    return [
        Sample(
            c.case_id, c.label, None, store.image(c.case_id), store.mask(c.case_id), c.case_id, ""
        )
        for c in store.cases
    ]


def test_no_distance_differs_from_the_librarys_own(originals: list[Sample]) -> None:
    images = [sample.image for sample in originals[:6]]
    apart = audit_hashes.distances(images, audit_hashes.HASHES["pHash, 64 bits"])
    own = [imagehash.phash(Image.fromarray(image)) for image in images]
    flipped = [imagehash.phash(Image.fromarray(image[:, ::-1])) for image in images]
    for a, b in combinations(range(len(images)), 2):
        assert apart[a, b] == min(own[a] - own[b], own[a] - flipped[b], flipped[a] - own[b])


@pytest.mark.parametrize("seed", range(20))
def test_no_hash_is_judged_at_a_poor_threshold(seed: int) -> None:
    """Every threshold is tried by hand."""
    rng = np.random.default_rng(seed)
    apart = rng.integers(0, 12, (15, 15))
    apart = np.minimum(apart, apart.T)
    owner = rng.integers(0, 5, 15)
    right = owner[:, None] == owner
    apart[right & (rng.random((15, 15)) < 0.8)] = 0
    apart = np.minimum(apart, apart.T)
    pairs = list(combinations(range(15), 2))
    best = -1
    for limit in range(13):
        found = [right[pair] for pair in pairs if apart[pair] <= limit]
        if found and sum(found) >= audit_hashes.PRECISION * len(found):
            best = max(best, min(limit, int(apart.max())))
    assert audit_hashes.best_threshold(apart, right) == best


def test_no_perceptual_hash_finds_more_copies_than_the_audit(
    originals: list[Sample], tmp_path: Path
) -> None:
    found = dict(audit_hashes.compare(originals, seed=1, folder=tmp_path))
    ours = found.pop(audit_hashes.OURS)
    assert ours.precision >= audit_hashes.PRECISION
    assert ours.recall["all"] >= 0.99
    assert set(found) == set(audit_hashes.HASHES)
    for method, one in found.items():
        assert one.precision >= audit_hashes.PRECISION, method
        assert one.recall["all"] <= ours.recall["all"], method
    lines = list(audit_hashes.table({**found, audit_hashes.OURS: ours}.items()))
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(found) + 1 and all(kind in lines[0] for kind in KINDS)

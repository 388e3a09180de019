"""The consistency pass: exact, secret, and hard on networks that remember the test set."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.consistency import KEPT_SIDE, draw, transform_case, transform_pixels
from evaluator.documents.scores import Consistency
from evaluator.documents.sealed import SealedCase
from harness.datasets import adapter, phantom
from harness.datasets.base import RawCase
from harness.datasets.decode import decode
from harness.datasets.repair import judge
from harness.prepare import prepare
from harness.store import CaseStore, write_store
from reference_models.baselines import memoriser, sample, segmenter
from tests.support.studies.consistency import Arena, Result, enter, make_arena
from tests.support.studies.memorisers import mirrored, moved

SEED = "5eed" * 16
seeds = st.binary(min_size=32, max_size=32).map(bytes.hex)
sides = st.integers(1, 400)
ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,20}\Z")


# --- the transform -----------------------------------------------------------------------------


@given(seed=seeds, case_id=ids, height=sides, width=sides)
def test_a_transformed_image_contains_nothing_that_was_not_in_it(
    seed: str, case_id: str, height: int, width: int
) -> None:
    transform = draw(seed, case_id, (height, width))
    place = np.arange(height * width, dtype=np.uint32).reshape(height, width)
    seen = transform_pixels(place, transform)  # type: ignore[type-var]  # where each pixel comes from
    rows, columns = np.divmod(seen.astype(np.int64), width)
    assert seen.shape == (transform.height, transform.width)
    assert (np.diff(rows, axis=0) == 1).all() and (np.diff(rows, axis=1) == 0).all()
    assert (np.diff(columns, axis=1) == (-1 if transform.mirrored else 1)).all()
    for kept, side in zip(seen.shape, (height, width), strict=True):
        low, high = (max(1, side * percent // 100) for percent in KEPT_SIDE)
        assert low <= kept <= high


@given(seed=seeds, other=seeds)
def test_the_order_of_cases_changes_no_transform(seed: str, other: str) -> None:
    names = [f"case-{n}" for n in range(20)]
    first = {name: draw(seed, name, (300, 200)) for name in names}
    draw(other, "another", (300, 200))
    assert first == {name: draw(seed, name, (300, 200)) for name in reversed(names)}
    assert seed == other or first != {name: draw(other, name, (300, 200)) for name in names}


def test_every_window_and_both_sides_come_up() -> None:
    drawn = [draw(SEED, f"case-{n}", (100, 100)) for n in range(4000)]
    assert 0.45 < np.mean([t.mirrored for t in drawn]) < 0.55
    assert {t.height for t in drawn} == set(range(80, 93)) == {t.width for t in drawn}
    corners = Counter((t.top == 0, t.top + t.height == 100) for t in drawn)
    assert min(corners[True, False], corners[False, True]) > 100
    mirrored_by_height = [np.mean([t.mirrored for t in drawn if t.height == h]) for h in (80, 92)]
    assert max(mirrored_by_height) - min(mirrored_by_height) < 0.2  # the two are not tied


def test_image_and_mask_are_transformed_alike() -> None:
    case = SealedCase(case_id="c", height=50, width=70, file="c.png")
    image = np.random.default_rng(0).integers(0, 256, (50, 70)).astype(np.uint8)
    (image_case, new_image) = transform_case(SEED, case, image)
    (mask_case, new_mask) = transform_case(SEED, case, image > 99)
    assert image_case == mask_case
    assert (image_case.height, image_case.width) == new_image.shape
    assert np.array_equal(new_image > 99, new_mask)


# --- what the gap shows ------------------------------------------------------------------------


def phantoms(root: Path) -> CaseStore:
    phantom.generate(root / "raw", 30, 7)
    return prepare("phantom", root / "raw", root / "store").store


def busbra(root: Path, raw: Path, cases: int = 120) -> CaseStore:
    listed = (case for case in adapter("busbra").read(raw) if isinstance(case, RawCase))
    samples = [
        judge(case, raw, decode(case.image), masks=tuple(decode(mask) for mask in case.masks))
        for case in islice(listed, cases)
    ]
    return write_store(root / "store", "busbra", samples)


@pytest.fixture(scope="module", params=["phantoms", "busbra"])
def arena(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Arena:
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "phantoms":
        store = phantoms(root)
    else:
        store = busbra(root, request.getfixturevalue("real_data") / "BUSBRA")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "harness.sealing.bundle.secrets.token_hex", lambda size: SEED
        )  # or the test were a gamble
        return make_arena(store, root)


@pytest.fixture(scope="module")
def honest(arena: Arena) -> Result:
    return enter(arena, "honest", segmenter([*map(sample, arena.training)]))


def consistency(result: Result) -> Consistency:
    found = result.scores.groups["all"].consistency
    assert found is not None
    return found


@pytest.mark.slow
def test_a_network_that_remembers_is_given_away_by_its_gap(arena: Arena, honest: Result) -> None:
    """It passes the gate (a refusal would raise) and its plain scores are nearly perfect."""
    found = enter(arena, "memoriser", memoriser(arena.test))
    held, fair = consistency(found), consistency(honest)
    assert found.scores.groups["lesion"].metrics["dice"].mean > 0.95
    assert found.scores.invalid == 0
    assert held.gap["dice"].mean > 0.35
    assert held.transformed["dice"].mean < 0.65
    assert abs(fair.gap["dice"].mean) < 0.12
    assert honest.scores.groups["lesion"].metrics["dice"].mean > 0.35  # it does segment
    assert held.gap["dice"].ci_low is not None and fair.gap["dice"].ci_high is not None
    assert held.gap["dice"].ci_low > fair.gap["dice"].ci_high


@pytest.mark.slow
def test_storing_mirrored_copies_does_not_close_the_gap(arena: Arena, honest: Result) -> None:
    found = consistency(enter(arena, "mirrored", memoriser(mirrored(arena.test))))
    assert found.gap["dice"].mean > consistency(honest).gap["dice"].mean + 0.15


@pytest.mark.slow
def test_storing_many_transformed_copies_narrows_the_gap_and_costs_size(arena: Arena) -> None:
    """The pass has this limit, docs/consistency.md says so, and it must stay true of both."""
    few, many = (
        enter(arena, f"transformed {n}", memoriser(moved(arena.test, n), detail=64))
        for n in (2, 32)
    )
    assert consistency(many).gap["dice"].mean < consistency(few).gap["dice"].mean - 0.1
    assert many.megabytes > 5 * few.megabytes


# --- the secret --------------------------------------------------------------------------------


def plaintexts(arena: Arena) -> list[bytes]:
    keys = ((arena.bundles.images, arena.keys.images), (arena.bundles.labels, arena.keys.labels))
    return [
        pyrage.decrypt(path.read_bytes(), [pyrage.x25519.Identity.from_str(key.identity().strip())])
        for path, key in keys
    ]


@pytest.mark.slow
def test_the_seed_is_in_the_sealed_archives_and_nowhere_else(arena: Arena, honest: Result) -> None:
    assert all(SEED.encode() in data for data in plaintexts(arena))
    files = [path for path in arena.root.rglob("*") if path.is_file()]
    assert len(files) > 100  # bundles, split, keys, and a whole evaluation's output
    assert not [path for path in files if SEED.encode() in path.read_bytes()]


@pytest.mark.slow
def test_no_image_archive_names_the_scanner(arena: Arena) -> None:
    images, labels = plaintexts(arena)
    assert b'"device"' not in images
    assert b'"device":"' in labels

"""The Awesome-BUS profile varies and resizes images as that benchmark's code does."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from reference_models.awesome_bus import AwesomeBusAugment, resized
from reference_models.data import RESAMPLES, letterbox

pytestmark = pytest.mark.slow

IMAGES = 2_000
# Transform, share of the images: half of its own probability, for the frame's is 0.5.
SHARES = {
    "HorizontalFlip": 0.25,
    "Rotate": 0.1,
    "RandomBrightnessContrast": 0.1,
    "CLAHE": 0.1,
    "GaussNoise": 0.1,
    "CoarseDropout": 0.1,
    "distortion": 0.05,
    "grain": 0.1,
}
KINDS = {
    **dict.fromkeys(("ElasticTransform", "GridDistortion", "OpticalDistortion"), "distortion"),
    **dict.fromkeys(("Speckle", "MotionBlur", "Sharpen"), "grain"),
}


def within(count: int, share: float) -> bool:
    """Whether a binomial count of `IMAGES` lies within four standard deviations."""
    return abs(count - IMAGES * share) <= 4 * np.sqrt(IMAGES * share * (1 - share))


@pytest.fixture(scope="module")
def applied() -> list[frozenset[str]]:
    """The transforms applied to each of many images."""
    augment = AwesomeBusAugment()
    augment._transforms.save_applied_params = True
    image = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    mask = (image > 128).astype(np.uint8)
    seeds = np.random.SeedSequence(7).generate_state(IMAGES)
    names = (augment._varied(image, mask, int(s))["applied_transforms"] for s in seeds)
    return [frozenset(KINDS.get(name, name) for name, _ in each) for each in names]


def test_no_transform_is_applied_more_or_less_often_than_stated(
    applied: list[frozenset[str]],
) -> None:
    counts = Counter(name for each in applied for name in each)
    assert counts.keys() == SHARES.keys()
    assert all(within(counts[name], share) for name, share in SHARES.items())
    untouched = 0.5 + 0.5 * math.prod(1 - 2 * share for share in SHARES.values())
    assert within(sum(not each for each in applied), untouched)


def test_transforms_never_come_together_more_often_than_by_chance(
    applied: list[frozenset[str]],
) -> None:
    counts = Counter(pair for each in applied for pair in combinations(sorted(each), 2))
    for pair in combinations(sorted(SHARES), 2):
        first, second = (SHARES[name] for name in pair)
        assert within(counts[pair], 2 * first * second)


def test_images_never_change_more_or_less_than_measured() -> None:
    """The benchmark's code changes an image by 11.7 grey values on average.

    What strengths it leaves to its version of the library is not known, nor on which images.
    """
    folder = Path(__file__).parents[3] / "shared" / "data" / "BUSBRA" / "Images"
    paths = sorted(folder.glob("*.png"))
    if not paths:
        pytest.skip(f"{folder} contains no images")
    decoded = (np.asarray(Image.open(path).convert("L")) for path in paths)
    images = np.stack([letterbox(each, (224, 224), RESAMPLES["lanczos4"][0]) for each in decoded])
    varied, masks = AwesomeBusAugment()(images, images // 128, np.random.SeedSequence(0))
    assert np.abs(varied.astype(float) - images).mean() == pytest.approx(11.7, abs=4)
    assert set(np.unique(masks)) <= {0, 1}


def test_the_same_seed_never_gives_another_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32), dtype=np.uint8)
    augment, other = AwesomeBusAugment(), AwesomeBusAugment()
    augment(images, images, np.random.SeedSequence(1))  # what came before changes nothing
    for first, second in zip(
        augment(images, images // 128, np.random.SeedSequence(2)),
        other(images, images // 128, np.random.SeedSequence(2)),
        strict=True,
    ):
        assert np.array_equal(first, second)


def test_the_profile_never_averages_where_it_shrinks() -> None:
    """A checkerboard of single pixels: averaging makes it grey, OpenCV's LANCZOS4 does not."""
    rows, columns = np.mgrid[:90, :60]
    board = (255 * ((rows + columns) % 2)).astype(np.uint8)
    (plain, _), (sharp, nearest) = RESAMPLES["bilinear"], RESAMPLES["lanczos4"]
    size = (30, 20)
    assert plain(board, size).std() < 30
    assert sharp(board, size).std() > 100
    expected = cv2.resize(board, (20, 30), interpolation=cv2.INTER_LANCZOS4)
    assert np.array_equal(resized(board, size, smooth=True), expected)
    ramp = np.tile(np.arange(60, dtype=np.uint8), (90, 1))
    assert letterbox(ramp, (45, 45), nearest)[0, 7:12].tolist() == [0, 2, 4, 6, 8]

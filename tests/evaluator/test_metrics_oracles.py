"""The metrics beside other people's: brute force, SciPy, MONAI, scikit-learn, SimpleITK."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from monai.metrics.utils import get_edge_surface_distance
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from evaluator.metrics import METRICS, Profile, case_metrics, dice, examine, formulas, hd95, iou
from tests.support.masks import (
    KINDS,
    any_mask,
    any_shape,
    brute_distances,
    larger_percentile,
    transform_distances,
)

# MONAI rounds distances to single precision on the way, so equality to the last digit is tested
# where they can be restored: squared distances in pixels are whole numbers. Its percentile's rank
# is in single precision too, which costs another digit.
SINGLE = 1e-6
SINGLE_RANK = 1e-4


def spacings(rng: np.random.Generator) -> Any:
    return None if rng.random() < 0.3 else tuple(rng.uniform(0.02, 3, 2))


def one_hot(mask: NDArray[np.bool_]) -> Any:
    return torch.from_numpy(mask.copy())[None, None].float()


AWESOME_BUS: Profile = "awesome-bus-2025"


def monai_hd95(prediction: Any, reference: Any, spacing: Any = None) -> Any:
    found = compute_hausdorff_distance(
        one_hot(prediction),
        one_hot(reference),
        include_background=True,
        percentile=95,
        spacing=spacing,
    )
    return found.item()


def monai_exact_hd95(prediction: Any, reference: Any) -> Any:
    """HD95 from MONAI's own boundary distances in pixels, restored to double precision."""
    _, directed, _ = get_edge_surface_distance(
        torch.from_numpy(prediction.copy()), torch.from_numpy(reference.copy()), symmetric=True
    )
    return larger_percentile([np.sqrt(np.rint(d.double().numpy() ** 2)) for d in directed])


def test_native_hd95_is_brute_forces_on_thousands_of_masks() -> None:
    rng = np.random.default_rng(20240601)
    for _ in range(4000):
        shape = any_shape(rng, 24)
        prediction, reference = any_mask(rng, shape), any_mask(rng, shape)
        spacing = spacings(rng)
        expected = larger_percentile(brute_distances(prediction, reference, spacing))
        assert hd95(prediction, reference, spacing) == pytest.approx(expected, rel=0, abs=1e-9)
        if spacing is None:  # square roots of whole numbers leave no component for rounding
            assert hd95(prediction, reference) == expected


def test_awesome_bus_hd95_is_brute_forces_on_thousands_of_masks() -> None:
    rng = np.random.default_rng(20240602)
    for _ in range(2000):
        shape = any_shape(rng, 24)
        prediction, reference = any_mask(rng, shape), any_mask(rng, shape)
        pooled = np.concatenate(brute_distances(prediction, reference, profile=AWESOME_BUS))
        found = hd95(prediction, reference, profile=AWESOME_BUS)
        assert found == pytest.approx(np.percentile(pooled, 95), rel=0, abs=1e-9)


@pytest.mark.parametrize("width", [1, 63, 64, 65, 127, 128, 129, 200])
def test_no_pixel_is_lost_where_words_meet(width: int) -> None:
    """Rows are packed in words of 64 pixels; the last one may be full, or hold a single pixel."""
    rng = np.random.default_rng(20240613)
    for height in (1, 2, 5):
        for _ in range(12):
            prediction, reference = any_mask(rng, (height, width)), any_mask(rng, (height, width))
            for spacing in (None, (0.3, 0.1)):
                expected = larger_percentile(brute_distances(prediction, reference, spacing))
                found = hd95(prediction, reference, spacing)
                assert found == pytest.approx(expected, rel=0, abs=1e-9)
            pooled = np.concatenate(brute_distances(prediction, reference, profile=AWESOME_BUS))
            found = hd95(prediction, reference, profile=AWESOME_BUS)
            assert found == pytest.approx(np.percentile(pooled, 95), rel=0, abs=1e-9)


@pytest.mark.parametrize("ours", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("theirs", KINDS, ids=lambda kind: kind.__name__)
def test_every_pair_of_degenerate_masks_agrees_with_monai(ours: Any, theirs: Any) -> None:
    rng = np.random.default_rng(20240603)
    for shape in ((40, 57), (64, 64)):
        prediction, reference = ours(rng, shape), theirs(rng, shape)
        if not (prediction.any() and reference.any()):
            continue
        expected = monai_exact_hd95(prediction, reference)
        assert hd95(prediction, reference) == pytest.approx(expected, rel=0, abs=1e-9)
        spacing = (0.07, 0.21)
        assert hd95(prediction, reference, spacing) == pytest.approx(
            monai_hd95(prediction, reference, spacing), rel=SINGLE_RANK
        )


@pytest.mark.slow
def test_a_thousand_random_masks_agree_with_monai() -> None:
    rng = np.random.default_rng(20240604)
    for number in range(1500):
        shape = any_shape(rng, 40 if number % 10 else 200)
        prediction, reference = any_mask(rng, shape), any_mask(rng, shape)
        expected = monai_exact_hd95(prediction, reference)
        assert hd95(prediction, reference) == pytest.approx(expected, rel=0, abs=1e-9)


def test_extreme_spacing_does_not_hide_the_nearer_column() -> None:
    rng = np.random.default_rng(20240605)
    for spacing in ((1e-4, 10.0), (10.0, 1e-4), (1e-6, 1e-6), (1e5, 1e5)):
        for _ in range(50):
            shape = any_shape(rng, 20)
            prediction, reference = any_mask(rng, shape), any_mask(rng, shape)
            expected = larger_percentile(brute_distances(prediction, reference, spacing))
            assert hd95(prediction, reference, spacing) == pytest.approx(expected, rel=1e-12)


def test_far_points_of_large_images_are_exact() -> None:
    rng = np.random.default_rng(20240606)
    for shape in ((1, 3000), (3000, 1), (700, 1300), (1500, 90)):
        for _ in range(4):
            prediction, reference = np.zeros(shape, bool), np.zeros(shape, bool)
            for mask in (prediction, reference):
                for _ in range(rng.integers(1, 5)):
                    mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
            for spacing in (None, (0.3, 0.1)):
                expected = larger_percentile(brute_distances(prediction, reference, spacing))
                assert hd95(prediction, reference, spacing) == pytest.approx(expected, rel=1e-12)


def test_real_masks_agree_with_scipy_and_monai(real_data: Path) -> None:
    rng = np.random.default_rng(20240607)
    compared = 0
    patterns = ("BUSBRA/Masks/*.png", "Dataset_BUSI_with_GT/*/*_mask.png", "BUS-UCLM/masks/*.png")
    masks = sorted(path for pattern in patterns for path in real_data.glob(pattern))
    for number, path in enumerate(masks[::5]):
        mask = np.array(Image.open(path).convert("L")) > 127
        if not mask.any():
            continue
        down, right = rng.integers(-25, 26, 2)
        changed = np.roll(mask, (down, right), (0, 1))
        if number % 2:
            changed = ndimage.binary_dilation(changed, iterations=int(rng.integers(1, 9)))
        spacing = None if number % 3 else (0.08, 0.11)
        expected = larger_percentile(transform_distances(changed, mask, spacing))
        assert hd95(changed, mask, spacing) == pytest.approx(expected, rel=0, abs=1e-9)
        if number % 4 == 0:
            exact = monai_exact_hd95(changed, mask)
            assert hd95(changed, mask) == pytest.approx(exact, rel=0, abs=1e-9)
        compared += 1
    assert compared > 150


def itk_hd100(prediction: Any, reference: Any, spacing: Any) -> Any:
    """The distance between boundaries that SimpleITK itself draws, outside being background."""
    boundaries = []
    for mask in (prediction, reference):
        image = SimpleITK.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
        image.SetSpacing((spacing or (1.0, 1.0))[::-1])
        boundaries.append(SimpleITK.BinaryContour(image, fullyConnected=False))
    measure = SimpleITK.HausdorffDistanceImageFilter()
    measure.Execute(*boundaries)
    return measure.GetHausdorffDistance()


def test_hd100_is_simpleitks() -> None:
    rng = np.random.default_rng(20240608)
    for _ in range(500):
        shape = any_shape(rng, 40)
        prediction, reference = any_mask(rng, shape), any_mask(rng, shape)
        spacing = spacings(rng)
        found = METRICS["hd100"](prediction, reference, spacing)
        assert found == pytest.approx(itk_hd100(prediction, reference, spacing), rel=SINGLE)


def test_overlap_is_scikit_learns_and_monais() -> None:
    rng = np.random.default_rng(20240609)
    for _ in range(100):
        shape = any_shape(rng, 60)
        prediction, reference = any_mask(rng, shape), any_mask(rng, shape)
        flat = reference.ravel(), prediction.ravel()
        found = case_metrics(prediction, reference)
        assert found["dice"] == pytest.approx(f1_score(*flat), rel=1e-12)
        assert found["iou"] == pytest.approx(jaccard_score(*flat), rel=1e-12)
        assert found["precision"] == pytest.approx(precision_score(*flat), rel=1e-12)
        assert found["recall"] == pytest.approx(recall_score(*flat), rel=1e-12)
        background = recall_score(*flat, pos_label=False, zero_division=1)
        assert found["specificity"] == pytest.approx(background, rel=1e-12)
        assert found["fp_area"] == np.count_nonzero(prediction & ~reference)
        ours, theirs = one_hot(prediction), one_hot(reference)
        assert dice(prediction, reference) == pytest.approx(
            compute_dice(ours, theirs).item(), rel=SINGLE
        )
        assert iou(prediction, reference) == pytest.approx(
            compute_iou(ours, theirs).item(), rel=SINGLE
        )


def test_assd_and_nsd_are_monais() -> None:
    rng = np.random.default_rng(20240610)
    for _ in range(100):
        shape = any_shape(rng, 60)
        prediction, reference = any_mask(rng, shape), any_mask(rng, shape)
        ours, theirs = one_hot(prediction), one_hot(reference)
        spacing = spacings(rng)
        found = case_metrics(prediction, reference, spacing)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of spacing given without subvoxels
            average = compute_average_surface_distance(
                ours, theirs, include_background=True, symmetric=True, spacing=spacing
            )
            tolerance = formulas.TOLERANCE_MM if spacing else formulas.TOLERANCE_PX
            near = compute_surface_dice(
                ours, theirs, [tolerance], include_background=True, spacing=spacing
            )
        assert found["assd"] == pytest.approx(average.item(), rel=SINGLE, abs=1e-9)
        assert found["nsd"] == pytest.approx(near.item(), rel=SINGLE)


def test_all_distance_metrics_are_brute_forces() -> None:
    rng = np.random.default_rng(20240611)
    for _ in range(500):
        shape = any_shape(rng, 24)
        prediction, reference = any_mask(rng, shape), any_mask(rng, shape)
        spacing = spacings(rng)
        pooled = np.concatenate(brute_distances(prediction, reference, spacing))
        found = case_metrics(prediction, reference, spacing)
        assert found["hd100"] == pytest.approx(pooled.max(), rel=0, abs=1e-9)
        assert found["assd"] == pytest.approx(pooled.mean(), rel=0, abs=1e-9)
        tolerance = formulas.TOLERANCE_MM if spacing else formulas.TOLERANCE_PX
        assert found["nsd"] == np.mean(pooled <= tolerance * (1 + 1e-9))


def test_pixels_are_counted_right_in_images_of_any_size() -> None:
    """Sizes around a word's 64 pixels, and images smaller than one."""
    rng = np.random.default_rng(20240612)
    for shape in ((1, 1), (1, 63), (1, 64), (1, 65), (63, 1), (65, 1), (9, 7), (3, 320), (600, 37)):
        for density in (0.0, 0.001, 0.5, 1.0):
            prediction, reference = (rng.random(shape) < density for _ in range(2))
            case = examine(prediction, reference)
            assert case.true_positives == np.count_nonzero(prediction & reference)
            assert case.false_positives == np.count_nonzero(prediction & ~reference)
            assert case.false_negatives == np.count_nonzero(~prediction & reference)
            assert case.true_negatives == np.count_nonzero(~(prediction | reference))

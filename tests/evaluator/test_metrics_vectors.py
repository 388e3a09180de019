"""The declared values of both profiles, number by number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from evaluator.metrics import case_metrics, dice, hd95, iou, metrics_of, worst

SIDE = 224


def empty() -> Any:
    return np.zeros((SIDE, SIDE), dtype=bool)


def box(top: Any, bottom: Any, left: Any, right: Any) -> Any:
    mask = empty()
    mask[top:bottom, left:right] = True
    return mask


def pixel(row: Any, column: Any) -> Any:
    return box(row, row + 1, column, column + 1)


def disk(row: Any, column: Any, radius: Any, side: Any = SIDE) -> Any:
    rows, columns = np.ogrid[:side, :side]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


# prediction, reference, Dice, IoU, HD95 (nan: dropped)
AWESOME_BUS_VECTORS = {
    "both empty": (empty(), empty(), 1, 1, 0),
    "reference empty": (box(0, 2, 0, 5), empty(), 1e-8, 1e-8, math.nan),
    "prediction empty": (empty(), box(50, 100, 50, 100), 4e-11, 4e-11, 316.783838),
    "shifted box": (box(50, 100, 53, 103), box(50, 100, 50, 100), 0.94, 0.886792481, 3),
    "two pixels": (pixel(13, 14), pixel(10, 10), 5e-8, 5e-8, 5),
    "whole frame": (~empty(), box(50, 100, 50, 100), 0.0949198902, 0.0498246178, 130.24976),
    "corner": (box(0, 40, 0, 40), box(0, 50, 0, 50), 0.780487776, 0.639999986, 11.2525745),
    "disk": (disk(112, 112, 40), disk(112, 112, 45), 0.882662892, 0.78997016, 5.09901951),
    "moved": (disk(112, 112, 40), disk(120, 100, 30), 0.678817213, 0.513795078, 23.7697286),
    "small false positive": (
        disk(80, 80, 20) | box(200, 205, 200, 205),
        disk(80, 80, 20),
        0.990153611,
        0.980499208,
        0,
    ),
}


@pytest.mark.parametrize("name", AWESOME_BUS_VECTORS)
def test_no_value_of_awesome_bus_differs_from_the_declared_one(name: Any) -> None:
    prediction, reference, *expected = AWESOME_BUS_VECTORS[name]
    found = case_metrics(prediction, reference, profile="awesome-bus-2025")
    assert [found[name] for name in ("dice", "iou", "hd95")] == pytest.approx(
        expected, rel=3e-9, abs=1e-15, nan_ok=True
    )


def test_native_edges_are_never_nan_or_dropped() -> None:
    lesion, nothing = disk(100, 100, 10, side=256), np.zeros((256, 256), dtype=bool)
    diagonal = 256 * math.sqrt(2)
    for prediction, reference, expected in (
        (nothing, nothing, (1, 1, 0)),
        (lesion, nothing, (0, 0, diagonal)),
        (nothing, lesion, (0, 0, diagonal)),
        (lesion, lesion, (1, 1, 0)),
    ):
        found = tuple(metric(prediction, reference) for metric in (dice, iou, hd95))
        assert found == pytest.approx(expected)


def test_a_missing_output_gets_no_better_than_the_worst_value() -> None:
    assert worst("dice", (30, 40)) == worst("iou", (30, 40)) == 0
    assert worst("hd95", (30, 40)) == 50
    assert worst("hd95", (30, 40), (0.1, 0.1)) == pytest.approx(5)
    for metric in metrics_of("native"):
        assert metric.worst((30, 40)) != metric.best((30, 40))


@pytest.mark.parametrize(
    ("prediction", "reference", "spacing", "complaint"),
    [
        (np.zeros((3, 3)), np.zeros((3, 3), bool), None, "prediction must be a boolean"),
        (np.zeros((3, 3), bool), [[True]], None, "reference must be a boolean"),
        (np.zeros((3, 3), bool), np.zeros((3, 4), bool), None, "shape"),
        (np.zeros(3, bool), np.zeros(3, bool), None, "2-D"),
        (np.zeros((0, 3), bool), np.zeros((0, 3), bool), None, "2-D"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, 0), "positive"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, math.inf), "positive"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, math.nan), "positive"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1e-3, 1e4), "differ"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1e300, 1e-300), "differ"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, 1, 1), "two numbers"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), 1, "two numbers"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(
    prediction: Any, reference: Any, spacing: Any, complaint: str
) -> None:
    for metric in (dice, iou, hd95):
        with pytest.raises(ValueError, match=complaint):
            metric(prediction, reference, spacing)


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="no metric profile 'best'"):
        hd95(empty(), empty(), profile="best")  # type: ignore[arg-type]

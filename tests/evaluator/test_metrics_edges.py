"""Metrics where a mask is empty or full, and their statements about themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from evaluator.metrics import (
    METRICS,
    PROFILES,
    Kind,
    Profile,
    Situation,
    case_metrics,
    edge_table,
    mean,
    metrics_of,
    worst,
)

SHAPE = (30, 40)
DIAGONAL = 50.0
EMPTY = np.zeros(SHAPE, dtype=bool)
FULL = np.ones(SHAPE, dtype=bool)
LESION = EMPTY.copy()
LESION[10:20, 10:20] = True

# `=`: the formula holds
EDGE_TABLE = """
situation        dice  iou   hd95  precision recall specificity fp_area hd100 assd  nsd
both empty       best  best  best  best      best   =           =       best  best  best
prediction empty worst worst worst worst     worst  best        =       worst worst worst
reference empty  worst worst worst worst     worst  =           =       worst worst worst
reference whole  =     =     =     =         =      best        =       =     =     =
ordinary         =     =     =     =         =      =           =       =     =     =
"""
AWESOME_BUS_EDGE_TABLE = """
situation        dice iou hd95
both empty       =    =   best
prediction empty =    =   worst
reference empty  =    =   dropped
reference whole  =    =   =
ordinary         =    =   =
"""


def parse(table: Any) -> Any:
    head, *rows = table.strip().splitlines()
    names = head.split()[1:]
    found = {}
    for row in rows:
        situation, *entries = row.rsplit(maxsplit=len(names))
        entries = ["formula" if entry == "=" else entry for entry in entries]
        found[situation.strip()] = dict(zip(names, entries, strict=True))
    return found


@pytest.mark.parametrize(
    ("profile", "table"), [("native", EDGE_TABLE), ("awesome-bus-2025", AWESOME_BUS_EDGE_TABLE)]
)
def test_the_edge_table_says_nothing_else(profile: Profile, table: str) -> None:
    assert edge_table(profile) == parse(table)
    assert tuple(metrics_of(profile)) == tuple(METRICS[name] for name in parse(table)["ordinary"])


RATIOS = ("dice", "iou", "precision", "recall", "nsd")
LENGTHS = ("hd95", "hd100", "assd")


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [  # expected: overlap, specificity, false-positive area, distance
        (EMPTY, EMPTY, (1, 1, 0, 0)),
        (EMPTY, LESION, (0, 1, 0, DIAGONAL)),
        (LESION, EMPTY, (0, 11 / 12, 100, DIAGONAL)),
        (FULL, EMPTY, (0, 0, 1200, DIAGONAL)),
        (EMPTY, FULL, (0, 1, 0, DIAGONAL)),
        (FULL, FULL, (1, 1, 0, 0)),
        (LESION, LESION, (1, 1, 0, 0)),
    ],
)
def test_native_values_at_the_edges(prediction: Any, reference: Any, expected: Any) -> None:
    ratio, specificity, area, length = expected
    for spacing, step in ((None, 1.0), ((0.5, 0.5), 0.5)):
        found = case_metrics(prediction, reference, spacing)
        assert [found[name] for name in RATIOS] == [ratio] * len(RATIOS)
        assert found["specificity"] == pytest.approx(specificity)
        assert found["fp_area"] == area * step**2
        assert [found[name] for name in LENGTHS] == pytest.approx([length * step] * len(LENGTHS))


def test_a_lesion_that_fills_the_image_is_still_measured() -> None:
    found = case_metrics(LESION, FULL)
    assert found["specificity"] == 1
    assert found["precision"] == 1
    assert found["recall"] == pytest.approx(100 / 1200)
    assert 0 < found["hd95"] < DIAGONAL


def test_no_value_is_nan_or_outside_its_range_in_any_situation() -> None:
    masks = (EMPTY, FULL, LESION, ~LESION)
    for spacing in (None, (0.1, 0.3)):
        for prediction in masks:
            for reference in masks:
                for name, value in case_metrics(prediction, reference, spacing).items():
                    lowest, highest = METRICS[name].range(SHAPE, spacing)
                    assert lowest <= value <= highest


def test_a_metric_says_what_it_is() -> None:
    described = {
        name: (metric.title, metric.unit(), metric.unit((1, 1)), metric.higher_is_better)
        for name, metric in METRICS.items()
    }
    assert described == {
        "dice": ("Dice", "", "", True),
        "iou": ("IoU", "", "", True),
        "hd95": ("HD95", "px", "mm", False),
        "precision": ("Precision", "", "", True),
        "recall": ("Recall", "", "", True),
        "specificity": ("Specificity", "", "", True),
        "fp_area": ("False-positive area", "px²", "mm²", False),
        "hd100": ("HD100", "px", "mm", False),
        "assd": ("ASSD", "px", "mm", False),
        "nsd": ("NSD (2 px or 0.5 mm)", "", "", True),
    }


def test_a_missing_output_gets_the_worst_value_and_no_better() -> None:
    for name, metric in METRICS.items():
        low, high = metric.range(SHAPE, (0.5, 0.5))
        assert worst(name, SHAPE, (0.5, 0.5)) == (low if metric.higher_is_better else high)
        assert metric.best(SHAPE, (0.5, 0.5)) == (high if metric.higher_is_better else low)
    assert worst("dice", SHAPE) == 0
    assert worst("hd95", SHAPE) == DIAGONAL
    assert worst("hd95", SHAPE, (0.5, 0.5)) == DIAGONAL / 2
    assert worst("fp_area", SHAPE, (0.5, 0.1)) == pytest.approx(60)
    assert {metric.kind for metric in METRICS.values()} == set(Kind)


def test_no_profile_has_a_metric_that_its_benchmark_has_not() -> None:
    with pytest.raises(ValueError, match="awesome-bus-2025 profile does not define ASSD"):
        METRICS["assd"](LESION, LESION, profile="awesome-bus-2025")
    assert PROFILES == ("native", "awesome-bus-2025")


def test_the_old_name_of_a_profile_is_refused_with_the_new_one() -> None:
    old: Any = "seed"
    with pytest.raises(ValueError, match="profile seed is called awesome-bus-2025 now"):
        METRICS["dice"](LESION, LESION, profile=old)


def test_only_awesome_bus_drops_images_and_no_other_mean_takes_nan() -> None:
    assert mean([1.0, math.nan, 3.0], "awesome-bus-2025") == 2
    for values in ([1.0, math.nan], [math.inf]):
        with pytest.raises(ValueError, match="NaN or infinity"):
            mean(values, "native")
    with pytest.raises(ValueError, match="NaN or infinity"):
        mean([math.inf, 1.0], "awesome-bus-2025")
    for profile in PROFILES:
        with pytest.raises(ValueError, match="no case"):
            mean([], profile)
    with pytest.raises(ValueError, match="no case"):
        mean([math.nan], "awesome-bus-2025")


def test_every_situation_has_a_row() -> None:
    assert set(edge_table()) == set(Situation)

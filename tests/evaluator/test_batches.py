"""Batches of a device: one size, in which no image changes another's mask unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from evaluator.documents.inference import REPEATED
from evaluator.errors import BusbenchError
from evaluator.inference.batches import DEVICE_BATCH, depends_on_batch, depends_on_company, fill
from evaluator.inference.repeat import RUNS, WARM_UP
from tests.support.inference import Stage, blur, network, speckle, stage
from tests.support.null_device import NullDevice

Maps = NDArray[np.float32]


@pytest.fixture
def made(tmp_path: Path) -> Stage:
    return stage(tmp_path, speckle(21), blur())


@pytest.fixture
def run(made: Stage, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def on(device: NullDevice, **how: Any) -> dict[str, NDArray[np.bool_]]:
        device.plug_in(monkeypatch)
        return made.infer(device="cuda", **how)

    return on


def test_no_run_of_a_device_has_another_size(made: Stage, run: Any) -> None:
    device, wanted = NullDevice(), made.infer()
    found = run(device)
    alone = min(REPEATED, 21) * RUNS + WARM_UP  # latency
    assert set(device.sizes) == {1, DEVICE_BATCH} and device.sizes.count(1) == alone
    assert all(np.array_equal(found[case], wanted[case]) for case in wanted)
    assert made.runtime.fixed_batches == (DEVICE_BATCH,) and made.runtime.repeatable


def test_a_size_that_does_not_fit_is_halved_and_one_that_was_asked_for_is_not(
    made: Stage, run: Any
) -> None:
    run(NullDevice(fits=5))
    assert made.runtime.fixed_batches == (4,)
    with pytest.raises(BusbenchError, match="out of memory"):
        run(NullDevice(fits=5), batch_size=8)
    run(NullDevice(fits=8), batch_size=8)
    assert made.runtime.fixed_batches == (8,)


def by_place(batch: Maps, maps: Maps) -> Maps:
    """Another rounding, and sometimes another mask, in every third place."""
    moved = maps.copy()
    moved[::3] += 0.01
    return moved


def by_company(batch: Maps, maps: Maps) -> Maps:
    """Maps that depend on the brightest image of the batch."""
    return maps + 0.1 * batch.max() * (batch.std(axis=(1, 2, 3), keepdims=True) > 0.1)


def test_a_place_in_the_batch_may_round_otherwise_and_two_runs_are_the_same(
    made: Stage, run: Any
) -> None:
    first = run(NullDevice(by_place))
    assert made.runtime.measured.batch_dependent == ()
    again = run(NullDevice(by_place))
    assert all(np.array_equal(first[case], again[case]) for case in first)


def test_a_device_that_mixes_images_runs_them_one_by_one(made: Stage, run: Any) -> None:
    device = NullDevice(by_company)
    run(device)
    assert made.runtime.measured.batch_dependent == ("0.onnx",)
    assert made.runtime.fixed_batches == (1,)


def test_company_that_matters_to_no_probe_is_found_when_cases_run_again(
    made: Stage, run: Any
) -> None:
    def late(batch: Maps, maps: Maps) -> Maps:
        if device.sizes.count(DEVICE_BATCH) < 13:  # the tries and the first two batches are over
            return maps
        return maps + batch.sum(axis=(1, 2, 3)).std()

    device = NullDevice(late)
    with pytest.raises(BusbenchError) as refused:
        run(device)
    assert refused.value.code == "model-nondeterministic"


def test_what_is_not_proven_is_not_tried_in_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Sub", ["x", "m"], ["y"]),
    ]
    made = stage(tmp_path, speckle(3), network(nodes))
    NullDevice().plug_in(monkeypatch)
    made.infer(device="cuda")
    assert made.runtime.measured.batch_dependent == ("0.onnx",)
    assert made.runtime.fixed_batches == (1,)


@pytest.mark.parametrize("size", [1, 3, 4, 16])
def test_company_is_not_mistaken_for_place(size: int) -> None:
    probes = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)

    def placed(batch: Maps) -> Maps:
        return batch + np.arange(len(batch), dtype=np.float32)[:, None, None, None]

    def mixed(batch: Maps) -> Maps:
        return batch + batch[::-1] if len(batch) > 1 else batch

    assert not depends_on_company(placed, probes, size)
    assert depends_on_company(mixed, probes, size) == (size > 1)
    assert depends_on_batch(placed, probes, {size} - {1}) == (size > 1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_batch_is_filled_up_with_its_own_images(count: int) -> None:
    images = np.random.default_rng(1).random((count, 1, 4, 4), np.float32)
    filled = fill(images, 5)
    assert filled.shape == (5, 1, 4, 4)
    assert all(np.array_equal(filled[n], images[n % count]) for n in range(5))

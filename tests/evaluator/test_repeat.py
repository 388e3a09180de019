"""Repeated cases: noise hides on none of them, and what they took is the latency."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyrage
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from evaluator.documents.inference import REPEATED, REPEATED_SHARE
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.errors import BusbenchError
from evaluator.inference import infer as stage_module
from evaluator.inference.backends import InferSettings, Model, open_model
from evaluator.inference.ready import ready
from evaluator.inference.repeat import draw_repeated
from evaluator.sealed import seal_archive
from tests.support.inference import SIZE, Stage, blur, network, stage

node = helper.make_node


def stored(name: str, value: Any) -> onnx.TensorProto:
    """A constant, float32."""
    tensor: onnx.TensorProto = numpy_helper.from_array(np.asarray(value, np.float32), name)
    return tensor


SEEDS = ["0" * 64, "5eed" * 16, "c4" * 32]
NAMES = [f"c{number:05}" for number in range(60)]


# --- which ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [0, 1, REPEATED, 60, REPEATED * REPEATED_SHARE, 1000])
def test_no_draw_is_too_small_or_another_the_second_time(total: int) -> None:
    names = [f"case-{number}" for number in range(total)]
    drawn = draw_repeated(SEEDS[0], "sweep", names)
    assert len(drawn) == min(total, max(REPEATED, total // REPEATED_SHARE)) and drawn <= {*names}
    assert drawn == draw_repeated(SEEDS[0], "sweep", names[::-1])


def test_no_draw_tells_of_another_sweeps() -> None:
    draws = [
        draw_repeated(seed, f"{submission}:{bits}", NAMES)
        for seed in SEEDS
        for submission in "abcdefgh"
        for bits in ("fold-0.bits", "fold-1.bits", "fold-0.transformed.bits")
    ]
    assert len({*draws}) == len(draws)
    drawn = np.array([[name in draw for name in NAMES] for draw in draws])
    assert drawn.any(axis=0).all()  # no case is left out by all


# --- noise ---------------------------------------------------------------------------------------


def numbered(count: int = len(NAMES)) -> list[NDArray[np.uint8]]:
    """Images of one grey each, which is their number."""
    return [np.full((SIZE, SIZE), 2 * number + 1, np.uint8) for number in range(count)]


def noisy_on(numbers: frozenset[int] | set[int]) -> bytes:
    """A network that gives noise for the images of these numbers, which it knows by their grey."""
    greys = np.array([(2 * n + 1) / 255 for n in sorted(numbers)] or [9.0], np.float32)
    constants = [
        stored("greys", greys.reshape(1, -1, 1, 1)),
        stored("near", 0.5 / 255),
        stored("level", 0.2),
    ]
    nodes = [
        node("ReduceMean", ["x"], ["grey"], axes=[1, 2, 3]),
        node("Sub", ["grey", "greys"], ["from"]),
        node("Abs", ["from"], ["far"]),
        node("ReduceMin", ["far"], ["least"], axes=[1]),
        node("Less", ["least", "near"], ["known"]),
        node("RandomNormalLike", ["x"], ["noise"]),
        node("Where", ["known", "noise", "x"], ["either"]),
        node("Sub", ["either", "level"], ["y"]),
    ]
    return network(nodes, constants)


def sealed_with(made: Stage, seed: str | None) -> Stage:
    """The same stage with its images sealed anew."""
    identity = pyrage.x25519.Identity.from_str(made.key.read_text())
    images = numbered()
    cases = tuple(
        SealedCase(case_id=name, height=SIZE, width=SIZE, file=f"{n}.grey")
        for n, name in enumerate(NAMES)
    )
    index = SealedIndex(split_digest="0" * 64, repeat_seed=seed, cases=cases)
    path = made.images.with_name("anew.age")
    path.write_bytes(
        seal_archive(index, (image.tobytes() for image in images), str(identity.to_public()))
    )
    return replace(made, images=path)


def drawn_numbers(made: Stage, seed: str) -> set[int]:
    drawn = draw_repeated(seed, f"{made.submission.digest}:fold-all.bits", NAMES)
    return {NAMES.index(name) for name in drawn}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [1, 4])
def test_noise_on_every_case_that_other_seeds_repeat_not_is_refused(
    tmp_path: Path, seed: str, size: int
) -> None:
    """Whoever knew the cases of one bundle would hide there, and be seen by another."""
    blank = stage(tmp_path / "blank", numbered(), blur())
    known = {*range(60)} - drawn_numbers(blank, "ee" * 32)
    made = sealed_with(stage(tmp_path / "noisy", numbered(), noisy_on(known)), seed)
    with pytest.raises(BusbenchError) as refused:
        made.infer(batch_size=size)
    assert refused.value.code == "model-nondeterministic" and "0.onnx" in refused.value.message


@pytest.mark.parametrize("share", [1, 2, 5])
def test_noise_on_a_share_of_the_cases_is_refused(tmp_path: Path, share: int) -> None:
    noisy = noisy_on({*range(0, 60, share)})
    made = sealed_with(stage(tmp_path, numbered(), noisy, noisy, noisy), SEEDS[1])
    with pytest.raises(BusbenchError) as refused:
        made.infer()
    assert refused.value.code == "model-nondeterministic"


def test_a_model_without_noise_is_not_refused(tmp_path: Path) -> None:
    made = sealed_with(stage(tmp_path, numbered(), noisy_on(set())), SEEDS[1])
    assert any(mask.any() for mask in made.infer().values())


# --- company -------------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[int]]]:
    """The numbers of the images of each run, in order."""
    runs: list[list[int]] = []

    class Spied:
        def __init__(self, model: Model) -> None:
            self.model = model

        def __getattr__(self, name: str) -> Any:
            return getattr(self.model, name)

        def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            runs.append([round(255 * float(image.mean())) // 2 for image in batch])
            return self.model.run(batch)

    monkeypatch.setattr(stage_module, "open_model", lambda *a: Spied(open_model(*a)))
    yield runs


@pytest.mark.parametrize("count", [3, 8, 18, 60])
def test_no_case_is_repeated_in_the_same_company_only(
    tmp_path: Path, seen: list[list[int]], count: int
) -> None:
    made = stage(tmp_path, numbered(count), blur())
    made.infer(batch_size=4)
    size = min(4, count)
    first = next(n for n in range(len(seen)) if seen[n : n + 1] == [[*range(size)]])
    batches = [[*range(count)][start : start + 4] for start in range(0, count, 4)]
    assert seen[first : first + len(batches)] == batches
    again = seen[first + len(batches) :]
    repeated = {number for run in again for number in run}
    assert len(repeated) == min(count, REPEATED)
    for number in repeated:
        runs = [run for run in again if number in run]
        assert sum(run == [number] for run in runs) >= 2  # alone
        place = next(batch for batch in batches if number in batch)
        together = [run for run in runs if len(run) == size]
        assert together and all(run != place for run in together)


# --- latency -------------------------------------------------------------------------------------


def branching(condition: list[onnx.NodeProto], layers: int = 24) -> bytes:
    """A network that skips its layers where `fast` is true."""
    rng = np.random.default_rng(0)
    constants = [
        stored("w", rng.normal(0, 0.05, (32, 32, 3, 3))),
        stored("first", rng.normal(0, 0.05, (32, 1, 3, 3))),
        stored("last", rng.normal(0, 0.05, (1, 32, 1, 1))),
        stored("little", 0.02),
        stored("half", 0.5),
    ]
    slow = [node("Conv", ["x", "first"], ["t0"], pads=[1] * 4)]
    slow += [node("Conv", [f"t{n}", "w"], [f"t{n + 1}"], pads=[1] * 4) for n in range(layers)]
    slow.append(node("Conv", [f"t{layers}", "last"], ["z"]))
    result = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    branches = {
        "then_branch": helper.make_graph([node("Identity", ["x"], ["z"])], "fast", [], result),
        "else_branch": helper.make_graph(slow, "slow", [], result),
    }
    return network([*condition, node("If", ["fast"], ["y"], **branches)], constants)


# Noise differs from a real image by its steps from pixel to pixel, a constant one by its range.
STEPS = [
    node("AveragePool", ["x"], ["smooth"], kernel_shape=[3, 3], pads=[1] * 4),
    node("Sub", ["x", "smooth"], ["step"]),
    node("Abs", ["step"], ["steps"]),
    node("ReduceMean", ["steps"], ["rough"], keepdims=0),
]
RANGE = [
    node("ReduceMax", ["x"], ["high"], keepdims=0),
    node("ReduceMin", ["x"], ["low"], keepdims=0),
    node("Sub", ["high", "low"], ["range"]),
]
FAST_ON = {
    "noise": [*STEPS, node("Greater", ["rough", "little"], ["fast"])],
    "constant": [*RANGE, node("Less", ["range", "little"], ["fast"])],
}


def discs(count: int, bright: int = 0) -> list[NDArray[np.uint8]]:
    """Smooth images with a dark disc each; the first `bright` of them are brighter."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside = (rows - 30) ** 2 + (columns - 34) ** 2 < 200
    disc = np.where(inside, 40, 90).astype(np.uint8)
    return [disc + np.uint8(150 if number < bright else number) for number in range(count)]


def as_input(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An image as a batch of one."""
    return (image[None, None] / 255).astype(np.float32)


def seconds_of(model: Path, image: NDArray[np.float32]) -> float:
    """Of one run, the fastest of some."""
    times = []
    with closing(open_model(model, InferSettings())) as opened:
        for _ in range(4):
            start = time.perf_counter()
            opened.run(image)
            times.append(time.perf_counter() - start)
    return min(times)


def latency(made: Stage) -> float:
    """Seconds, as reported."""
    found = made.runtime.measured.latency_ms
    assert found is not None
    return found / 1000


@pytest.mark.parametrize("kind", FAST_ON)
def test_no_fast_path_on_what_is_no_test_image_shortens_the_latency(
    tmp_path: Path, kind: str
) -> None:
    made = stage(tmp_path, discs(6), branching(FAST_ON[kind]))
    made.infer()
    shape = (1, 1, SIZE, SIZE)
    decoys = {
        "noise": np.random.default_rng(0).random(shape, np.float32),
        "constant": np.zeros(shape, np.float32),
    }
    fast = seconds_of(made.folder / "0.onnx", decoys[kind])
    slow = seconds_of(made.folder / "0.onnx", as_input(discs(1)[0]))
    assert slow > 8 * fast  # or there were no fast path
    assert latency(made) > 4 * fast


def test_no_fast_path_for_most_test_images_hides_the_others(tmp_path: Path) -> None:
    bright = [
        node("ReduceMean", ["x"], ["mean"], keepdims=0),
        node("Greater", ["mean", "half"], ["fast"]),
    ]
    images = discs(10, bright=6)
    made = stage(tmp_path, images, branching(bright))
    made.infer()
    fast = min(seconds_of(made.folder / "0.onnx", as_input(image)) for image in images)
    assert latency(made) > 2 * fast


def test_no_fast_model_of_one_fold_hides_a_slow_one_of_another(tmp_path: Path) -> None:
    never = [*RANGE, node("Less", ["range", "range"], ["fast"])]
    made = stage(tmp_path, discs(4), blur(), branching(never), blur())
    made.infer()
    fast = seconds_of(made.folder / "0.onnx", as_input(discs(1)[0]))
    assert latency(made) > 4 * fast


# --- bundles without a seed ----------------------------------------------------------------------


@pytest.mark.parametrize("who", ["infer", "ready"])
def test_images_without_a_seed_are_refused(tmp_path: Path, who: str) -> None:
    made = sealed_with(stage(tmp_path, numbered(), blur()), None)
    with pytest.raises(BusbenchError) as refused:
        if who == "infer":
            made.infer()
        else:
            ready(made.out, images=made.images, key=made.key, settings=InferSettings())
    assert refused.value.code == "bundle-invalid" and "busbench seal" in refused.value.remedy

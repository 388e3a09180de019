"""The infer stage from sealed images to masks: what it must not change, lose or let pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyrage
import pytest
from numpy.typing import NDArray
from onnx import helper

from evaluator.consistency import draw, transform_pixels, window_seeds
from evaluator.documents.base import read
from evaluator.documents.inference import REPEATED, EfficiencyLimits
from evaluator.documents.predictions import Predictions
from evaluator.documents.sealed import SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.inference import infer as stage_module
from evaluator.inference.backends import open_model
from evaluator.inference.hardware import device_name
from evaluator.predictions import (
    DOCUMENT,
    bits_file,
    level,
    maps_file,
    open_predictions,
    read_maps,
)
from evaluator.scoring.cases import require_one_cut
from evaluator.sealed import Cases, open_sealed, seal_archive
from tests.support import ROOT
from tests.support.inference import (
    Stage,
    blur,
    dice_rolling,
    echo,
    network,
    speckle,
    stage,
)

SEED = "5eed" * 16


def ellipses(count: int) -> list[np.ndarray]:
    """Images that are masks: an ellipse of more than 1,000 pixels each, anywhere."""
    rng = np.random.default_rng(3)
    masks = []
    for height, width in rng.integers(200, 700, (count, 2)):
        rows, columns = np.mgrid[:height, :width]
        middle = rng.uniform(0.35, 0.65, 2) * (height, width)
        half = rng.uniform(0.1, 0.3, 2) * min(height, width)
        inside = ((rows - middle[0]) / half[0]) ** 2 + ((columns - middle[1]) / half[1]) ** 2 <= 1
        masks.append(inside)
        assert inside.sum() > 1000
    return masks


@pytest.mark.parametrize("rule", ["letterbox", "stretch"])
def test_the_stage_loses_nothing_of_a_perfect_network(tmp_path: Path, rule: str) -> None:
    truths = ellipses(12)
    images = [mask.astype(np.uint8) * 255 for mask in truths]
    size: dict[str, Any] = {"height": 224, "width": 224, "resize": rule}
    found = stage(tmp_path, images, echo(), kind="probabilities", **size).infer()
    for mask, truth in zip(found.values(), truths, strict=True):
        assert mask.shape == truth.shape
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.99


def test_no_batch_size_and_no_number_of_threads_changes_a_mask(tmp_path: Path) -> None:
    images = speckle(21)
    wanted: dict[str, NDArray[np.bool_]] = {}
    for number, (size, threads) in enumerate([(1, 1), (2, 2), (5, 4), (8, 1), (32, 2)]):
        found = stage(tmp_path / str(number), images, blur()).infer(
            batch_size=size, threads=threads
        )
        wanted = wanted or found
        assert list(found) == [f"c{n:05}" for n in range(21)]
        assert all(np.array_equal(found[case], wanted[case]) for case in wanted)
    assert any(mask.any() and not mask.all() for mask in wanted.values())


def test_a_model_exported_for_one_image_is_given_one_at_a_time(tmp_path: Path) -> None:
    images = speckle(5)
    found = stage(tmp_path / "1", images, echo(batch=1)).infer(batch_size=4)
    wanted = stage(tmp_path / "n", images, echo()).infer(batch_size=4)
    assert all(np.array_equal(found[case], wanted[case]) for case in wanted)


def test_a_transformed_image_is_run_like_any_other_image(tmp_path: Path) -> None:
    seed, images = "5" * 64, speckle(9)
    both = stage(tmp_path / "both", images, blur(), seed=seed)
    plain = stage(tmp_path / "plain", images, blur())
    wanted = plain.infer(batch_size=4)
    assert all(
        np.array_equal(mask, wanted[case]) for case, mask in both.infer(batch_size=4).items()
    )
    transformed = [
        transform_pixels(image, draw(seed, case, image.shape))
        for case, image in zip(wanted, images, strict=True)
    ]
    alone = stage(tmp_path / "transformed", transformed, blur())
    alone.infer(batch_size=4)
    seen, single = (
        read(Predictions, made.out / "predictions.json", Code.PREDICTIONS_INVALID, remedy="")
        for made in (both, alone)
    )
    assert seen.transformed == (single.cases,)
    assert (both.out / "fold-all.transformed.bits").read_bytes() == (
        alone.out / "fold-all.bits"
    ).read_bytes()
    assert not (plain.out / "fold-all.transformed.bits").exists()


def test_what_it_ran_on_is_written_down(tmp_path: Path) -> None:
    made = stage(tmp_path, speckle(REPEATED + 3), blur(), blur(6))
    made.infer(threads=2)
    runtime = made.runtime
    measured = runtime.measured
    assert (runtime.device, runtime.threads) == ("cpu", 2)
    assert measured.repeated_cases >= REPEATED
    assert measured.device_name != "unknown"
    assert len(measured.batch_sizes) == 2 and {*measured.batch_sizes} <= {1, 2, 4, 8, 16, 32, 64}
    assert measured.latency_ms and measured.host_memory_mb


def test_a_model_that_rolls_dice_is_refused(tmp_path: Path) -> None:
    made = stage(tmp_path, speckle(3), dice_rolling())
    with pytest.raises(BusbenchError) as refused:
        made.infer()
    assert refused.value.code == "model-nondeterministic"
    assert "0.onnx" in refused.value.message
    assert not (made.out / "predictions.json").exists()


@pytest.mark.parametrize(
    "kind, operator, sentence",
    [
        ("probabilities", "Exp", "none of the declared kind"),
        ("mask", "Identity", "none of the declared kind"),
        ("softmax", "Identity", "another shape than declared"),
        ("logits", "Log", "NaN or infinite"),
    ],
)
def test_an_output_of_another_kind_is_refused(
    tmp_path: Path, kind: str, operator: str, sentence: str
) -> None:
    model = network([helper.make_node(operator, ["x"], ["y"])])
    dark = [np.zeros((50, 60), np.uint8), *speckle(3)]
    with pytest.raises(BusbenchError) as refused:
        stage(tmp_path, dark, model, kind=kind).infer(batch_size=2)
    assert refused.value.code == "model-failed"
    assert sentence in refused.value.message


def test_a_damaged_image_ends_the_stage_once_and_leaves_no_thread(tmp_path: Path) -> None:
    made = stage(tmp_path, speckle(30), blur())
    whole = made.images.read_bytes()
    made.images.write_bytes(whole[: len(whole) // 2])
    before = set(threading.enumerate())  # other tests of this process may have left some
    with pytest.raises(BusbenchError) as refused:
        made.infer(batch_size=2)
    assert refused.value.code in ("bundle-invalid", "keys-invalid")
    assert set(threading.enumerate()) <= before


def run_stage(made: Stage, *more: str) -> subprocess.CompletedProcess[str]:
    words = {
        "submission": made.folder,
        "gate": made.folder.parent / "gate.json",
        "images": made.images,
        "key": made.key,
        "out": made.out,
    }
    return subprocess.run(
        [sys.executable, "-m", "evaluator", "infer"]
        + [f"--{name}={path}" for name, path in words.items()]
        + list(more),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_machine_without_a_gpu_refuses_and_never_takes_the_cpu(
    tmp_path: Path, device: str
) -> None:
    made = stage(tmp_path, speckle(1), echo())
    done = run_stage(made, "--device", device)
    assert done.returncode == 30, done.stderr
    error = json.loads((made.out / "error.json").read_text())
    assert error["code"] == "device-unavailable" and "Traceback" not in done.stderr
    assert not list(made.out.glob("*.bits"))


def test_a_batch_size_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    made = stage(tmp_path, speckle(1), echo())
    for wrong in ("0", "-3", "many"):
        assert run_stage(made, "--batch-size", wrong).returncode == 2


def test_no_image_is_read_more_than_twice_whatever_the_number_of_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for the masks of all models and passes, and once for what is run again."""
    read: list[str] = []

    def noted(self: Cases, start: int, end: int) -> Any:
        read.extend(case.case_id for case in self.index.cases[start:end])
        return block(self, start, end)

    block = Cases.block
    monkeypatch.setattr(Cases, "block", noted)
    made = stage(tmp_path, speckle(30), blur(3), blur(5), blur(7), seed=SEED)
    made.infer(batch_size=4)
    times = Counter(read) - Counter(["c00000", "c00001"])  # which are tried before
    assert sorted(times) == [f"c{n:05}" for n in range(30)] and max(times.values()) == 2


@pytest.mark.parametrize("fitting", [1, 2])
def test_models_that_do_not_fit_together_give_the_same_masks_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitting: int
) -> None:
    models = [blur(side) for side in (3, 5, 7)]
    together, apart = (
        stage(tmp_path / name, speckle(20), *models, seed=SEED) for name in ("one", "more")
    )
    together.infer(batch_size=4)
    joined = iter([True, False] if fitting == 2 else [False] * 2)
    monkeypatch.setattr(stage_module._Run, "may_join", lambda *_: next(joined))
    said: list[str] = []
    apart.infer(batch_size=4, progress=lambda what, done, total: said.append(what))
    for path in together.out.glob("*.bits"):
        assert path.read_bytes() == (apart.out / path.name).read_bytes()
    spans = [line.split("now ")[1].split(":")[0] for line in said if "run apart" in line]
    assert spans == (["1 to 2 of 3", "3 of 3"] if fitting == 2 else [f"{n} of 3" for n in "123"])


def test_weights_of_the_model_that_is_opened_ahead_are_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stage(tmp_path, speckle(4), blur(), blur(6))
    free = (made.folder / "0.onnx").stat().st_size  # beside the first: too little for another
    monkeypatch.setattr(stage_module, "free_memory", lambda _: free)
    said: list[str] = []
    made.infer(progress=lambda what, done, total: said.append(what))
    assert sum("run apart" in line for line in said) == 2


def test_memory_that_is_limited_is_never_that_of_several_models(tmp_path: Path) -> None:
    made = stage(tmp_path, speckle(4), blur(), blur())
    limits = EfficiencyLimits(device_name=device_name("cpu"), host_memory_mb=100_000)
    said: list[str] = []
    made.infer(efficiency=limits, progress=lambda what, done, total: said.append(what))
    assert sum("run apart" in line for line in said) == 2


def test_an_image_of_another_size_than_its_index_is_refused(tmp_path: Path) -> None:
    made = stage(tmp_path, speckle(4), blur())
    identity = pyrage.x25519.Identity.from_str(made.key.read_text())
    with open_sealed(made.images, made.key) as (index, _):
        data = seal_archive(index, [bytes(100)] * 4, str(identity.to_public()))
    made.images.write_bytes(data)
    with pytest.raises(BusbenchError, match="another size than its index") as refused:
        made.infer()
    assert refused.value.code == "bundle-invalid"


def test_no_model_stays_open_where_the_images_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, closed = stage(tmp_path, speckle(4), blur()), list[bool]()
    made.images.write_bytes(b"")

    def opening(*words: Any) -> Any:
        model = open_model(*words)
        monkeypatch.setattr(model, "close", lambda: closed.append(True))
        return model

    monkeypatch.setattr(stage_module, "open_model", opening)
    with pytest.raises(BusbenchError):
        made.infer()
    assert closed == [True]


def test_probabilities_are_those_of_the_masks_and_of_plain_images_alone(tmp_path: Path) -> None:
    made = stage(tmp_path, speckle(9), blur(1), blur(2), seed="5" * 64)
    masks = made.infer(batch_size=4)
    without = read(Predictions, made.out / DOCUMENT, Code.PREDICTIONS_INVALID, remedy="")
    assert not without.maps and without.threshold is None
    assert not [*made.out.glob("*.maps")]
    again = made.infer(batch_size=4, probabilities=True)
    assert all(np.array_equal(mask, masks[case]) for case, mask in again.items())
    document = open_predictions(made.out)
    assert document.masks == without.masks  # the masks are as before
    assert {*document.maps} == {maps_file(fold) for fold in document.folds}
    assert document.threshold == made.submission.output.threshold
    some = set()
    for case, data in zip(
        document.cases,
        read_maps(made.out / maps_file(document.folds[0]), document.cases),
        strict=True,
    ):
        levels = np.frombuffer(data, np.uint8).reshape(case.height, case.width)
        require_one_cut(masks[case.case_id], levels, level(document.threshold))
        some |= {*levels.ravel().tolist()}
    assert len(some) > 100


def test_a_network_that_gives_masks_has_no_probabilities(tmp_path: Path) -> None:
    rounded = network([helper.make_node("Round", ["x"], ["y"])])
    made = stage(tmp_path, speckle(2), rounded, kind="mask")
    made.infer(probabilities=True)
    document = open_predictions(made.out)
    assert not document.maps and document.threshold is None


def test_each_window_is_run_like_any_other_image(tmp_path: Path) -> None:
    """Of two sealings, one with the second window's seed as its only one: the same masks."""
    images = speckle(5)
    many = stage(tmp_path / "many", images, blur(), seed=SEED, windows=3)
    many.infer(batch_size=4)
    index = SealedIndex(split_digest="0" * 64, consistency_seed=SEED, windows=3, cases=())
    for window, seed in enumerate(window_seeds(index), start=1):
        one = stage(tmp_path / f"{window}", images, blur(), seed=seed)
        one.infer(batch_size=4)
        assert (many.out / bits_file(None, window)).read_bytes() == (
            one.out / bits_file(None, 1)
        ).read_bytes()

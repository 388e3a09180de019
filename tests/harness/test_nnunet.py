"""nnU-Net: what it trained predicts the same masks here as in its own predictor."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluator.inference.outputs import background
from evaluator.inference.preprocessing import to_input
from evaluator.inference.tiles import map_image
from harness.submission import read_submission
from harness.template import Kind, new_submission
from tests.support import ROOT
from tests.support.inference import mask_of
from tests.support.jobs import run
from tests.support.training_bundle import pixels_digest, write_table

pytestmark = [pytest.mark.slow, pytest.mark.real_data]
FOLDS, STEPS = 2, 60
SIZES = {"epochs": 1, "steps": STEPS, "tile": 128, "batch": 3, "maps": [8, 16, 32, 64]}
# Trains as asked, and keeps nnU-Net's folder instead of exporting.
TRAIN = """
import shutil, sys, train
train.export = lambda results, bundle, out, mirroring: shutil.copytree(results, {kept!r})
sys.argv = ["train.py", "--bundle", {bundle!r}, "--out", {out!r}, *{options!r}]
train.main()
"""


def options_of(sizes: dict[str, Any]) -> list[str]:
    """The words of `train.py`'s command line that state sizes."""
    words = [
        [f"--{name}", *(value if isinstance(value, list) else [value])]
        for name, value in sizes.items()
    ]
    return [str(word) for each in words for word in each]


@dataclass(frozen=True)
class Trained:
    """A short training on real images, and where its parts are."""

    python: Path  # that has nnU-Net
    bundle: Path
    results: Path
    project: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of nnU-Net's Python, in the project."""
        return subprocess.run(
            [str(self.python), *words],
            cwd=self.project,
            env=self.environment() | {"PYTHONPATH": str(self.project)},
            capture_output=True,
            text=True,
            check=False,
        )

    def shift(self) -> None:
        """Give masks that are neither empty nor whole to networks that have hardly learned."""
        script = ROOT / "tests" / "support" / "nnunet_shift.py"
        words = [self.python, script, self.results, self.bundle / "images" / "case-1.png"]
        subprocess.run(words, env=self.environment(), check=True, capture_output=True)

    def predict(self, out: Path) -> dict[str, dict[str, NDArray[np.bool_]]]:
        """Masks by nnU-Net's own predictor: of fold 0, of fold 1, and of both."""
        script = ROOT / "tests" / "support" / "nnunet_predict.py"
        places = (self.python, script, self.results, self.bundle / "images", out)
        words = [*map(str, places), "0", "1", "01"]
        subprocess.run(words, env=self.environment(), check=True, capture_output=True)
        return {folds: dict(read_masks(out / folds)) for folds in ("0", "1", "01")}


def read_masks(folder: Path) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            yield path.stem, np.array(image) > 0


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """By its definition; of two empty masks, 1."""
    total = int(found.sum() + truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def write_real_bundle(path: Path, data: Path) -> Path:
    """Six benign images of BUSI at half their size, one with black sides to crop, in two folds."""
    (path / "images").mkdir(parents=True)
    (path / "masks").mkdir()
    found = []
    for source in (data / "Dataset_BUSI_with_GT" / "benign").glob("benign (*).png"):
        if "mask" not in source.name and not source.with_name(f"{source.stem}_mask_1.png").exists():
            with Image.open(source) as image:
                found.append((image.width * image.height, source))
    rows = []
    for number, (_, source) in enumerate(sorted(found)[:6]):
        with Image.open(source) as image, Image.open(f"{source.with_suffix('')}_mask.png") as drawn:
            pixels = np.array(image.convert("L").reduce(2))
            mask = np.array(drawn.convert("L").reduce(2)) > 127
        if number == 0:
            pixels[:9] = pixels[:, -7:] = 0
        name = f"case-{number}"
        Image.fromarray(pixels).save(path / "images" / f"{name}.png")
        Image.fromarray(mask).save(path / "masks" / f"{name}.png")
        digests = (pixels_digest(pixels), pixels_digest(mask))
        rows.append((name, number % FOLDS, "benign", f"p{number}", *mask.shape, "", "", *digests))
    write_table(path, rows, folds=FOLDS)
    return path


@pytest.fixture(scope="module")
def trained(nnunet: Path, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("nnunet")
    bundle = write_real_bundle(folder / "bundle", real_data)
    made = Trained(nnunet, bundle, folder / "results", folder / "mine")
    new_submission(made.project, Kind.NNUNET, "team", method="method")
    script = TRAIN.format(
        options=options_of(SIZES),
        kept=str(made.results),
        bundle=str(bundle),
        out=str(folder / "out"),
    )
    done = made.run("-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    made.shift()
    return made


def predicted(submission: Path, images: Path) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Masks as the infer stage makes them, by fold (`None` of all) and case."""
    declared = read_submission(submission)
    inputs, found = declared.input, dict[str, dict[str, NDArray[np.bool_]]]()
    for model in declared.models:
        session = onnxruntime.InferenceSession(submission / model.file)

        def run_on(tiles: Any, session: Any = session) -> Any:
            return session.run(None, {"image": tiles})[0]

        masks = found.setdefault(str(model.fold), {})
        for path in sorted(images.iterdir()):
            with Image.open(path) as image:
                pixels = np.array(image)
            maps = map_image(
                to_input(pixels, inputs),
                inputs,
                run_on,
                outside=background("softmax"),
                size=4,
            )
            masks[path.stem] = mask_of(maps, pixels.shape, inputs, outputs=declared.output)
    return found


def import_results(trained: Trained, out: Path, *options: str) -> Any:
    places = ("--bundle", trained.bundle, "--out", out, "--python", trained.python)
    return run("import-nnunet", trained.results, *places, *options)


def test_no_mask_is_another_than_by_nnunets_own_predictor(trained: Trained, tmp_path: Path) -> None:
    """Mean Dice within 0.002, masks within 0.5 % of pixels: of each fold, and of their ensemble."""
    images, truth = trained.bundle / "images", dict(read_masks(trained.bundle / "masks"))
    found: dict[str, dict[str, NDArray[np.bool_]]] = {}
    for options in ((), ("--ensemble",)):
        out = tmp_path / f"submission{len(options)}"
        done = import_results(trained, out, *options)
        assert done.returncode == 0, done.stderr
        found |= predicted(out, images)
    wanted = trained.predict(tmp_path / "own")
    for fold, own in (("0", "0"), ("1", "1"), ("None", "01")):
        assert found[fold].keys() == wanted[own].keys() == truth.keys()
        for case, mask in wanted[own].items():
            assert (mask != found[fold][case]).mean() < 0.005, (fold, case)
        means = [
            np.mean([dice(masks[case], truth[case]) for case in truth])
            for masks in (found[fold], wanted[own])
        ]
        assert abs(means[0] - means[1]) < 0.002
        areas = [mask.mean() for mask in wanted[own].values()]
        assert 0.1 < np.mean(areas) < 0.9  # else anything would agree


def test_no_size_that_is_asked_for_has_no_effect(trained: Trained) -> None:
    """By what nnU-Net itself wrote down of the plan and the training."""
    plans = json.loads((trained.results / "plans.json").read_text())["configurations"]["2d"]
    network = plans["architecture"]["arch_kwargs"]
    assert (plans["patch_size"], plans["batch_size"]) == ([SIZES["tile"]] * 2, SIZES["batch"])
    assert network["features_per_stage"] == SIZES["maps"] and network["n_stages"] == 4
    for fold in range(FOLDS):
        debug = json.loads((trained.results / f"fold_{fold}" / "debug.json").read_text())
        assert debug["num_epochs"] == str(SIZES["epochs"])
        assert debug["num_iterations_per_epoch"] == str(STEPS)
        assert debug["num_val_iterations_per_epoch"] == str(STEPS // 5)


def test_no_models_of_other_folds_are_imported(trained: Trained, tmp_path: Path) -> None:
    """nnU-Net says which cases validated a fold; here one that trains it in the bundle."""
    results = tmp_path / "results"
    shutil.copytree(trained.results, results)
    summary = results / "fold_1" / "validation" / "summary.json"
    summary.parent.mkdir()
    cases = [{"reference_file": f"/labels/case-{number}.png"} for number in (1, 3, 4)]
    summary.write_text(json.dumps({"metric_per_case": cases}))
    done = import_results(replace(trained, results=results), tmp_path / "out")
    assert done.returncode == 10 and not (tmp_path / "out").exists()
    assert "other cases than fold 1 of the bundle, such as case-4" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("configurations", "2d", "spacing"), [0.5, 0.5], "resamples to a spacing"),
        (("configurations", "2d", "use_mask_for_norm"), [True], "within a mask"),
        (("configurations", "2d", "normalization_schemes"), ["CTNormalization"], "CTNorm"),
        (("transpose_forward",), [0, 2, 1], "swaps the axes"),
    ],
)
def test_nothing_that_a_submission_cannot_say_is_left_out_in_silence(
    path: tuple[str, ...], value: object, words: str, trained: Trained, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(trained.results, results)
    plans = json.loads((results / "plans.json").read_text())
    at = plans
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    (results / "plans.json").write_text(json.dumps(plans))
    done = import_results(replace(trained, results=results), tmp_path / "out")
    assert done.returncode == 10 and words in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_no_image_that_nnunet_would_crop_is_left_whole_in_silence(
    trained: Trained, tmp_path: Path
) -> None:
    """It crops whatever the normalisation, and only `zscore` says so here."""
    results = tmp_path / "results"
    shutil.copytree(trained.results, results)
    plans = json.loads((results / "plans.json").read_text())
    plans["configurations"]["2d"]["normalization_schemes"] = ["RGBTo01Normalization"]
    (results / "plans.json").write_text(json.dumps(plans))
    done = import_results(replace(trained, results=results), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "RGBTo01Normalization: images with black sides are not cropped" in done.stdout
    assert read_submission(tmp_path / "out").input.normalise is None

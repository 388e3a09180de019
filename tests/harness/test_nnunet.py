"""nnU-Net: what it trained predicts the same masks here as in its own predictor."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.template import Kind, new_submission
from tests.support import ROOT
from tests.support.jobs import run
from tests.support.training_bundle import pixels_digest, write_table

pytestmark = [pytest.mark.slow, pytest.mark.real_data]
FOLDS, STEPS = 2, 60
# Trains as train.py --quick does, for more steps, and keeps nnU-Net's folder instead of exporting.
TRAIN = """
import shutil, sys, train
train.STEPS, kept = {steps}, {kept!r}
train.export = lambda results, bundle, out: shutil.copytree(results, kept)
sys.argv = ["train.py", "--bundle", {bundle!r}, "--out", {out!r}, "--quick"]
train.main()
"""


@dataclass(frozen=True)
class Trained:
    """A short training on real images, and where its parts are."""

    python: Path  # that has nnU-Net
    bundle: Path
    results: Path
    project: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}

    def predict(self, out: Path, folds: str) -> dict[str, NDArray[np.bool_]]:
        """Masks by nnU-Net's own predictor, by case."""
        script = ROOT / "tests" / "support" / "nnunet_predict.py"
        words = [self.python, script, self.results, self.bundle / "images", out, folds]
        subprocess.run(words, env=self.environment(), check=True, capture_output=True)
        return dict(read_masks(out))

    def folds(self) -> dict[str, int]:
        with (self.bundle / "cases.csv").open(newline="") as file:
            return {row["case_id"]: int(row["fold"]) for row in csv.DictReader(file)}


def read_masks(folder: Path) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            yield path.stem, np.array(image) > 0


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """By its definition; of two empty masks, 1."""
    total = int(found.sum() + truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def write_real_bundle(path: Path, data: Path) -> Path:
    """The smallest benign images of BUSI, one with black rows and columns to crop, in two folds."""
    (path / "images").mkdir(parents=True)
    (path / "masks").mkdir()
    found = []
    for source in (data / "Dataset_BUSI_with_GT" / "benign").glob("benign (*).png"):
        if "mask" not in source.name and not source.with_name(f"{source.stem}_mask_1.png").exists():
            with Image.open(source) as image:
                found.append((image.width * image.height, source))
    rows = []
    for number, (_, source) in enumerate(sorted(found)[:8]):
        with Image.open(source) as image, Image.open(f"{source.with_suffix('')}_mask.png") as drawn:
            pixels, mask = np.array(image.convert("L")), np.array(drawn.convert("L")) > 127
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
        steps=STEPS, kept=str(made.results), bundle=str(bundle), out=str(folder / "out")
    )
    words = [nnunet, "-c", script]
    done = subprocess.run(
        words,
        cwd=made.project,
        env=made.environment() | {"PYTHONPATH": str(made.project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def import_results(trained: Trained, out: Path, *options: str) -> Any:
    words = ("--bundle", trained.bundle, "--out", out, "--python", trained.python, *options)
    return run("import-nnunet", trained.results, *words, "--json")


def test_no_mask_is_another_than_by_nnunets_own_predictor(trained: Trained, tmp_path: Path) -> None:
    """Mean Dice within 0.002, masks within 0.5 % of pixels: fold models, and their ensemble."""
    truth, folds = dict(read_masks(trained.bundle / "masks")), trained.folds()
    done = import_results(trained, tmp_path / "submission")
    assert done.returncode == 0, done.stderr
    words = ("--bundle", trained.bundle, "--part", "val", "--runner", "process")
    evaluated = run("evaluate", tmp_path / "submission", *words, "--out", tmp_path / "val")
    assert evaluated.returncode == 0, evaluated.stderr
    found = {
        case: mask for path in (tmp_path / "val").rglob("masks") for case, mask in read_masks(path)
    }
    wanted = {}
    for fold in range(FOLDS):
        masks = trained.predict(tmp_path / f"own-{fold}", str(fold))
        wanted |= {case: mask for case, mask in masks.items() if folds[case] == fold}
    assert found.keys() == wanted.keys() == truth.keys()
    for case, mask in found.items():
        assert (mask != wanted[case]).mean() < 0.005, case
    means = [np.mean([dice(masks[c], truth[c]) for c in truth]) for masks in (found, wanted)]
    assert abs(means[0] - means[1]) < 0.002
    assert means[1] > 0.2  # masks of a network that found something

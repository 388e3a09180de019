"""Masks and overlays that a validation leaves: every case, and the worst first."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion

from harness.challenge import Challenge
from harness.evaluation.overlays import PREDICTION, REFERENCE
from harness.evaluation.validation import ValidateSubmission, Validation
from harness.execution import ExecutionEnvironment, run_job
from harness.pages import outlined
from tests.support.containers import predicted_masks
from tests.support.factories import hand_in
from tests.support.inference import blur
from tests.support.training_bundle import make_bundle

pytestmark = pytest.mark.usefixtures("forked_stages")

FOLDS, CASES = 2, 6


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    root = tmp_path_factory.mktemp("overlays")
    bundle = make_bundle(root / "training", CASES, folds=FOLDS)
    folder = hand_in(root / "mine", *(blur(fold + 1) for fold in range(FOLDS)))
    environment = ExecutionEnvironment("process", Challenge())
    job = ValidateSubmission.of(folder, bundle, root / "runs", environment=environment)
    run_job(job)
    return job.finished()


def read_table(validation: Validation) -> dict[str, dict[str, str]]:
    with (validation.folder / "cases.csv").open() as handle:
        return {row["case_id"]: row for row in csv.DictReader(handle)}


@pytest.mark.slow
def test_no_mask_is_left_out_or_another_than_the_one_that_was_scored(
    validation: Validation,
) -> None:
    scored = {
        name: mask
        for fold in range(FOLDS)
        for name, mask in predicted_masks(validation.folder / f"fold-{fold}/infer")[fold].items()
    }
    assert {path.stem for path in (validation.folder / "masks").iterdir()} == scored.keys()
    for name, mask in scored.items():
        found = np.asarray(Image.open(validation.folder / "masks" / f"{name}.png"))
        assert np.array_equal(found, mask)


@pytest.mark.slow
def test_no_case_is_shown_before_a_worse_one_and_nothing_is_fetched(
    validation: Validation,
) -> None:
    text = (validation.folder / "overlays.html").read_text()
    table = read_table(validation)
    names = re.findall(r"<b>(case-\d+)</b>", text)
    assert sorted(names) == sorted(table)
    dice = [float(table[name]["dice"]) for name in names]
    assert dice == sorted(dice) and len(set(dice)) > 1
    for name in names:
        assert f"<b>{name}</b> Dice {float(table[name]['dice']):.3f}" in text
    assert text.count("data:image/jpeg;base64,") == CASES
    assert not re.search(r"<script|<link|https?://|url\(", text)


def disc(row: int, column: int, radius: int) -> np.ndarray:
    down, right = np.mgrid[:60, :80]
    return (down - row) ** 2 + (right - column) ** 2 < radius**2


@pytest.mark.parametrize(
    "predicted",
    [disc(30, 50, 12), disc(30, 50, 20) & ~disc(30, 50, 8), np.zeros((60, 80), bool)],
)
def test_no_outline_is_drawn_beside_its_mask(predicted: np.ndarray) -> None:
    reference = disc(28, 30, 10)
    image = np.full((60, 80), 77, np.uint8)
    drawn = outlined(image, (reference, REFERENCE), (predicted, PREDICTION))
    edges = [mask & ~binary_erosion(mask) for mask in (reference, predicted)]
    expected = np.stack([image] * 3, axis=2)
    for edge, colour in zip(edges, (REFERENCE, PREDICTION), strict=True):
        expected[edge] = colour
    assert np.array_equal(drawn, expected)


@pytest.mark.slow
def test_no_overlay_that_was_removed_stays_away(validation: Validation) -> None:
    page: Path = validation.folder / "overlays.html"
    before = page.read_bytes()
    page.unlink()
    root = validation.folder.parent.parent
    environment = ExecutionEnvironment("process", Challenge())
    job = ValidateSubmission.of(
        root / "mine", root / "training", root / "runs", environment=environment
    )
    run_job(job)
    assert page.read_bytes() == before

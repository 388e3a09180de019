"""The masks of a validation as PNG files, and the page that shows them on their images.

RUNS/val-<id>/masks/CASE.png    one bit a pixel, at the image's own size
RUNS/val-<id>/overlays.html     worst first; reference and prediction outlined
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evaluator.files import write_atomically
from evaluator.png import decode_png
from evaluator.predictions import bits_file, open_predictions, read_packed, unpack
from evaluator.progress import Progress, quiet
from evaluator.sealed import decode_image
from harness.evaluation.case_table import MASKS, OVERLAYS
from harness.pages import MOST, data_uri, outlined, page
from harness.sealing.training import TrainingCase, TrainingSet
from harness.store import png_bytes

if TYPE_CHECKING:
    import pandas as pd

# BGR; people who cannot distinguish red from green distinguish these
REFERENCE, PREDICTION = (255, 178, 0), (0, 128, 255)


@dataclass(frozen=True)
class Row:
    """One case on the page."""

    name: str
    about: str
    image: str  # a data URI


def write_overlays(
    folder: Path, training: TrainingSet, cases: pd.DataFrame, *, progress: Progress = quiet
) -> None:
    """Write every mask of a validation, and the page of the `MOST` cases of the least Dice.

    Args:
        folder: of the run, with the predictions of every fold.
        cases: a row for each case, from `read_cases`.

    Raises:
        BusbenchError: `bundle-invalid`, `predictions-invalid`.
    """
    order = cases.sort_values(["dice", "hd95", "case_id"], ascending=[True, False, True])
    shown = {str(row["case_id"]): row for row in order.head(MOST).to_dict("records")}
    known = {each.case.case_id: each for each in training.cases}
    images = dict[str, str]()
    for done, (case_id, mask) in enumerate(_masks(folder, sorted(set(cases["fold"]))), 1):
        write_atomically(folder / MASKS / f"{case_id}.png", png_bytes(mask))
        if case_id in shown:
            images[case_id] = _overlay(training, known[case_id], mask)
        progress("masks and overlays", done, len(cases))
    rows = [Row(name, _about(row), images[name]) for name, row in shown.items()]
    about = {"track": training.bundle.track, "cases": len(cases)}
    write_atomically(folder / OVERLAYS, page("evaluation/overlays.html", rows=rows, **about))


def _masks(folder: Path, folds: list[int]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each case with its mask (H, W), fold by fold."""
    for fold in folds:
        place = folder / f"fold-{fold}" / "infer"
        found = open_predictions(place)
        for case, packed in read_packed(place / bits_file(found.folds[0]), found.cases):
            yield case.case_id, unpack(packed, case.height, case.width)


def _overlay(training: TrainingSet, each: TrainingCase, mask: NDArray[np.bool_]) -> str:
    """A case's image with both outlines, the prediction's on top."""
    case = each.case
    image = decode_image(training.image(case), case, training.path)
    reference = decode_png(training.mask(case), case, training.path / "masks") > 0
    return data_uri(outlined(image, (reference, REFERENCE), (mask, PREDICTION)))


def _about(row: dict[Any, Any]) -> str:
    """What the table says of a case, in a line."""
    lesion = f"lesion of {row['lesion_px']} pixels" if row["lesion_px"] else "no lesion"
    return (
        f"Dice {row['dice']:.3f}, IoU {row['iou']:.3f}, HD95 {row['hd95']:.2f}; "
        f"{row['class']}, {lesion}, fold {row['fold']}"
    )

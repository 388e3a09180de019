"""Make a training bundle of bright ellipses on noise, in the layout that `seal` writes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEADER: tuple[str, ...] = ("case_id", "fold", "class", "patient_group", "height", "width")
HEADER += ("spacing_row_mm", "spacing_col_mm", "image_sha256", "mask_sha256")
CLASSES = ("benign", "malignant", "normal")


def pixels_digest(array: NDArray[np.generic]) -> str:
    """The digest that a bundle states for an image or a mask."""
    header = f"{array.shape[0]}x{array.shape[1]}:".encode()
    return hashlib.sha256(header + array.astype(np.uint8).tobytes()).hexdigest()


def ellipse(rng: np.random.Generator, empty: bool) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A noisy image of varying size, and the mask of the bright ellipse in it."""
    height, width = (int(side) for side in rng.integers(40, 70, size=2))
    rows, columns = np.mgrid[:height, :width]
    centre = rng.uniform(0.35, 0.65, size=2) * (height, width)
    radii = rng.uniform(0.15, 0.3, size=2) * (height, width)
    inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
    mask = inside & (not empty)
    image = rng.normal(60, 15, size=(height, width)) + 110 * mask
    return image.clip(0, 255).astype(np.uint8), mask


def make_bundle(path: Path, cases: int, folds: int = 5, *, seed: int = 0) -> Path:
    """Write a sound bundle to `path`, every seventh case without a lesion."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (path / folder).mkdir(parents=True)
    rows = []
    for index in range(cases):
        image, mask = ellipse(rng, empty=index % 7 == 6)
        name = f"case-{index:03d}"
        Image.fromarray(image).save(path / "images" / f"{name}.png")
        Image.fromarray(mask).save(path / "masks" / f"{name}.png")
        label = "normal" if not mask.any() else CLASSES[index % 2]
        digests = (pixels_digest(image), pixels_digest(mask))
        rows.append((name, index % folds, label, f"p{index}", *image.shape, "", "", *digests))
    write_table(path, rows, folds=folds)
    return path


def write_table(
    path: Path,
    rows: Sequence[tuple[object, ...]],
    folds: int = 5,
    *,
    header: tuple[str, ...] = HEADER,
) -> None:
    """Write `cases.csv` and a `bundle.json` that agrees with it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    table = text.getvalue().encode()
    (path / "cases.csv").write_bytes(table)
    document = {
        "schema": "busbench/training-bundle/v3",
        "dataset": "phantom",
        "track": "phantom",
        "split_version": "v1",
        "split_digest": "0" * 64,
        "folds": folds,
        "cases": len(rows),
        "cases_sha256": hashlib.sha256(table).hexdigest(),
        "test_cases": 1,
        "windows": 4,
        "infer": {"seconds": 1800},
        "source": {"cite": "a paper", "release": "a page", "terms": "free"},
        "model": {"megabytes": 1900},
    }
    (path / "bundle.json").write_text(json.dumps(document))


def read_rows(path: Path) -> list[tuple[str, ...]]:
    """The rows of a bundle's table, without the header."""
    with (path / "cases.csv").open(newline="") as handle:
        return [tuple(row) for row in csv.reader(handle)][1:]

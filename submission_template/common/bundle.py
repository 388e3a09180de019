"""Reader of the training bundle: images and masks of every case, with the fold it validates."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image


def read_bundle(bundle: Path, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read all cases, stretched to `size` x `size` as `resize: stretch` does it.

    Returns:
        images (N, 1, size, size) float32 in 0..1; masks (N, 1, size, size) float32, 0 or 1; and
        folds (N,), the fold in which each case validates.
    """
    rows = list(csv.DictReader((bundle / "cases.csv").open(newline="")))
    images = np.stack([_read(bundle / "images", row, size, Image.BILINEAR) for row in rows])
    masks = np.stack([_read(bundle / "masks", row, size, Image.NEAREST) for row in rows])
    return images, (masks > 0.5).astype(np.float32), np.array([int(row["fold"]) for row in rows])


def _read(folder: Path, row: dict[str, str], size: int, how: int) -> np.ndarray:
    image = Image.open(folder / f"{row['case_id']}.png").convert("L")
    return np.asarray(image.resize((size, size), how), np.float32)[None] / 255

"""Data set of a BUSBench training bundle; needs numpy and Pillow, and PyTorch takes it as it is.

    training = BundleDataset("bundles/training", fold=0)
    validation = BundleDataset("bundles/training", fold=0, validation=True)
    loader = torch.utils.data.DataLoader(training, batch_size=8, shuffle=True)

Images come to their size as the evaluator does it. Terms and citation: CITATION in the bundle.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Case = tuple[np.ndarray, np.ndarray]


class BundleDataset:
    """Images and masks of a bundle, in the order of its `cases.csv`.

    A case is (image, mask), both (1, size, size) float32: pixels from 0 to 1, and 0 or 1.

    Args:
        bundle: the folder with `cases.csv`, `images` and `masks`.
        fold: the fold whose model is trained; None: all cases, whatever their fold.
        validation: the cases that validate that model, instead of those that train it.
        size: side of the square that the network takes, in pixels.
        resize: `stretch` or `letterbox`, as `input.resize` of submission.yaml declares.
        transform: called with image and mask, returns both; for augmentation.

    Raises:
        ValueError: a fold that the bundle lacks, or another `resize`.
    """

    def __init__(
        self,
        bundle: Path | str,
        fold: int | None = None,
        validation: bool = False,
        size: int = 224,
        resize: str = "stretch",
        transform: Callable[[np.ndarray, np.ndarray], Case] | None = None,
    ) -> None:
        self.bundle, self.size, self.resize, self.transform = Path(bundle), size, resize, transform
        with (self.bundle / "cases.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        folds = sorted({int(row["fold"]) for row in rows})
        if (fold is None and validation) or fold not in (None, *folds):
            raise ValueError(f"fold {fold} does not validate; the bundle has the folds {folds}")
        if resize not in ("stretch", "letterbox"):
            raise ValueError(f"resize is {resize!r}; it is 'stretch' or 'letterbox'")
        # of each case: case_id, fold, class, patient_group, height, width, spacing_row_mm, ...
        self.rows = [r for r in rows if fold is None or (int(r["fold"]) == fold) is validation]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Case:
        name = f"{self.rows[index]['case_id']}.png"
        image = self._read(self.bundle / "images" / name, Image.Resampling.BILINEAR)
        mask = self._read(self.bundle / "masks" / name, Image.Resampling.NEAREST)
        mask = (mask > 0.5).astype(np.float32)
        return (image, mask) if self.transform is None else self.transform(image, mask)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All cases: images and masks (N, 1, size, size), and the fold (N,) that each validates."""
        images, masks = zip(*(self[index] for index in range(len(self))), strict=True)
        return np.stack(images), np.stack(masks), np.array([int(r["fold"]) for r in self.rows])

    def _read(self, path: Path, how: Image.Resampling) -> np.ndarray:
        with Image.open(path) as file:
            image = file.convert("L")
        width, height = self._inner(*image.size)
        left, top = (self.size - width) // 2, (self.size - height) // 2
        canvas = np.zeros((1, self.size, self.size), np.float32)
        resized = np.asarray(image.resize((width, height), how), np.float32)
        canvas[0, top : top + height, left : left + width] = resized / 255
        return canvas

    def _inner(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the resized image; around it, a letterbox is black."""
        if self.resize == "stretch":
            return self.size, self.size
        scale = min(self.size / height, self.size / width)
        return max(1, round(width * scale)), max(1, round(height * scale))

"""How fast is HD95, on one thread, beside the tools that people use? Same masks, same run.

Run from the project's root: `python -m benchmarks.metrics`. It prints a section in Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import medpy.metric.binary
import numpy as np
import SimpleITK
import surface_distance
import torch
from monai.metrics import compute_hausdorff_distance
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from benchmarks.timing import interleaved, machine, versions
from evaluator.metrics import case_metrics, hd95

Mask = NDArray[np.bool_]
Pair = tuple[Mask, Mask]
SIZES = {(256, 256): 500, (768, 1024): 200}  # (height, width) -> pairs
PEERS = ("medpy", "monai", "surface-distance", "SimpleITK", "numba", "numpy", "torch")
FIRST = """
import time; start = time.perf_counter()
import numpy as np; from evaluator.metrics import hd95
loaded = time.perf_counter(); mask = np.eye(64, dtype=bool); hd95(mask, mask[::-1].copy())
print(f"{loaded - start:.2f} s to import and {1000 * (time.perf_counter() - loaded):.1f} ms")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--share", type=float, default=1.0, help="of the pairs, for a quick look")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    files = sorted((arguments.data / "BUSBRA" / "Masks").glob("*.png"))
    rng = np.random.default_rng(0)
    drawn = "real masks of BUS-BRA" if files else "drawn ellipses"
    print(f"## HD95 of one pair, one thread\n\n{machine()}; {versions(*PEERS)}.\n")
    print(f"The references are {drawn}, the predictions the same moved, scaled and roughened.\n")
    columns = [f"{h}×{w}, median of {n} | times ours" for (h, w), n in SIZES.items()]
    print(f"| tool | {' | '.join(columns)} | largest difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    told: dict[str, list[str]] = {name: [] for name in CANDIDATES}
    differences: dict[str, float] = {}
    for shape, number in SIZES.items():
        count = max(5, round(number * arguments.share))
        pairs = [pair(rng, shape, files, number) for number in range(count)]
        medians = interleaved(CANDIDATES, pairs)
        for name, taken in medians.items():
            ratio = taken / medians["ours, native"]
            told[name] += [f"{1000 * taken:.3f} ms", f"{ratio:.2f}"]
            if name in OTHERS:
                found = [abs(OTHERS[name](item) - hd95(*item)) for item in pairs[:100]]
                differences[name] = max(differences.get(name, 0.0), *found)
    for name, cells in told.items():
        difference = f"{differences[name]:.1g} px" if name in differences else "–"
        print(f"| {name} | {' | '.join(cells)} | {difference} |")
    print(f"\n{NOTE}\n\nA new process takes {first_call()} for its first pair.")


def pair(rng: Generator, shape: tuple[int, int], files: list[Path], number: int) -> Pair:
    """A prediction and a reference of one shape, neither empty."""
    height, width = shape
    if files:
        picture = Image.open(files[number % len(files)]).convert("L")
        reference = np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)) > 127
    else:
        axes = rng.uniform(0.05, 0.25, 2) * (width, height)
        centre = rng.uniform(0.3, 0.7, 2) * (width, height)
        canvas = np.zeros(shape, np.uint8)
        cv2.ellipse(canvas, (tuple(centre), tuple(2 * axes), rng.uniform(0, 180)), (1,), -1)
        reference = canvas > 0
    turn = cv2.getRotationMatrix2D(
        (width / 2, height / 2), rng.uniform(-8, 8), rng.uniform(0.9, 1.1)
    )
    turn[:, 2] += rng.uniform(-0.03, 0.03, 2) * (width, height)
    moved = cv2.warpAffine(reference.astype(np.float32), turn, (width, height))
    rough = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 4)
    prediction = cv2.GaussianBlur(moved, (0, 0), 3) + rough > 0.5
    if number % 5 == 0:  # one in five also marks something far away
        top, left = rng.integers(0, (height - 12, width - 12))
        prediction[top : top + 12, left : left + 12] = True
    return (prediction if prediction.any() else reference), reference


def monai(item: Pair) -> float:
    tensors = (torch.from_numpy(mask)[None, None] for mask in item)
    return float(compute_hausdorff_distance(*tensors, include_background=True, percentile=95))


def deepmind(item: Pair) -> float:
    found = surface_distance.compute_surface_distances(item[1], item[0], (1.0, 1.0))
    return float(surface_distance.compute_robust_hausdorff(found, 95))


def simpleitk(item: Pair) -> float:
    """HD95 from ITK's signed Maurer distance maps, as its users write it."""
    contours = [SimpleITK.LabelContour(_itk(mask)) for mask in item]
    maps = [
        SimpleITK.GetArrayViewFromImage(
            SimpleITK.Abs(SimpleITK.SignedMaurerDistanceMap(contour, False, False))
        )
        for contour in contours
    ]
    edges = [SimpleITK.GetArrayViewFromImage(contour) > 0 for contour in contours]
    return float(max(np.percentile(maps[1][edges[0]], 95), np.percentile(maps[0][edges[1]], 95)))


def _itk(mask: Mask) -> SimpleITK.Image:
    return SimpleITK.GetImageFromArray(mask.astype(np.uint8))


OTHERS: dict[str, Callable[[Pair], float]] = {
    "MedPy": lambda item: float(medpy.metric.binary.hd95(*item)),
    "MONAI": monai,
    "surface-distance": deepmind,
    "SimpleITK": simpleitk,
}
CANDIDATES: dict[str, Callable[[Pair], object]] = {
    "ours, native": lambda item: hd95(*item),
    "ours, awesome-bus-2025": lambda item: hd95(*item, profile="awesome-bus-2025"),
    "ours, all ten metrics": lambda item: case_metrics(*item),
    **OTHERS,
    "reading both masks": lambda item: (item[0].sum(), item[1].sum()),
}
# Other tools mean other things by HD95; only MONAI's definition is that of `native`.
NOTE = (
    "MONAI defines HD95 as `native` does; MedPy pools the distances of both ways, surface-distance "
    "weighs them by length, SimpleITK's contour includes diagonal neighbours."
)


def first_call() -> str:
    """What a new process pays for its first HD95, the loops being compiled already."""
    command = [sys.executable, "-c", FIRST]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()

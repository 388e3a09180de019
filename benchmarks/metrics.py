"""Speed of HD95 on one thread, compared with other tools on the same masks in the same run.

Run from the project's root: `python -m benchmarks.metrics`. It prints a section in Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from heapq import nlargest
from itertools import product
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

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

from benchmarks.timing import head, interleaved, machine, row, seconds
from evaluator.documents.sealed import SealedCase
from evaluator.files import sha256_bytes, sha256_pixels
from evaluator.metrics import PROFILES, case_metrics, hd95
from evaluator.metrics.profiles import profile_version
from evaluator.png import decode_png
from evaluator.predictions import pack, unpack
from evaluator.scoring.cases import Found, Measure, Truth, score_case
from evaluator.scoring.score import numbered
from harness.store import png_bytes
from tests.support.masks import HOSTILE

itk: Any = SimpleITK  # typed in part
Mask = NDArray[np.bool_]
Pair = tuple[Mask, Mask]
SIZES = {(256, 256): 500, (768, 1024): 200}  # (height, width) -> pairs
SIDES = (256, 1024, 4096)
PACKAGES = ("medpy", "monai", "surface-distance", "SimpleITK", "numba", "numpy", "torch")
# A new process and its first pair.
FIRST = """
import time; start = time.perf_counter()
import numpy as np; from evaluator.metrics import hd95
loaded = time.perf_counter(); mask = np.eye(64, dtype=bool); hd95(mask, mask[::-1].copy())
print(f"{loaded - start:.2f} s to import and {1000 * (time.perf_counter() - loaded):.1f} ms")
"""
# Other tools mean other things by HD95; only MONAI's definition is that of `native`.
NOTE = (
    "MONAI defines HD95 as `native` does; MedPy pools the distances of both ways, surface-distance "
    "weighs them by length, SimpleITK's contour includes diagonal neighbours."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--share", type=float, default=1.0, help="of the pairs, for a quick look")
    args = parser.parse_args()
    torch.set_num_threads(1)
    itk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    files = sorted((args.data / "BUSBRA" / "Masks").glob("*.png"))
    rng = np.random.default_rng(0)
    drawn = "real masks of BUS-BRA" if files else "drawn ellipses"
    print(f"## HD95 of one pair, one thread\n\n{machine(*PACKAGES)}.\n")
    print(f"References: {drawn}. Predictions: the same shifted, scaled and roughened.\n")
    cells: dict[str, list[str]] = {name: [] for name in CANDIDATES}
    differences = dict.fromkeys(OTHERS, 0.0)
    columns = []
    for shape, number in SIZES.items():
        count = max(5, round(number * args.share))
        columns += [f"{shape[0]}×{shape[1]}, median of {count}", "times ours"]
        pairs = [pair(rng, shape, files, number=number) for number in range(count)]
        medians = interleaved(CANDIDATES, pairs)
        for name, taken in medians.items():
            cells[name] += [f"{1000 * taken:.3f} ms", f"{taken / medians['ours, native']:.2f}"]
        for name, other in OTHERS.items():
            apart = (abs(other(item) - hd95(*item)) for item in pairs[:100])
            differences[name] = max(differences[name], *apart)
    print(head("tool", *columns, "largest difference"))
    for name, found in cells.items():
        print(row(name, *found, f"{differences[name]:.1g} px" if name in OTHERS else "–"))
    worst_case(args.share)
    command = [sys.executable, "-c", FIRST]
    first = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    print(f"\n{NOTE}\n\nA new process takes {first} for its first pair.")


def worst_case(share: float) -> None:
    """Print what masks that are made to keep the scorer busy cost, against drawn ones."""
    rng = np.random.default_rng(0)
    print(f"\n### Masks made to keep the scorer busy\n\nEvery pair of {', '.join(HOSTILE)};")
    print(f"the slowest of {len(HOSTILE) ** 2} pairs, and of such masks on an ordinary label. What")
    print(f"scoring costs is the most of the {len(HOSTILE)} slowest.\n")
    last = "ratio", "scored case", "ratio", "five models, ratio"
    print(head("side", "HD95, ordinary", "slowest", "pair", *last))
    for side in SIDES[: max(1, round(share * len(SIDES)))]:
        made = {name: make(side) for name, make in HOSTILE.items()}
        ordinary = [pair(rng, (side, side), [], number=number) for number in range(5)]
        usual = [median(cost(item) for item in ordinary) for cost in COSTS]
        label = {"ordinary": ordinary[0][1]}
        for labels in (made, label):
            items = {f"{a}, {b}": (made[a], labels[b]) for a, b in product(made, labels)}
            taken = {name: _fastest(item) for name, item in items.items()}
            name, *others = nlargest(len(made), taken, key=lambda each: taken[each])
            slowest = taken[name]
            scored, five = (max(cost(items[n]) for n in (name, *others)) for cost in COSTS[1:])
            cells = f"{1000 * usual[0]:.3f} ms", f"{1000 * slowest:.3f} ms", name
            whole = f"{1000 * scored:.2f} ms", f"{scored / usual[1]:.1f}", f"{five / usual[2]:.1f}"
            print(row(side, *cells, f"{slowest / usual[0]:.1f}", *whole))
    print("\nCPU times. Scored case: all that the scorer does for a case of one model, from the")
    print("label's PNG and the packed mask to ten metrics and the digests of both.")


def _fastest(item: Pair) -> float:
    return min(seconds(lambda: hd95(*item), clock=process_time) for _ in range(3))


def _scored(item: Pair, models: int) -> float:
    """Seconds for all that the scorer does for one case, predicted by so many models."""
    prediction, label = item
    height, width = label.shape
    case = SealedCase(case_id="case", height=height, width=width, file="case.png")
    packed, png = pack(prediction), png_bytes(label)
    measure = Measure(profile_version("native"), in_mm=False)

    def scored() -> None:
        truth = Truth(case, numbered(decode_png(png, case, Path("labels"))))
        for fold in range(models):
            sha256_bytes(packed)
            found = Found(unpack(packed, height, width), None)
            score_case(fold, truth, found, status="ok", measure=measure)
        sha256_pixels(truth.mask)

    return min(seconds(scored, clock=process_time) for _ in range(3))


COSTS: tuple[Callable[[Pair], float], ...] = (
    _fastest,
    partial(_scored, models=1),
    partial(_scored, models=5),
)


def pair(rng: Generator, shape: tuple[int, int], files: list[Path], *, number: int) -> Pair:
    """A prediction and a reference of one shape, neither empty."""
    height, width = shape
    if files:
        image = Image.open(files[number % len(files)]).convert("L")
        reference = np.asarray(image.resize((width, height), Image.Resampling.NEAREST)) > 127
    else:
        axes = rng.uniform(0.05, 0.25, 2) * (width, height)
        centre = rng.uniform(0.3, 0.7, 2) * (width, height)
        canvas = np.zeros(shape, np.uint8)
        cv2.ellipse(canvas, (tuple(centre), tuple(2 * axes), rng.uniform(0, 180)), (1,), -1)
        reference = canvas > 0
    centre_of = (width / 2, height / 2)
    turn = cv2.getRotationMatrix2D(centre_of, rng.uniform(-8, 8), rng.uniform(0.9, 1.1))
    turn[:, 2] += rng.uniform(-0.03, 0.03, 2) * np.array((width, height))
    shifted = cv2.warpAffine(reference.astype(np.float32), turn, (width, height))
    rough = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 4)
    prediction = cv2.GaussianBlur(shifted, (0, 0), 3) + rough > 0.5
    if number % 5 == 0:  # one in five also marks something far away
        top, left = rng.integers(0, (height - 12, width - 12))
        prediction[top : top + 12, left : left + 12] = True
    return (prediction if prediction.any() else reference), reference


def monai(item: Pair) -> float:
    masks = [torch.from_numpy(mask)[None, None] for mask in item]
    return float(
        compute_hausdorff_distance(masks[0], masks[1], include_background=True, percentile=95)
    )


def deepmind(item: Pair) -> float:
    found = surface_distance.compute_surface_distances(item[1], item[0], (1.0, 1.0))
    return float(surface_distance.compute_robust_hausdorff(found, 95))


def simpleitk(item: Pair) -> float:
    """HD95 from ITK's signed Maurer distance maps, as its users write it."""
    view = itk.GetArrayViewFromImage
    images = [itk.GetImageFromArray(mask.astype(np.uint8)) for mask in item]
    contours = [itk.LabelContour(image) for image in images]
    signed = [itk.SignedMaurerDistanceMap(contour, False, False) for contour in contours]
    maps, edges = [np.abs(view(one)) for one in signed], [view(one) > 0 for one in contours]
    return float(max(np.percentile(maps[1][edges[0]], 95), np.percentile(maps[0][edges[1]], 95)))


OTHERS: dict[str, Callable[[Pair], float]] = {
    "MedPy": lambda item: float(medpy.metric.binary.hd95(*item)),
    "MONAI": monai,
    "surface-distance": deepmind,
    "SimpleITK": simpleitk,
}
CANDIDATES: dict[str, Callable[[Pair], object]] = {
    "ours, native": lambda item: hd95(*item),
    f"ours, {PROFILES[1]}": lambda item: hd95(*item, profile=PROFILES[1]),
    "ours, all ten metrics": lambda item: case_metrics(*item),
    **OTHERS,
    "reading both masks": lambda item: (item[0].sum(), item[1].sum()),
}


if __name__ == "__main__":
    main()

"""Copies of an image as it may enter a dataset a second time, for the audit to find.

Each kind takes an image (H, W) uint8, its mask (H, W) bool and a generator, and returns both
as a careless release would hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Plant = Callable[[Image, Mask, Generator], tuple[Image, Mask]]

TEXTS = ("D1 12.4mm", "MAMA DIREITA QSE", "LT BREAST 3:00", "+ 21.5mm x 14.2mm", "RT UOQ RAD")


def reencoded(image: Image, mask: Mask, rng: Generator, *, worst: int = 20) -> tuple[Image, Mask]:
    """JPEG of quality 20 to 90."""
    quality = int(rng.integers(worst, 91))
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert decoded is not None
    return decoded.astype(np.uint8), mask


def _to_size(image: Image, mask: Mask, width: int, *, height: int) -> tuple[Image, Mask]:
    smaller = width < image.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized_mask = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=0)
    resized_image = cv2.resize(image, (width, height), interpolation=how)
    return resized_image.astype(np.uint8), resized_mask.astype(bool)


def resized(image: Image, mask: Mask, rng: Generator) -> tuple[Image, Mask]:
    """By 0.5 to 1.5, or to a square of 224 or 256 whatever the aspect."""
    if rng.random() < 0.3:
        side = int(rng.choice([224, 256]))
        return _to_size(image, mask, side, height=side)
    scale = rng.uniform(0.5, 1.5)
    height, width = image.shape
    return _to_size(image, mask, round(width * scale), height=round(height * scale))


def _cut(
    image: Image, mask: Mask, top: int, *, left: int, shape: tuple[int, int]
) -> tuple[Image, Mask]:
    window = np.s_[top : top + shape[0], left : left + shape[1]]
    return np.ascontiguousarray(image[window]), np.ascontiguousarray(mask[window])


def cropped(image: Image, mask: Mask, rng: Generator) -> tuple[Image, Mask]:
    """By 5 to 20 % of width and of height, anywhere; half of them brought back to size."""
    height, width = image.shape
    shape = tuple(round(side * (1 - rng.uniform(0.05, 0.2))) for side in (height, width))
    top, left = rng.integers(0, height - shape[0] + 1), rng.integers(0, width - shape[1] + 1)
    part = _cut(image, mask, int(top), left=int(left), shape=shape)
    return _to_size(*part, width, height=height) if rng.random() < 0.5 else part


def cropped_most(image: Image, mask: Mask, rng: Generator) -> tuple[Image, Mask]:
    """By 20 % of width and of height, down to a corner."""
    height, width = image.shape
    shape = round(height * 0.8), round(width * 0.8)
    top, left = rng.choice([0, height - shape[0]]), rng.choice([0, width - shape[1]])
    return _cut(image, mask, int(top), left=int(left), shape=shape)


def mirrored(image: Image, mask: Mask, rng: Generator) -> tuple[Image, Mask]:
    """Left to right."""
    return np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])


def brightness(image: Image, mask: Mask, rng: Generator) -> tuple[Image, Mask]:
    """By 15 to 50 grey levels up or down, clipped."""
    shift = rng.choice([-1, 1]) * rng.uniform(15, 50)
    return np.clip(image + shift, 0, 255).astype(np.uint8), mask


def contrast(image: Image, mask: Mask, rng: Generator) -> tuple[Image, Mask]:
    """Gain around the mean, or gamma, of 0.5 to 0.8 or 1.25 to 2, clipped."""
    amount = float(rng.choice([rng.uniform(0.5, 0.8), rng.uniform(1.25, 2)]))
    grey, mean = image.astype(float), float(image.mean())
    changed = (grey - mean) * amount + mean if rng.random() < 0.5 else 255 * (grey / 255) ** amount
    return np.clip(changed, 0, 255).astype(np.uint8), mask


def marked(image: Image, mask: Mask, rng: Generator) -> tuple[Image, Mask]:
    """One to three pairs of callipers, most with a dotted line, and a text or two."""
    drawn = image.copy()
    height, width = image.shape
    small = min(height, width)
    for _ in range(int(rng.integers(1, 4))):
        ends = rng.uniform(0.15, 0.85, (2, 2)) * (width, height)
        for x, y in ends.astype(int):
            shape = cv2.MARKER_CROSS if rng.random() < 0.7 else cv2.MARKER_TILTED_CROSS
            grey, size = int(rng.integers(180, 256)), max(7, small // 25)
            cv2.drawMarker(drawn, (int(x), int(y)), (grey,), shape, size, 1 + (small > 450))
        if rng.random() < 0.7:
            for share in np.linspace(0, 1, int(np.hypot(*(ends[1] - ends[0])) // 6) + 1):
                x, y = ends[0] + share * (ends[1] - ends[0])
                cv2.circle(drawn, (int(x), int(y)), 1, (230,), -1)
    for _ in range(int(rng.integers(1, 3))):
        text, scale = str(rng.choice(TEXTS)), small / 500
        x, y = int(rng.integers(0, width // 2)), int(rng.uniform(0.08, 0.97) * height)
        if rng.random() < 0.4:  # on a black box
            (across, up), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
            cv2.rectangle(drawn, (x - 2, y - up - 3), (x + across + 2, y + 4), (0,), -1)
        cv2.putText(drawn, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (255,), 1, cv2.LINE_AA)
    return drawn, mask


SINGLE: Mapping[str, Plant] = {
    "re-encoded": reencoded,
    "resized": resized,
    "cropped": cropped,
    "mirrored": mirrored,
    "brightness": brightness,
    "contrast": contrast,
    "marked": marked,
}


def combined(image: Image, mask: Mask, rng: Generator) -> tuple[Image, Mask]:
    """Two to four of the kinds above, in any order."""
    for name in rng.permutation(sorted(SINGLE))[: int(rng.integers(2, 5))]:
        image, mask = SINGLE[str(name)](image, mask, rng)
    return image, mask


KINDS: Mapping[str, Plant] = {**SINGLE, "cropped most": cropped_most, "combined": combined}

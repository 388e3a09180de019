"""Pages of images for a person to judge, each one HTML file that needs no other and no script."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray

HEIGHT = 240  # of the images shown, in pixels
MOST = 500  # rows on one page
Colour = tuple[int, int, int]  # BGR
_TEMPLATES = Environment(loader=PackageLoader("harness", "."), autoescape=True)


def page(template: str, **what: object) -> bytes:
    """A page as UTF-8 HTML, from the template at that path in this package."""
    return _TEMPLATES.get_template(template).render(**what).encode()


def outlined(
    image: NDArray[np.uint8], *masks: tuple[NDArray[np.bool_], Colour]
) -> NDArray[np.uint8]:
    """A grey image (H, W) (H, W, 3) with the outlines of each mask (H, W), inner edges included."""
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    width = max(1, image.shape[0] // HEIGHT)
    for mask, drawn in masks:
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(colour, outlines, -1, drawn, width)
    return colour.astype(np.uint8)


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image (H, W, 3), BGR, as a JPEG of `HEIGHT` inside a page."""
    width = max(1, round(image.shape[1] * HEIGHT / image.shape[0]))
    small = cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, 85))
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()

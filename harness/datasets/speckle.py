"""A small model of B-mode breast ultrasound.

Tissue is a map of echo strength in decibels: skin, fat with septa, gland, muscle, and maybe a
lesion. Scatterers of that strength and random phase, blurred by the beam's point spread, add up to
an envelope with Rayleigh statistics, which is speckle (Wagner et al. 1983,
doi:10.1109/T-SU.1983.31404). Depth attenuates it, a lesion shadows or enhances what lies behind
it, and log compression makes it an image. Random numbers are of numpy's legacy `RandomState`,
whose stream is frozen for good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # whose parts are imported when they are first used
from numpy.random import RandomState
from numpy.typing import NDArray

Field = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Lesion:
    """A lesion in the breast; lengths in millimetres, strengths in decibels."""

    depth: float  # of the centre
    radii: tuple[float, float]  # (across, deep)
    tilt: float  # radians
    waves: tuple[tuple[float, float], ...]  # (amplitude, phase) of harmonics 2, 3, ... of the rim
    spicules: tuple[tuple[float, float, float], ...]  # (angle, half-width, length)
    contrast: float  # to the gland around it
    mottle: float  # unevenness inside
    rim: float  # echo of the border
    trail: float  # change a millimetre crossed: above 0 enhances what lies behind, below shadows


@dataclass(frozen=True)
class View:
    """How the breast is scanned once."""

    shape: tuple[int, int]  # (rows, columns)
    spacing: float  # millimetres a pixel, both ways
    layers: tuple[float, float, float, float]  # depths where fat, gland, deep fat, muscle begin
    attenuation: float  # dB a millimetre left after gain compensation
    dynamic_range: float  # dB from black to white


def draw_lesion(rng: RandomState, malignant: bool) -> Lesion:
    """A lesion with the looks that go with its class, and enough overlap to need both eyes."""
    across = rng.uniform(4.0, 9.0)
    if malignant:
        spicules = tuple(
            (rng.uniform(-np.pi, np.pi), rng.uniform(0.06, 0.16), rng.uniform(0.15, 0.45))
            for _ in range(rng.randint(4, 10))
        )
        waves = tuple((rng.uniform(0.02, 0.09), rng.uniform(0, 2 * np.pi)) for _ in range(6))
        return Lesion(
            depth=rng.uniform(11, 18),
            radii=(across * 0.8, across * rng.uniform(0.6, 1.0)),
            tilt=rng.uniform(-0.5, 0.5),
            waves=waves,
            spicules=spicules,
            contrast=rng.uniform(-18, -10),
            mottle=rng.uniform(1.5, 3.5),
            rim=rng.uniform(0, 4),
            trail=rng.uniform(-1.3, -0.2),
        )
    return Lesion(
        depth=rng.uniform(10, 17),
        radii=(across, across * rng.uniform(0.45, 0.75)),
        tilt=rng.uniform(-0.25, 0.25),
        waves=tuple((rng.uniform(0.0, 0.05), rng.uniform(0, 2 * np.pi)) for _ in range(2)),
        spicules=(),
        contrast=rng.uniform(-24, -9),
        mottle=rng.uniform(0.3, 1.8),
        rim=rng.uniform(1, 6),
        trail=rng.uniform(-0.1, 0.6),
    )


def scan(rng: RandomState, view: View, lesion: Lesion | None) -> tuple[Field, Mask]:
    """One image and its lesion map.

    Returns:
        image: (H, W) float, 0 to 255; mask: (H, W) bool.
    """
    rows, columns = view.shape
    y, x = np.mgrid[0:rows, 0:columns] * view.spacing
    echo, mask = _tissue(rng, view, y), np.zeros(view.shape, np.bool_)
    if lesion is not None:
        mask = _inside(rng, lesion, x, y=y)
        echo = _with_lesion(rng, view, lesion, echo=echo, mask=mask)
    echo -= view.attenuation * y
    return _to_image(_envelope(rng, echo), view), mask


def _smooth_noise(rng: RandomState, shape: tuple[int, ...], sigma: tuple[float, ...]) -> Field:
    """Gaussian noise with a correlation length of `sigma` pixels, mean 0, variance 1."""
    steps = [max(1, int(width / 2)) for width in sigma]  # coarse where that loses nothing
    coarse = [-(-size // step) + 1 for size, step in zip(shape, steps, strict=True)]
    widths = [width / step for width, step in zip(sigma, steps, strict=True)]
    field = scipy.ndimage.zoom(
        scipy.ndimage.gaussian_filter(rng.standard_normal(coarse), widths), steps, order=1
    )
    field = field[tuple(slice(size) for size in shape)]
    return np.asarray((field - field.mean()) / (field.std() + 1e-12), dtype=np.float64)


def _tissue(rng: RandomState, view: View, y: Field) -> Field:
    """Echo strength of a breast without a lesion, in dB, (H, W)."""
    mm = 1 / view.spacing
    fat_septa = np.exp(-((_smooth_noise(rng, view.shape, (1.6 * mm, 3.2 * mm)) / 0.12) ** 2))
    gland = _smooth_noise(rng, view.shape, (0.7 * mm, 2.2 * mm))
    islands = _smooth_noise(rng, view.shape, (1.3 * mm, 2.6 * mm))  # of fat, dark as a lesion
    lobules = 1 / (1 + np.exp(-8 * (islands - 1.6)))
    fibres = np.sin(2 * np.pi * (y / 1.3 + 0.6 * _smooth_noise(rng, view.shape, (3 * mm, 6 * mm))))
    textures = (
        -6 + 0 * y,  # skin
        -21 + 11 * fat_septa,
        -9 + 3.5 * gland - 11 * lobules,
        -19 + 8 * fat_septa,
        -17 + 5 * fibres,
    )
    echo = textures[0]
    for depth, texture in zip(view.layers, textures[1:], strict=True):
        border = depth + 0.09 * depth * _smooth_noise(rng, (view.shape[1],), (5 * mm,))
        below = 1 / (1 + np.exp(np.clip(-(y - border) / 0.25, -60, 60)))
        fascia = 7 * np.exp(-(((y - border) / 0.35) ** 2))
        echo = echo * (1 - below) + texture * below + fascia
    dropout = np.maximum(0, _smooth_noise(rng, (view.shape[1],), (2.5 * mm,)) - 1.2)
    return np.asarray(echo - 0.35 * dropout * y, dtype=np.float64)  # shadows of ligaments


def _inside(rng: RandomState, lesion: Lesion, x: Field, *, y: Field) -> Mask:
    """Where the lesion is, (H, W), given each pixel's place in millimetres."""
    width = x[0, -1]
    dx, dy = x - width * rng.uniform(0.36, 0.64), y - lesion.depth
    across = dx * np.cos(lesion.tilt) + dy * np.sin(lesion.tilt)
    deep = dy * np.cos(lesion.tilt) - dx * np.sin(lesion.tilt)
    radius = np.hypot(across / lesion.radii[0], deep / lesion.radii[1])
    angle = np.arctan2(deep, across)
    outline = np.ones_like(radius)
    for order, (amplitude, phase) in enumerate(lesion.waves, start=2):
        outline += amplitude * np.cos(order * angle + phase)
    for direction, half_width, length in lesion.spicules:
        off = (angle - direction + np.pi) % (2 * np.pi) - np.pi
        outline += length * np.exp(-((off / half_width) ** 2))
    return np.asarray(radius < outline, dtype=np.bool_)


def _with_lesion(rng: RandomState, view: View, lesion: Lesion, *, echo: Field, mask: Mask) -> Field:
    """Set a lesion into the tissue: its echo, its border, and its trail behind it."""
    mm = 1 / view.spacing
    inside = scipy.ndimage.gaussian_filter(mask.astype(np.float64), 0.25 * mm)
    body = -8 + lesion.contrast + lesion.mottle * _smooth_noise(rng, view.shape, (mm, mm))
    crossed = np.cumsum(
        scipy.ndimage.gaussian_filter(mask.astype(np.float64), (0, 0.4 * mm)), axis=0
    )
    trail = np.clip(lesion.trail * view.spacing * crossed, -16, 7)
    rim = lesion.rim * 4 * inside * (1 - inside)
    behind = trail * (1 - inside)  # the body's own strength is what is seen of it
    return echo * (1 - inside) + body * inside + rim + behind


def _envelope(rng: RandomState, echo: Field) -> Field:
    """Rayleigh speckle of the given strength: the length of a blurred complex Gaussian field."""
    strength = 10 ** (echo / 20)
    waves = (rng.standard_normal(echo.shape), rng.standard_normal(echo.shape))
    depth = np.linspace(0, 1, echo.shape[0])[:, None]
    blur = np.clip(np.abs(depth - 0.4) * 1.6, 0, 1)  # the beam is narrowest in its focus
    power = np.zeros(echo.shape)
    for wave in waves:
        narrow = scipy.ndimage.gaussian_filter(strength * wave, (0.7, 1.1)) * 3.0
        wide = scipy.ndimage.gaussian_filter(strength * wave, (0.8, 2.2)) * 4.6
        power += ((1 - blur) * narrow + blur * wide) ** 2
    return np.sqrt(power + 1e-5)


def _to_image(envelope: Field, view: View) -> Field:
    """Log compression: the brightest specks are white, `dynamic_range` below it is black."""
    decibels = 20 * np.log10(envelope)
    white = np.percentile(decibels, 99.7)
    grey = 255 * (1 + (decibels - white) / view.dynamic_range)
    return np.asarray(np.clip(scipy.ndimage.gaussian_filter(grey, 0.45), 0, 255), dtype=np.float64)

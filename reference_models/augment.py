"""Augmentation: variations of a batch of training images, in two styles.

`augment` varies a whole batch on whatever device trains. `AwesomeBusAugment` does what the
Awesome-BUS benchmark did, case by case on the CPU and at twice the time, with Albumentations: only
the profile that is defined by these transforms uses it. Version 2.0.8 of that library is the last
under the MIT licence; its successor is under the AGPL, on which an MIT project cannot build.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from reference_models.config import AugmentSettings
from reference_models.errors import UsageError

Bytes = NDArray[np.uint8]


def augment(
    images: Tensor, masks: Tensor, settings: AugmentSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mirror, shift, scale, rotate and re-light each image of a batch, its mask along with it.

    Args:
        images: (N, 1, H, W) float in 0..1.
        masks: (N, 1, H, W) float, 0 or 1.
        generator: on the CPU, so that all devices draw the same numbers.

    Returns:
        Images and masks of the same shapes; what comes in from outside is zero.
    """
    count, _, height, width = images.shape
    draw = torch.rand((7, count), generator=generator)
    turns = affine(draw[:5], settings, height / width).to(images.device)
    grid = F.affine_grid(turns, [count, 1, height, width], align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    masks = F.grid_sample(masks, grid, mode="nearest", align_corners=False)
    contrast = 1 + settings.contrast * (2 * draw[5] - 1)
    brightness = settings.brightness * (2 * draw[6] - 1)
    light = torch.stack((contrast, brightness)).to(images.device).view(2, count, 1, 1, 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((images - mean) * light[0] + mean + light[1]).clamp(0, 1), masks


def affine(draw: Tensor, settings: AugmentSettings, aspect: float) -> Tensor:
    """Sampling matrices (N, 2, 3) for `affine_grid` from uniform draws (5, N) in 0..1.

    The rows of `draw` decide the mirror, the scale, the rotation and the two shifts.

    Args:
        aspect: height / width; it keeps rotations rigid in a frame that is not square.
    """
    mirror = torch.where(draw[0] < settings.flip, -1.0, 1.0)
    zoom = 1 / (1 + settings.scale * (2 * draw[1] - 1))
    angle = math.radians(settings.rotate) * (2 * draw[2] - 1)
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    shift_x, shift_y = 2 * settings.shift * (2 * draw[3:5] - 1)  # the frame is 2 units wide
    first = torch.stack((mirror * cosine, -mirror * sine * aspect, shift_x), dim=1)
    second = torch.stack((sine / aspect, cosine, shift_y), dim=1)
    return torch.stack((first, second), dim=1)


class AwesomeBusAugment:
    """The transforms of the Awesome-BUS benchmark, each group with probability 0.5.

    Raises:
        UsageError: Albumentations is not installed.
    """

    def __init__(self) -> None:
        try:
            import albumentations as A  # noqa: PLC0415  an extra
        except ImportError as error:
            raise UsageError(
                "The Awesome-BUS augmentation needs the package albumentations.",
                'Run pip install "busbench[awesome-bus]", or set augment: {style: plain}.',
            ) from error
        bent = [A.ElasticTransform(p=1), A.GridDistortion(p=1), A.OpticalDistortion(p=1)]
        grain = [A.MultiplicativeNoise(elementwise=True, p=1), A.MotionBlur(p=1), A.Sharpen(p=1)]
        self._transforms: Any = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.Rotate(limit=(-10, 10), p=0.5),
                A.OneOf(bent, p=0.5),
                A.RandomBrightnessContrast(p=0.5),
                A.CLAHE(p=0.5),
                A.GaussNoise(p=0.5),
                A.CoarseDropout(p=0.5),
                A.OneOf(grain, p=0.5),
            ]
        )

    def __call__(
        self, images: Bytes, masks: Bytes, seed: np.random.SeedSequence
    ) -> tuple[Bytes, Bytes]:
        """Vary images and masks (N, H, W) uint8; the same seed gives the same arrays."""
        pairs = []
        for image, mask, own in zip(images, masks, seed.generate_state(len(images)), strict=True):
            self._transforms.set_random_seed(int(own))
            varied = self._transforms(image=image, mask=mask)
            pairs.append((varied["image"], varied["mask"]))
        return np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])

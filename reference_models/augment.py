"""How is a batch varied so that the network sees each case anew? On the device, in one go."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from reference_models.config import AugmentSettings


def augment(
    images: Tensor, masks: Tensor, settings: AugmentSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mirror, move, scale, rotate and re-light each image of a batch, its mask along with it.

    Args:
        images: (N, 1, H, W) float in 0..1.
        masks: (N, 1, H, W) float, 0 or 1.
        generator: on the CPU, so that all devices draw the same numbers.

    Returns:
        Images and masks of the same shapes; what moves in from outside is zero.
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

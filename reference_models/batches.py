"""Training batches: which cases, and how varied, as a function of seed, fold and step.

Nothing here depends on what came before, so a resumed training sees the very batches that an
unbroken one would have seen. `augment` varies a whole batch on whatever device trains;
`AwesomeBusAugment` does what the Awesome-BUS benchmark did, case by case on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from reference_models.awesome_bus import AwesomeBusAugment
from reference_models.config import AWESOME_BUS, AugmentSettings, Config
from reference_models.data import LoadedCases
from reference_models.machine import Machine


def batch_indices(count: int, batch: int, seed: int, *, fold: int, step: int) -> NDArray[np.int64]:
    """Indices 0..count-1 of the cases in batch `step`, from one shuffled pass after another."""
    positions = np.arange(step * batch, (step + 1) * batch)
    orders = np.stack([_order(count, seed, fold, epoch=int(epoch)) for epoch in positions // count])
    return orders[np.arange(batch), positions % count]


@lru_cache(maxsize=4)
def _order(count: int, seed: int, fold: int, *, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, fold, epoch)).permutation(count)


class Batches:
    """All images and masks on the device as bytes, handed out as float batches.

    Args:
        loaded: the whole bundle; one copy serves all folds.
    """

    def __init__(self, config: Config, loaded: LoadedCases, machine: Machine) -> None:
        self._config = config
        self._loaded = loaded
        self._machine = machine
        self._images = torch.from_numpy(loaded.images).to(machine.device)
        self._masks = torch.from_numpy(loaded.masks).to(machine.device)
        awesome_bus = config.augment.style == AWESOME_BUS
        self._by_case = AwesomeBusAugment() if awesome_bus else None

    def training_count(self, fold: int) -> int:
        """How many cases train the model of `fold`."""
        return len(self._loaded.training(fold))

    def training(self, fold: int, step: int) -> tuple[Tensor, Tensor]:
        """Augmented images (B, C, H, W) and masks (B, 1, H, W) of training batch `step`."""
        cases = self._loaded.training(fold)
        seed = self._config.seed
        chosen = batch_indices(len(cases), self._config.batch, seed, fold=fold, step=step)
        drawn = np.random.SeedSequence((seed, fold, step))
        images, masks = self._varied(cases[chosen], drawn)
        return self._normalise(images), masks

    def _varied(
        self, cases: NDArray[np.int64], seed: np.random.SeedSequence
    ) -> tuple[Tensor, Tensor]:
        if self._by_case is not None:
            loaded = self._loaded
            varied = self._by_case(loaded.images[cases], loaded.masks[cases], seed)
            images, masks = (self._machine.send(torch.from_numpy(part)) for part in varied)
            return _as_floats(images, masks)
        number = int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))
        generator = torch.Generator().manual_seed(number)
        return augment(
            *self._take(cases), self._config.augment, generator=generator, machine=self._machine
        )

    def validation(self, fold: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Plain images and masks of the fold's validation cases, batch after batch."""
        cases = self._loaded.validation(fold)
        parts = np.split(cases, range(self._config.batch, len(cases), self._config.batch))
        for part in parts:
            images, masks = self._take(part)
            yield self._normalise(images), masks

    def sample(self, fold: int, count: int) -> Tensor:
        """Plain images (count, C, H, W) of the fold's validation cases, over again if few."""
        images, _ = self._take(np.resize(self._loaded.validation(fold), count))
        return self._normalise(images)

    def validation_count(self, fold: int) -> int:
        """How many cases validate the model of `fold`."""
        return len(self._loaded.validation(fold))

    def calibration(self, fold: int, count: int) -> Tensor:
        """Plain images (at most `count`, C, H, W), spread over the fold's training cases."""
        cases = self._loaded.training(fold)
        spread = np.linspace(0, len(cases) - 1, min(count, len(cases))).astype(np.int64)
        return self._normalise(self._take(cases[spread])[0])

    def _take(self, cases: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        chosen = self._machine.send(torch.from_numpy(cases))
        return _as_floats(self._images[chosen], self._masks[chosen])

    def _normalise(self, images: Tensor) -> Tensor:
        settings = self._config.input
        grey = (images - settings.mean) / settings.std
        channels = grey.expand(-1, settings.channel_count, -1, -1)
        return channels.contiguous(memory_format=self._machine.layout)


def _as_floats(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Bytes (N, H, W) as floats (N, 1, H, W), images in 0..1."""
    return images.unsqueeze(1).float() / 255, masks.unsqueeze(1).float()


def augment(
    images: Tensor,
    masks: Tensor,
    settings: AugmentSettings,
    *,
    generator: torch.Generator,
    machine: Machine,
) -> tuple[Tensor, Tensor]:
    """Mirror, shift, scale, rotate and re-light each image of a batch, its mask along with it.

    Args:
        images: (N, 1, H, W) float in 0..1.
        masks: (N, 1, H, W) float, 0 or 1.
        generator: on the CPU, so that all devices draw the same numbers.
        machine: what they are sent to.

    Returns:
        Images and masks of the same shapes; what comes in from outside is zero.
    """
    count, _, height, width = images.shape
    draw = torch.rand((7, count), generator=generator)
    turns = machine.send(affine(draw[:5], settings, height / width))
    grid = F.affine_grid(turns, [count, 1, height, width], align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    masks = F.grid_sample(masks, grid, mode="nearest", align_corners=False)
    contrast = 1 + settings.contrast * (2 * draw[5] - 1)
    brightness = settings.brightness * (2 * draw[6] - 1)
    light = machine.send(torch.stack((contrast, brightness))).view(2, count, 1, 1, 1)
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

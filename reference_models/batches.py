"""Which cases are in batch number s, and how are they varied? A function of seed, fold and step.

Nothing here depends on what came before, so a resumed training sees the very batches that an
unbroken one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_models.augment import augment
from reference_models.config import Config
from reference_models.data import Pictures
from reference_models.machine import Machine


def batch_indices(count: int, batch: int, seed: int, fold: int, step: int) -> NDArray[np.int64]:
    """Places 0..count-1 of the cases in batch `step`, from one shuffled pass after another."""
    places = np.arange(step * batch, (step + 1) * batch)
    orders = np.stack([_order(count, seed, fold, int(epoch)) for epoch in places // count])
    return orders[np.arange(batch), places % count]


@lru_cache(maxsize=4)
def _order(count: int, seed: int, fold: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, fold, epoch)).permutation(count)


class Batches:
    """All pictures on the device as bytes, handed out as float batches.

    Args:
        pictures: the whole bundle; one copy serves all folds.
    """

    def __init__(self, config: Config, pictures: Pictures, machine: Machine) -> None:
        self._config = config
        self._pictures = pictures
        self._machine = machine
        self._images = torch.from_numpy(pictures.images).to(machine.device)
        self._masks = torch.from_numpy(pictures.masks).to(machine.device)

    def training_count(self, fold: int) -> int:
        """How many cases train the model of `fold`."""
        return len(self._pictures.training(fold))

    def training(self, fold: int, step: int) -> tuple[Tensor, Tensor]:
        """Augmented images (B, C, H, W) and masks (B, 1, H, W) of training batch `step`."""
        cases = self._pictures.training(fold)
        seed = self._config.seed
        places = batch_indices(len(cases), self._config.batch, seed, fold, step)
        images, masks = self._take(cases[places])
        drawn = np.random.SeedSequence((seed, fold, step)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(drawn[0] >> np.uint64(1)))
        images, masks = augment(images, masks, self._config.augment, generator)
        return self._normalise(images), masks

    def validation(self, fold: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Plain images and masks of the fold's validation cases, batch after batch."""
        cases = self._pictures.validation(fold)
        parts = np.split(cases, range(self._config.batch, len(cases), self._config.batch))
        for part in parts:
            images, masks = self._take(part)
            yield self._normalise(images), masks

    def sample(self, fold: int, count: int) -> Tensor:
        """Plain images (count, C, H, W) of the fold's validation cases, over again if few."""
        images, _ = self._take(np.resize(self._pictures.validation(fold), count))
        return self._normalise(images)

    def _take(self, cases: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(cases).to(self._machine.device)
        images = self._images[chosen].unsqueeze(1).float() / 255
        return images, self._masks[chosen].unsqueeze(1).float()

    def _normalise(self, images: Tensor) -> Tensor:
        wanted = self._config.input
        channels = ((images - wanted.mean) / wanted.std).expand(-1, wanted.channel_count, -1, -1)
        return channels.contiguous(memory_format=self._machine.layout)

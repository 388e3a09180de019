"""Batches: how many images run together, so that none of them changes another's mask.

On a CPU the size is the fastest of those that give the same bits. What a device computes depends on
the shape of a batch. So all runs of a model have one shape there, a batch that is not full is
filled up, and the size follows from no time that was measured.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BusbenchError
from evaluator.inference.backends import InferSettings, Model

DEVICE_BATCH = 16  # images, where `auto` decides on a device; halved until they fit
Inputs = NDArray[np.float32]
Run = Callable[[Inputs], NDArray[np.float32]]


def fill(inputs: Inputs, size: int) -> Inputs:
    """A batch (N, C, H, W) of at most `size` images, filled up to it with the same ones again."""
    return inputs if len(inputs) == size else np.resize(inputs, (size, *inputs.shape[1:]))


def device_batch(model: Model, settings: InferSettings, probes: Inputs) -> int:
    """Images of every run on a device: as asked for, or the most that fit, up to `DEVICE_BATCH`.

    Args:
        probes: inputs (P, C, H, W).

    Raises:
        BusbenchError: whatever the model raises at a size that was asked for, or at 1.
    """
    asked = settings.batch_size
    size = 1 if model.one_by_one else DEVICE_BATCH if asked == "auto" else asked
    while True:
        try:
            model.run(fill(probes[:1], size))
        except BusbenchError:  # a device out of memory, which runs a smaller batch
            if asked != "auto" or size == 1:
                raise
            size //= 2
        else:
            return size


def depends_on_batch(run: Run, probes: Inputs, sizes: set[int]) -> bool:
    """Whether some bit of a map differs when its image is run in a batch, not alone.

    Else the batch size, which `auto` takes from measured time, would decide on masks: of a network
    that keeps images apart, too, a runtime may round the sums of a batch otherwise.

    Args:
        probes: inputs (P, C, H, W) of different contrast.
        sizes: of the batches that there will be.
    """
    alone = [_bits(run(probe[None]))[0] for probe in probes] if sizes else []
    for size in sizes:
        for start in range(0, len(probes), size):
            chosen = np.arange(start, start + size) % len(probes)
            if _bits(run(probes[chosen])) != [alone[n] for n in chosen]:
                return True
    return False


def depends_on_company(run: Run, probes: Inputs, size: int) -> bool:
    """Whether some bit of a map differs by the other images of its batch of `size`.

    Each probe runs beside itself and beside the others. What is compared is of the same place: a
    device may round otherwise from one place of a batch to the next, whatever is in the others.

    Args:
        probes: inputs (P, C, H, W) of different contrast.
    """
    alone = [_bits(run(fill(probe[None], size))) for probe in probes]
    for shift in range(len(probes)):
        chosen = (np.arange(size) + shift) % len(probes)
        if _bits(run(probes[chosen])) != [alone[n][place] for place, n in enumerate(chosen)]:
            return True
    return False


def _bits(maps: NDArray[np.float32]) -> list[bytes]:
    return [each.tobytes() for each in maps]

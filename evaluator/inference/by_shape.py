"""Batches of native images: only those of one shape run together, where that changes no bit.

Whether a batch may change a map depends on its shape: a graph can compute with the sides of its
input, and a runtime chooses how it adds up. So both are asked for each shape that comes: the proof,
and the trial, on the images themselves. A shape's first batch runs image by image; its second does
both and compares; from then on the batch is used, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float32]
Several = Sequence[Maps] | Maps  # of one shape in an array, of any in another sequence
Shape = tuple[int, ...]
_State = Literal["seen", "same", "other"]


class ByShape:
    """Runs of images (C, H, W) of any shapes, from any thread.

    Threads that meet the same shape at once may try it twice, and find the same.

    Args:
        run: from inputs (N, C, H, W) to maps (N, K, H, W).
        size: images of one run, at most.
        is_separable: whether it is proven that a batch of images of (H, W) keeps them apart.
    """

    def __init__(
        self, run: Callable[[Maps], Maps], size: int, is_separable: Callable[[int, int], bool]
    ) -> None:
        self._run, self._size, self._is_separable = run, size, is_separable
        self._known: dict[Shape, _State] = {}  # of a batch (N, C, H, W)
        self._proven: dict[tuple[int, int], bool] = {}

    @property
    def dependent(self) -> bool:
        """Whether a batch of some shape was not used, since it may change a map."""
        return "other" in self._known.values()

    def run(self, images: Several) -> list[Maps]:
        """The map (K, H, W) of each image, in their order."""
        groups: dict[Shape, list[int]] = {}
        for number, image in enumerate(images):
            groups.setdefault(image.shape, []).append(number)
        made: dict[int, Maps] = {}
        for numbers in groups.values():
            for at in range(0, len(numbers), self._size):
                some = numbers[at : at + self._size]
                made.update(zip(some, self._alike([images[n] for n in some]), strict=True))
        return [made[number] for number in range(len(images))]

    def _alike(self, images: Sequence[Maps]) -> Maps:
        """The maps (N, K, H, W) of images of one shape, one batch at most."""
        if len(images) == 1:
            return self._run(images[0][None])
        batch = np.stack(images)
        state = self._known.get(batch.shape)
        if state == "same":
            return self._run(batch)
        alone = np.concatenate([self._run(image[None]) for image in batch])
        if state == "seen":
            same = self._keeps_apart(*batch.shape[2:]) and (
                self._run(batch).tobytes() == alone.tobytes()
            )
            self._known[batch.shape] = "same" if same else "other"
        elif state is None:
            self._known[batch.shape] = "seen"
        return alone

    def _keeps_apart(self, height: int, width: int) -> bool:
        if (height, width) not in self._proven:
            self._proven[height, width] = self._is_separable(height, width)
        return self._proven[height, width]

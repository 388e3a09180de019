"""A slot's memory: what answers here refuses results that do not fit, as a server does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from evaluator.triton import slot as triton_slot
from evaluator.triton.repository import FREE, Port
from evaluator.triton.slot import Slot

MAPS = 2
GIVEN, RESULT = Port("x", (FREE, 1, FREE, FREE)), Port("y", (FREE, MAPS, FREE, FREE))


class _Answer:
    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = shape

    def get_output(self, name: str) -> _Answer:
        return self

    def as_numpy(self, name: str) -> NDArray[np.float32]:
        return np.zeros(self.shape, np.float32)


class _Server:
    """Answers with zeros of the images' size, through shared memory where a request names some."""

    def __init__(self) -> None:
        self.shared: list[bool] = []

    def register_system_shared_memory(self, *_: Any) -> None: ...

    def infer(self, name: str, given: Any, *, outputs: Any, client_timeout: float) -> _Answer:
        (image,), (result,) = given, outputs
        count, _, height, width = image.shape()
        shape = (count, MAPS, height, width)
        parameters = result._get_tensor().parameters
        self.shared.append("shared_memory_byte_size" in parameters)
        if self.shared[-1]:
            size = parameters["shared_memory_byte_size"].int64_param
            if size < 4 * math.prod(shape):
                raise InferenceServerException("shared memory size is smaller than the result")
        return _Answer(shape)


@pytest.mark.parametrize("sides", [(32, 64, 48), (64, 32, 96)])
def test_no_image_is_refused_for_being_larger_than_the_first(
    sides: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Native images have sizes of their own, and every slot has a first."""
    monkeypatch.setattr(triton_slot, "COPIES", 0)  # whatever this machine has free
    server = _Server()
    slot = Slot(server, "net", GIVEN, result=RESULT, shared=True)
    try:
        for side in sides:
            maps = slot.infer(np.zeros((1, 1, side, side + 16), np.float32), 1.0)
            assert maps.shape == (1, MAPS, side, side + 16)
    finally:
        slot.close(unregister=False)
    assert server.shared == [False, True, True]

"""Training resizes by the rule that scoring undoes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference_models.data import BILINEAR, NEAREST, fit_inside, letterbox

SIDES = st.integers(1, 900)
FRAMES = st.tuples(st.integers(16, 512), st.integers(16, 512))


@given(SIDES, SIDES, FRAMES)
def test_an_image_is_never_placed_outside_its_frame(
    height: int, width: int, frame: tuple[int, int]
) -> None:
    box = fit_inside(height, width, frame)
    assert 1 <= box.height <= frame[0] and 1 <= box.width <= frame[1]
    assert box.height == frame[0] or box.width == frame[1]
    assert box.top == (frame[0] - box.height) // 2
    assert box.left == (frame[1] - box.width) // 2


def test_a_known_image_lies_where_it_should() -> None:
    image = np.full((50, 100), 200, dtype=np.uint8)
    framed = letterbox(image, (64, 64), BILINEAR)
    assert framed.shape == (64, 64)
    assert (framed[16:48] == 200).all()
    assert not framed[:16].any() and not framed[48:].any()


def test_a_mask_stays_zero_and_one() -> None:
    mask = np.random.default_rng(0).random((37, 91)) > 0.5
    framed = letterbox(mask, (64, 48), NEAREST)
    assert set(np.unique(framed)) == {0, 1}

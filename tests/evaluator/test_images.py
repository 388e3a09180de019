"""Images that predict: what they are shown, under which names, and which masks are taken."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evaluator.consistency import transform_case
from evaluator.documents.base import read
from evaluator.documents.inference import REPEATED
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.images.collect import Ran, collect
from evaluator.images.masks import read_mask
from evaluator.images.naming import LIST, Shown, ShownImages, shown
from evaluator.images.unseal import encode_png, unseal
from evaluator.predictions import open_predictions, read_packed, require_bound, unpack
from evaluator.sealed import decode_image, open_sealed
from tests.support.inference import blur, speckle, stage

SUBMISSION = "5" * 64
RAN = Ran(image="sha256:1", device="cpu", threads=2, seconds=3.0, host_memory_mb=None)


def index_of(cases: int, **changes: object) -> SealedIndex:
    rows = tuple(
        SealedCase(case_id=f"case_{n}", height=40 + n % 3, width=50, file=f"case_{n}.grey")
        for n in range(cases)
    )
    seeds = {"consistency_seed": "1" * 64, "repeat_seed": "2" * 64}
    return SealedIndex(split_digest="3" * 64, cases=rows, **{**seeds, **changes})


def test_no_name_or_place_in_the_list_tells_the_passes_apart() -> None:
    listed = shown(index_of(200), SUBMISSION, again=False)
    assert len({image.file for image in listed}) == len(listed) == 400
    assert [i.file for i in listed] == sorted(i.file for i in listed)
    transformed = [image.window for image in listed]
    assert 160 < sum(transformed[:200]) + 100 < 240  # mixed, and not one pass after the other
    place = {(i.case_id, i.window): n for n, i in enumerate(listed)}
    apart = [abs(place[f"case_{n}", True] - place[f"case_{n}", False]) for n in range(200)]
    assert 100 < np.mean(apart) < 170  # a third of 400, as of places drawn by chance


@given(cases=st.integers(1, 60), seed=st.integers(0, 99))
def test_no_second_start_shares_a_name_with_the_first(cases: int, seed: int) -> None:
    index = index_of(cases, repeat_seed=f"{seed:064x}")
    first, again = (shown(index, SUBMISSION, again=each) for each in (False, True))
    assert not {i.file for i in first} & {i.file for i in again}
    assert len(again) == min(len(first), max(REPEATED, len(first) // 20))
    same = {replace(i, file="") for i in first}
    assert {replace(i, file="") for i in again} <= same


def test_no_two_submissions_or_sealings_have_the_same_names() -> None:
    listed = [
        shown(index_of(5), SUBMISSION, again=False),
        shown(index_of(5), "6" * 64, again=False),
        shown(index_of(5, repeat_seed="4" * 64), SUBMISSION, again=False),
    ]
    assert len({image.file for images in listed for image in images}) == 30


def test_sealed_images_without_a_seed_are_not_shown() -> None:
    with pytest.raises(BusbenchError) as refused:
        shown(index_of(2, repeat_seed=None), SUBMISSION, again=False)
    assert refused.value.code == Code.BUNDLE_INVALID


def predict(volume: Path, out: Path) -> None:
    """What a participant's image does: bright pixels are lesion."""
    out.mkdir()
    listed = read(ShownImages, volume / LIST, Code.USAGE, remedy="")
    for image in listed.images:
        pixels = np.asarray(Image.open(volume / "images" / image.file))
        assert pixels.shape == (image.height, image.width)
        Image.fromarray(np.where(pixels > 128, 255, 0).astype(np.uint8)).save(out / image.file)


def test_no_mask_is_packed_for_another_case_or_pass(tmp_path: Path) -> None:
    made = stage(tmp_path / "made", speckle(5), blur(), seed="1" * 64)
    for name, again in (("first", False), ("again", True)):
        volume = tmp_path / f"volume-{name}"
        volume.mkdir()
        unseal(volume, SUBMISSION, images=made.images, key=made.key, again=again)
        assert {path.name for path in volume.iterdir()} == {"images", LIST}
        predict(volume, tmp_path / name)
    out = tmp_path / "out"
    out.mkdir()
    collect(
        tmp_path / "first",
        tmp_path / "again",
        out,
        submission=SUBMISSION,
        images=made.images,
        key=made.key,
        ran=RAN,
    )
    document = open_predictions(out)
    with open_sealed(made.images, made.key) as (index, cases):
        require_bound(document, SUBMISSION, [None], index=index)
        pixels = {case.case_id: (case, decode_image(d, case, made.images)) for case, d in cases}
    for name, listed in (("all", document.cases), ("all.transformed", document.transformed[0])):
        for case, packed in read_packed(out / f"fold-{name}.bits", listed):
            sealed, image = pixels[case.case_id]
            if name != "all":
                _, image = transform_case("1" * 64, sealed, image)
            assert np.array_equal(unpack(packed, case.height, case.width), image > 128)


IMAGE = Shown("a.png", "case", 0, 4, 6)


def png(pixels: np.ndarray, **how: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **how)
    return stream.getvalue()


def taken(tmp_path: Path, data: bytes) -> np.ndarray:
    (tmp_path / IMAGE.file).write_bytes(data)
    return read_mask(tmp_path, IMAGE)


MASK = np.eye(4, 6, dtype=bool)
HONEST = {
    "0-255": png(np.where(MASK, 255, 0).astype(np.uint8)),
    "0-1": png(MASK.astype(np.uint8)),
    "one-bit": png(MASK),
}
_TEXT = b"zTXta\0\0" + zlib.compress(bytes(60_000_000), 9)
TEXT_BOMB = (len(_TEXT) - 4).to_bytes(4, "big") + _TEXT + zlib.crc32(_TEXT).to_bytes(4, "big")
HOSTILE = {
    "empty": b"",
    "truncated": HONEST["0-255"][:-30],
    "transposed": png(np.zeros((6, 4), np.uint8)),
    "grey-level": png(np.full((4, 6), 128, np.uint8)),
    "both-scales": png(np.array([[0, 1, 255, 0, 0, 0]] * 4, np.uint8)),
    "colour": png(np.zeros((4, 6, 3), np.uint8)),
    "alpha": png(np.zeros((4, 6, 2), np.uint8)),
    "sixteen-bits": png(np.zeros((4, 6), np.uint16)),
    "animated": png(
        np.zeros((4, 6), np.uint8),
        save_all=True,
        append_images=[Image.fromarray(np.full((4, 6), 255, np.uint8))],
    ),
    "another-format": b"P5 6 4 255\n" + bytes(24),
    "too-long": HONEST["0-255"] + bytes(1 << 17),
    "text-bomb": HONEST["0-255"][:33] + TEXT_BOMB + HONEST["0-255"][33:],
}


@pytest.mark.parametrize("kind", HONEST)
def test_no_honest_mask_is_refused(kind: str, tmp_path: Path) -> None:
    assert np.array_equal(taken(tmp_path, HONEST[kind]), MASK)


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_hostile_file_is_taken_for_a_mask(kind: str, tmp_path: Path) -> None:
    with pytest.raises(BusbenchError) as refused:
        taken(tmp_path, HOSTILE[kind])
    assert refused.value.code == Code.PREDICTIONS_INVALID


@given(place=st.integers(0, 200), byte=st.integers(0, 255))
def test_no_changed_byte_ends_in_another_error(
    place: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(HONEST["0-255"])
    data[place % len(data)] = byte
    try:
        taken(tmp_path_factory.mktemp("mask"), bytes(data))
    except BusbenchError as error:
        assert error.code == Code.PREDICTIONS_INVALID


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(HONEST["0-255"])
    (tmp_path / IMAGE.file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BusbenchError, match="missing"):
        read_mask(tmp_path, IMAGE)


def test_no_image_is_shown_with_metadata() -> None:
    with Image.open(io.BytesIO(encode_png(np.zeros((4, 6), np.uint8)))) as opened:
        assert opened.info == {} and opened.mode == "L"

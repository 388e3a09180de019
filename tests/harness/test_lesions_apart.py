"""Several lesions stay several: from a release's masks, from their values, else from islands."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from evaluator.errors import BusbenchError
from harness.datasets.lesions import numbered
from harness.prepare import CasesRefusedError, prepare
from harness.store import CaseStore, Sample, png_bytes, write_store

SHAPE = (48, 64)
GREY = np.random.RandomState(3).randint(1, 256, SHAPE).astype(np.uint8)
Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]  # top, left, height, width

boxes = st.tuples(st.integers(1, 30), st.integers(1, 40), st.integers(4, 14), st.integers(4, 14))


def rectangle(box: Box) -> Mask:
    mask = np.zeros(SHAPE, np.bool_)
    mask[box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = True
    return mask


def island_count(mask: Mask) -> int:
    """By another tool than the one that is tested."""
    return int(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0]) - 1


def save(path: Path, pixels: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def generic(root: Path, masks: Sequence[NDArray[np.generic]]) -> CaseStore:
    """A store of one case of a dataset of one's own."""
    save(root / "raw" / "a.png", GREY)
    for number, mask in enumerate(masks):
        save(root / "raw" / f"mask{number}.png", mask)
    names = ";".join(f"mask{number}.png" for number in range(len(masks)))
    (root / "raw" / "cases.csv").write_text(f"image,class,mask,case_id\na.png,benign,{names},a\n")
    return prepare("generic", root / "raw", root / "store").store


def busi(root: Path, masks: Sequence[NDArray[np.generic]]) -> CaseStore:
    """A store of BUSI with one lesion case."""
    for label in ("benign", "malignant", "normal"):
        (root / "raw" / label).mkdir(parents=True)
    save(root / "raw" / "benign" / "benign (1).png", GREY)
    for number, mask in enumerate(masks):
        suffix = f"_{number}" if number else ""
        save(root / "raw" / "benign" / f"benign (1)_mask{suffix}.png", mask)
    return prepare("busi", root / "raw", root / "store").store


Maker = Callable[[Path, Sequence[NDArray[np.generic]]], CaseStore]


def require_sound(store: CaseStore) -> NDArray[np.uint8]:
    """The only case's lesion map, which says the same as the mask and the table."""
    (case,) = store.cases
    numbers, mask = store.lesions(case.case_id), store.mask(case.case_id)
    assert np.array_equal(numbers > 0, mask)
    assert sorted(set(numbers[mask].tolist())) == list(range(1, case.lesions + 1))
    assert (store.path / "lesions" / f"{case.case_id}.png").exists() == (case.lesions > 1)
    return numbers


@pytest.mark.parametrize("make", [busi, generic])
@settings(max_examples=20, deadline=None)
@given(made=st.lists(boxes, min_size=2, max_size=5, unique=True))
@example([(5, 5, 12, 12), (8, 8, 4, 4)])  # one inside another
@example([(5, 5, 8, 8), (5, 13, 8, 8)])  # side by side
@example([(8, 8, 4, 4), (5, 5, 12, 12)])
def test_no_lesion_with_a_mask_of_its_own_is_merged_with_another(
    make: Maker, made: list[Box]
) -> None:
    masks = [rectangle(box) for box in made]
    with tempfile.TemporaryDirectory() as folder:
        store = make(Path(folder), masks)
        numbers = require_sound(store)
        assert np.array_equal(numbers > 0, np.logical_or.reduce(masks))
        (case,) = store.cases
        shown = 0
        for number in range(1, case.lesions + 1):
            owners = [mask for mask in masks if mask[numbers == number].all()]
            shown += bool(owners)
        assert shown == case.lesions
        hidden = len(masks) - case.lesions
        assert (f"too small: {hidden} of {len(masks)}" in case.repairs) == (hidden > 0)


@pytest.mark.parametrize("gap", [-3, 0, 1, 5])
@pytest.mark.parametrize("make", [busi, generic])
def test_no_two_masks_become_one_lesion_because_they_touch_or_overlap(
    tmp_path: Path, make: Maker, gap: int
) -> None:
    first, second = rectangle((10, 5, 12, 12)), rectangle((10, 17 + gap, 12, 14))
    numbers = require_sound(make(tmp_path, [first, second]))
    assert np.array_equal(numbers == 1, first)  # the smaller one keeps what both mark
    assert np.array_equal(numbers == 2, second & ~first)


def test_no_island_of_a_lesion_becomes_a_lesion_where_the_release_tells_them_apart(
    tmp_path: Path,
) -> None:
    islands = rectangle((2, 2, 8, 8)) | rectangle((30, 30, 8, 8))
    assert busi(tmp_path / "one", [islands]).cases[0].lesions == 1
    numbers = require_sound(busi(tmp_path / "two", [islands, rectangle((2, 40, 8, 8))]))
    assert np.array_equal(numbers == 1, islands)


@settings(max_examples=20, deadline=None)
@given(made=st.lists(boxes, min_size=1, max_size=7))
def test_no_island_is_lost_where_one_mask_marks_all(made: list[Box]) -> None:
    mask = np.logical_or.reduce([rectangle(box) for box in made])
    with tempfile.TemporaryDirectory() as folder:
        store = generic(Path(folder), [mask])
        numbers = require_sound(store)
        count = store.cases[0].lesions
        assert count == island_count(mask)
        assert all(island_count(numbers == number) == 1 for number in range(1, count + 1))


@pytest.mark.parametrize("values", [(1, 2, 3), (85, 170, 255), (255, 100, 30), (7, 8, 9)])
def test_no_number_of_a_lesion_in_its_mask_is_lost(
    tmp_path: Path, values: tuple[int, int, int]
) -> None:
    """The last value marks two islands, which are one lesion by what the file says."""
    areas = [
        rectangle((2, 2, 9, 9)),
        rectangle((2, 30, 9, 9)),
        rectangle((30, 2, 9, 9)) | rectangle((30, 30, 9, 9)),
    ]
    pixels = np.zeros(SHAPE, np.uint8)
    for area, value in zip(areas, values, strict=True):
        pixels[area] = value
    numbers = require_sound(generic(tmp_path, [pixels]))
    for number, place in enumerate(np.argsort(values), start=1):
        assert np.array_equal(numbers == number, areas[place])


def test_no_colour_that_means_a_class_is_a_lesion_of_its_own(tmp_path: Path) -> None:
    pixels = np.zeros((*SHAPE, 3), np.uint8)
    pixels[rectangle((2, 2, 9, 9))] = (0, 255, 0)
    pixels[rectangle((2, 30, 9, 9))] = (255, 0, 0)
    pixels[rectangle((30, 30, 9, 9))] = (0, 255, 0)
    raw = tmp_path / "raw"
    save(raw / "images" / "ALWI_000.png", GREY)
    save(raw / "masks" / "ALWI_000.png", pixels)
    (raw / "INFO.csv").write_text("Image;Resolution;Label\nALWI_000.png;64x48;Benign\n")
    store = prepare("bus-uclm", raw, tmp_path / "store").store
    require_sound(store)
    assert store.cases[0].lesions == 3


def test_no_normal_case_has_a_lesion(tmp_path: Path) -> None:
    sample = Sample("n", "normal", None, GREY, np.zeros(SHAPE, np.bool_), "n.png", "")
    store = write_store(tmp_path / "store", "phantom", [sample])
    assert store.cases[0].lesions == 0
    assert not require_sound(store).any()


@pytest.mark.parametrize("count", [255, 256])
def test_no_lesion_number_wraps_around(tmp_path: Path, count: int) -> None:
    mask = np.zeros((170, 170), np.bool_)
    for number in range(count):
        row, column = divmod(number, 32)
        mask[5 * row + 1 : 5 * row + 5, 5 * column + 1 : 5 * column + 5] = True
    raw = tmp_path / "raw"
    save(raw / "a.png", np.random.RandomState(0).randint(0, 256, mask.shape).astype(np.uint8))
    save(raw / "m.png", mask)
    (raw / "cases.csv").write_text("image,class,mask\na.png,benign,m.png\n")
    if count <= 255:
        assert prepare("generic", raw, tmp_path / "store").store.cases[0].lesions == count
    else:
        with pytest.raises(CasesRefusedError, match=r"m\.png marks 256 lesions, more than 255"):
            prepare("generic", raw, tmp_path / "store")


@given(st.lists(st.lists(st.booleans(), min_size=16, max_size=16), min_size=1, max_size=6))
def test_no_pixel_belongs_to_a_larger_lesion_where_a_smaller_marks_it(
    flat: list[list[bool]],
) -> None:
    areas = [np.array(area).reshape(4, 4) for area in flat]
    union = np.logical_or.reduce(areas)
    numbers = numbered(areas, union)
    assert np.array_equal(numbers > 0, union)
    owners = dict[int, set[int]]()
    for place in zip(*np.nonzero(union), strict=True):
        smallest = min(area.sum() for area in areas if area[place])
        holder = {n for n, area in enumerate(areas) if area[place] and area.sum() == smallest}
        owners[int(numbers[place])] = owners.get(int(numbers[place]), holder) & holder
    assert all(owners.values())


@pytest.mark.parametrize("change", ["other", "gone", "mask"])
def test_no_changed_lesion_map_is_read(tmp_path: Path, change: str) -> None:
    several = change != "mask"
    masks = [rectangle((2, 2, 9, 9)), rectangle((30, 30, 9, 9))][: 1 + several]
    store = generic(tmp_path, masks)
    path = store.path / ("lesions" if several else "masks") / "a.png"
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(png_bytes(np.roll(store.mask("a"), 1) if not several else GREY))
    with pytest.raises(BusbenchError, match=r"a\.png (was changed|cannot be read)") as caught:
        store.lesions("a")
    assert caught.value.code == "store-invalid"


@pytest.mark.parametrize("column", ["lesions", "lesions_sha256"])
def test_no_table_with_other_lesions_is_opened(tmp_path: Path, column: str) -> None:
    store = generic(tmp_path, [rectangle((2, 2, 9, 9)), rectangle((30, 30, 9, 9))])
    table = store.path / "cases.parquet"
    frame = pd.read_parquet(table)
    frame[column] = [1] if column == "lesions" else ["0" * 64]
    frame.to_parquet(table, index=False)
    with pytest.raises(BusbenchError, match="does not match"):
        CaseStore.open(store.path)


def test_a_store_without_lesions_apart_is_refused_by_name(tmp_path: Path) -> None:
    store = generic(tmp_path, [rectangle((2, 2, 9, 9))])
    info = json.loads((store.path / "store.json").read_text())
    info["schema"] = "busbench/store/v1"
    del info["lesions_digest"]
    (store.path / "store.json").write_text(json.dumps(info))
    with pytest.raises(BusbenchError, match=r"busbench/store/v1.*prepare"):
        CaseStore.open(store.path)


@pytest.mark.slow
def test_no_store_of_the_real_subsets_has_another_digest_than_its_frozen_split(
    real_data: Path, tmp_path: Path
) -> None:
    splits = Path(__file__).parents[2] / "splits"
    folders = {"busi": "Dataset_BUSI_with_GT", "bus-uclm": "BUS-UCLM"}
    several = {}
    for name, folder in folders.items():
        store = prepare(name, real_data / folder, tmp_path / name).store
        lock = json.loads((splits / name / "subset-v1" / "lock.json").read_text())
        assert store.info.digest == lock["store_digest"]
        several[name] = [case for case in store.cases if case.lesions > 1]
        for case in store.cases:
            assert np.array_equal(store.lesions(case.case_id) > 0, store.mask(case.case_id))
    masks = {case.source_image: case.source_mask.count("; ") + 1 for case in several["busi"]}
    assert {case.source_image: case.lesions for case in several["busi"]} == masks
    assert len(masks) == 15

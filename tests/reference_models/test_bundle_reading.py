"""A bundle that is not whole, was changed, or contains test cases is never trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reference_models.config import InputSettings
from reference_models.data import load_cases, open_bundle
from reference_models.errors import BundleError
from tests.support.training_bundle import HEADER, read_rows, write_table

INPUT = InputSettings(height=32, width=48)


def change_document(bundle: Path, **fields: object) -> None:
    document = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**document, **fields}))


def change_row(bundle: Path, column: str, value: object) -> None:
    rows = [list(row) for row in read_rows(bundle)]
    rows[3][HEADER.index(column)] = str(value)
    write_table(bundle, [tuple(row) for row in rows])


def test_a_sound_bundle_opens_with_all_its_cases_and_folds(bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    loaded = load_cases(bundle, INPUT)
    assert len(bundle.cases) == 20
    assert loaded.images.shape == loaded.masks.shape == (20, 32, 48)
    assert loaded.images.dtype == loaded.masks.dtype == np.uint8
    assert set(np.unique(loaded.masks)) == {0, 1}
    for fold in bundle.folds:
        both = np.concatenate((loaded.training(fold), loaded.validation(fold)))
        assert sorted(both) == list(range(20))
        assert len(loaded.validation(fold)) == 4


def test_a_bundle_that_states_no_windows_is_read(own_bundle: Path) -> None:
    document = json.loads((own_bundle / "bundle.json").read_text())
    del document["windows"]
    document["schema"] = "busbench/training-bundle/v2"
    (own_bundle / "bundle.json").write_text(json.dumps(document))
    assert len(open_bundle(own_bundle).cases) == 10


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"bundle\.json cannot be read"):
        open_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"schema": "busbench/sealed-bundle/v1"}, "has the schema"),
        ({"surprise": 1}, "surprise"),
        ({"folds": "many"}, "folds"),
        ({"cases": 11}, "has 10 cases, not 11"),
        ({"cases_sha256": "0" * 64}, "does not match bundle.json"),
    ],
)
def test_a_document_that_is_not_a_training_bundles_is_refused(
    own_bundle: Path, fields: dict[str, object], complaint: str
) -> None:
    change_document(own_bundle, **fields)
    with pytest.raises(BundleError, match=complaint):
        open_bundle(own_bundle)


@pytest.mark.parametrize("text", ["{", "[1]", "\x00", "[" * 100_000])
def test_a_document_that_is_no_json_object_is_refused(own_bundle: Path, text: str) -> None:
    (own_bundle / "bundle.json").write_text(text)
    with pytest.raises(BundleError):
        open_bundle(own_bundle)


@pytest.mark.parametrize("part", ["test", "hidden"])
def test_a_table_with_test_cases_is_refused(own_bundle: Path, part: str) -> None:
    rows = [
        (*row, part if index == 4 else "train") for index, row in enumerate(read_rows(own_bundle))
    ]
    write_table(own_bundle, rows, header=(*HEADER, "part"))
    with pytest.raises(BundleError, match="contains test cases"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("fold", ["", "test", "5", "-1", "0.0"])
def test_a_case_without_a_training_fold_is_refused(own_bundle: Path, fold: str) -> None:
    change_row(own_bundle, "fold", fold)
    with pytest.raises(BundleError, match="only test cases have none"):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("case_id", "../../etc/passwd", "broken row"),
        ("case_id", "case-000", "names a case twice"),
        ("class", "unknown", "unknown class"),
        ("height", "tall", "no size"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused(
    own_bundle: Path, column: str, value: str, complaint: str
) -> None:
    change_row(own_bundle, column, value)
    with pytest.raises(BundleError, match=complaint):
        open_bundle(own_bundle)


def test_a_fold_without_cases_is_refused(own_bundle: Path) -> None:
    write_table(own_bundle, read_rows(own_bundle), folds=6)
    with pytest.raises(BundleError, match="no case in fold 5"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_missing_file_is_named(own_bundle: Path, folder: str) -> None:
    (own_bundle / folder / "case-002.png").unlink()
    with pytest.raises(BundleError, match=rf"{folder}/case-002\.png is missing"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_file_of_no_case_is_refused_for_it_may_be_a_test_case(
    own_bundle: Path, folder: str
) -> None:
    (own_bundle / folder / "test-001.png").write_bytes(b"")
    with pytest.raises(BundleError, match="belongs to no case"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_changed_pixels_are_refused(own_bundle: Path, folder: str) -> None:
    path = own_bundle / folder / "case-001.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] = not pixels[0, 0]
    Image.fromarray(pixels).save(path)
    with pytest.raises(BundleError, match=r"case-001\.png does not match its digest"):
        load_cases(open_bundle(own_bundle), INPUT)


def test_a_truncated_image_is_refused(own_bundle: Path) -> None:
    path = own_bundle / "images" / "case-001.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BundleError, match=r"case-001\.png cannot be read"):
        load_cases(open_bundle(own_bundle), INPUT)


def test_a_colour_image_is_refused(own_bundle: Path) -> None:
    path = own_bundle / "images" / "case-001.png"
    with Image.open(path) as image:
        colour = image.convert("RGB")
    colour.save(path)
    with pytest.raises(BundleError, match="does not match its digest"):
        load_cases(open_bundle(own_bundle), INPUT)

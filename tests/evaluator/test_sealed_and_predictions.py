"""Sealed archives and packed predictions: what must be refused, and what must come back whole."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.documents.base import MAX_CASES, parse, read, write
from evaluator.documents.predictions import PredictedCase, Predictions
from evaluator.documents.scores import Scores
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import pretty_json, sha256_bytes
from evaluator.predictions import bits_file, open_predictions, pack, read_packed, unpack
from evaluator.sealed import decode_image, open_sealed, seal_archive

DIGEST = "0" * 64


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[Path, Path]:
    identity = pyrage.x25519.Identity.generate()
    key = tmp_path / "images.key"
    key.write_text(f"{identity}\n")
    cases = tuple(SealedCase(case_id=f"c{n}", height=4, width=5, file=f"{n}.png") for n in range(3))
    images = [np.full((4, 5), n, np.uint8).tobytes() for n in range(3)]
    index = SealedIndex(split_digest=DIGEST, cases=cases)
    path = tmp_path / "images.age"
    path.write_bytes(seal_archive(index, images, str(identity.to_public())))
    return path, key


def opened(path: Path, key: Path) -> list[tuple[SealedCase, bytes]]:
    with open_sealed(path, key) as (_, cases):
        return list(cases)


def test_sealed_files_come_back_whole(sealed: tuple[Path, Path]) -> None:
    found = opened(*sealed)
    assert [int(decode_image(data, case, sealed[0]).max()) for case, data in found] == [0, 1, 2]


def test_images_of_any_place_are_those_of_the_whole_from_any_thread(tmp_path: Path) -> None:
    """Of sizes around whole blocks of the archive and whole parts of its encryption."""
    draw, sides = np.random.default_rng(0), [(1, 1), (16, 32), (31, 33), (256, 256), (257, 511)]
    images = [draw.integers(0, 256, side, np.uint8) for side in sides * 4]
    identity = pyrage.x25519.Identity.generate()
    cases = tuple(
        SealedCase(case_id=f"c{n}", height=image.shape[0], width=image.shape[1], file=f"{n}.grey")
        for n, image in enumerate(images)
    )
    index, path = SealedIndex(split_digest=DIGEST, cases=cases), tmp_path / "images.age"
    files = (image.tobytes() for image in images)
    path.write_bytes(seal_archive(index, files, str(identity.to_public())))
    spans = [tuple(sorted(draw.integers(0, len(cases) + 1, 2))) for _ in range(40)]
    with open_sealed(path, str(identity)) as (_, sealed), ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda span: sealed.images(*span), spans))
    for (start, end), some in zip(spans, found, strict=True):
        assert [case for case, _ in some] == list(cases[start:end])
        for (_, image), wanted in zip(some, images[start:end], strict=True):
            assert np.array_equal(image, wanted)


def test_reading_may_stop_early(sealed: tuple[Path, Path]) -> None:
    with open_sealed(*sealed) as (index, _):
        assert len(index.cases) == 3


def test_another_key_opens_nothing(sealed: tuple[Path, Path]) -> None:
    sealed[1].write_text(str(pyrage.x25519.Identity.generate()))
    with pytest.raises(BusbenchError) as refused:
        opened(*sealed)
    assert refused.value.code == "keys-invalid"


@pytest.mark.parametrize("keep", [0, 10, 200, 400, -1])
def test_a_truncated_archive_is_refused(sealed: tuple[Path, Path], keep: int) -> None:
    sealed[0].write_bytes(sealed[0].read_bytes()[:keep])
    with pytest.raises(BusbenchError) as refused:
        opened(*sealed)
    assert refused.value.code in ("bundle-invalid", "keys-invalid")


def test_a_key_file_without_a_key_is_refused(sealed: tuple[Path, Path]) -> None:
    sealed[1].write_text("hello")
    with pytest.raises(BusbenchError) as refused:
        opened(*sealed)
    assert refused.value.code == "keys-invalid"


def save(folder: Path, masks: dict[str, np.ndarray], /, **changes: object) -> None:
    cases = [
        PredictedCase(case_id=i, height=m.shape[0], width=m.shape[1]) for i, m in masks.items()
    ]
    packed = b"".join(pack(mask) for mask in masks.values())
    document = Predictions(
        submission_sha256=DIGEST,
        split_digest=DIGEST,
        folds=(0,),
        cases=tuple(cases),
        masks={
            bits_file(0, n): sha256_bytes(packed)
            for n in range(1 + len(changes.get("transformed", ())))  # type: ignore[arg-type]
        },
    )
    (folder / bits_file(0)).write_bytes(packed)
    write(document.model_copy(update=changes), folder / "predictions.json")


def test_masks_of_another_digest_are_refused(tmp_path: Path) -> None:
    masks = {"a": np.ones((3, 5), bool)}
    digest = sha256_bytes(pack(masks["a"]))
    save(tmp_path, masks, masks={bits_file(0): digest})
    open_predictions(tmp_path)
    (tmp_path / bits_file(0)).write_bytes(pack(~masks["a"]))
    with pytest.raises(BusbenchError, match="not the file that was predicted"):
        open_predictions(tmp_path)
    save(tmp_path, masks, masks={"fold-9.bits": digest})
    with pytest.raises(BusbenchError, match="which belongs to none of its folds"):
        open_predictions(tmp_path)
    save(tmp_path, masks, masks={})
    with pytest.raises(BusbenchError, match="not the file that was predicted"):
        open_predictions(tmp_path)


@settings(max_examples=50)
@given(data=st.data())
def test_no_bit_of_a_mask_is_lost(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("predictions")
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 19), st.integers(1, 19)), max_size=4))
    rng = np.random.default_rng(0)
    masks = {f"c{n}": rng.random(size) > 0.5 for n, size in enumerate(sizes)}
    save(folder, masks)
    document = open_predictions(folder)
    packed = read_packed(folder / bits_file(0), document.cases)
    found = {case.case_id: unpack(data, case.height, case.width) for case, data in packed}
    assert found.keys() == masks.keys()
    assert all(np.array_equal(found[name], mask) for name, mask in masks.items())


MASK = {"a": np.ones((8, 8), bool)}


@pytest.mark.parametrize(
    "change",
    [
        {"cases": (PredictedCase(case_id="a", height=8, width=8),) * 2},
        {"folds": (0, 0)},
        {"folds": (0, 1)},
        {"cases": (PredictedCase(case_id="a", height=8, width=9),)},
        {"transformed": ((PredictedCase(case_id="a", height=8, width=8),),)},
        {"transformed": ((PredictedCase(case_id="a", height=8, width=8),) * 2,)},
    ],
    ids=[
        *("a case twice", "a fold twice", "a fold without a file", "a wrong size"),
        *("transformed masks without a file", "a transformed case twice"),
    ],
)
def test_predictions_that_contradict_themselves_are_refused(tmp_path: Path, change: Any) -> None:
    save(tmp_path, MASK, **change)
    with pytest.raises(BusbenchError) as refused:
        open_predictions(tmp_path)
    assert refused.value.code == "predictions-invalid"


@pytest.mark.parametrize("passes", [1, 2])
def test_predictions_of_the_former_version_are_read(tmp_path: Path, passes: int) -> None:
    """Kept ones are scored anew; they have one window, whose cases stood in the list itself."""
    row: dict[str, Any] = {"case_id": "a", "height": 8, "width": 8}
    window = (PredictedCase(**row),)
    save(tmp_path, MASK, transformed=(window,) if passes == 2 else ())
    if passes == 2:
        (tmp_path / bits_file(0, 1)).write_bytes(pack(MASK["a"]))
    path = tmp_path / "predictions.json"
    document = json.loads(path.read_text())
    del document["maps"], document["threshold"]
    old = {"schema": "busbench/predictions/v2", "transformed": [row] if passes == 2 else []}
    path.write_text(json.dumps(document | old))
    found = open_predictions(tmp_path)
    assert found.transformed == ((window,) if passes == 2 else ())
    assert not found.maps
    path.write_text(json.dumps(document | old | {"schema": "busbench/predictions/v1"}))
    refuse(tmp_path)


def refuse(folder: Path) -> None:
    with pytest.raises(BusbenchError) as refused:
        open_predictions(folder)
    assert refused.value.code == "predictions-invalid"


@pytest.mark.parametrize("cases", ["cases", "transformed"])
@pytest.mark.parametrize(
    "field, value",
    [
        *(("height", 10**9), ("height", 0), ("height", -8), ("width", 1e308), ("width", None)),
        *(("case_id", "../../etc/passwd"), ("case_id", "a" * 81), ("case_id", ""), ("extra", 1)),
    ],
)
def test_hostile_fields_are_refused(tmp_path: Path, cases: str, field: str, value: object) -> None:
    save(tmp_path, MASK, transformed=((PredictedCase(case_id="a", height=8, width=8),),))
    path = tmp_path / "predictions.json"
    document = json.loads(path.read_text())
    (document[cases] if cases == "cases" else document[cases][0])[0][field] = value
    path.write_text(json.dumps(document))
    refuse(tmp_path)


@pytest.mark.parametrize("fold", [-1, 20, 10**30, "../0", 0.5])
def test_a_fold_that_is_no_fold_is_refused(tmp_path: Path, fold: object) -> None:
    save(tmp_path, MASK)
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"folds": [fold]}))
    refuse(tmp_path)


def bomb_of_bytes(path: Path) -> None:
    with path.open("wb") as handle:
        handle.truncate(1 << 40)  # sparse: a terabyte that takes no component


def bomb_of_cases(path: Path) -> None:
    cases = b",".join([b'{"case_id":"a","height":8192,"width":8192}'] * (MAX_CASES + 1))
    path.write_bytes(path.read_bytes().replace(b'"cases": [', b'"cases": [' + cases + b","))


def bomb_of_brackets(path: Path) -> None:
    path.write_bytes(b"[" * 1_000_000)


def bomb_of_digits(path: Path) -> None:
    path.write_bytes(b'{"folds": [' + b"9" * 1_000_000 + b"]}")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("elsewhere")))


def lost(path: Path) -> None:
    path.unlink()


DOCUMENT_BOMBS = (bomb_of_bytes, bomb_of_cases, bomb_of_brackets, bomb_of_digits)


@pytest.mark.parametrize("spoil", [*DOCUMENT_BOMBS, pipe, folder, link, lost])
def test_a_document_that_is_a_trap_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    save(tmp_path, MASK)
    spoil(tmp_path / "predictions.json")
    refuse(tmp_path)


@pytest.mark.parametrize("name", ["fold-0.bits", "fold-0.transformed.bits"])
@pytest.mark.parametrize("spoil", [bomb_of_bytes, pipe, folder, link, lost])
def test_packed_masks_that_are_a_trap_are_refused(
    tmp_path: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    save(tmp_path, MASK, transformed=((PredictedCase(case_id="a", height=8, width=8),),))
    (tmp_path / "fold-0.transformed.bits").write_bytes(pack(MASK["a"]))
    open_predictions(tmp_path)  # sound until it is spoilt
    spoil(tmp_path / name)
    refuse(tmp_path)


def test_any_pipe_is_an_error_and_no_wait(tmp_path: Path) -> None:
    """The harness reads other documents that containers left: gate.json, scores.json."""
    os.mkfifo(tmp_path / "scores.json")
    with pytest.raises(BusbenchError):
        read(Scores, tmp_path / "scores.json", Code.STAGE_CRASHED, remedy="Run it again.")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@settings(max_examples=100)
@given(data=st.data())
def test_no_document_makes_the_parser_stumble(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any field may hold anything, any byte may be another: refused in one way, or sound."""
    place = tmp_path_factory.mktemp("fuzz")
    save(place, MASK, transformed=((PredictedCase(case_id="a", height=4, width=2),),))
    (place / "fold-0.transformed.bits").write_bytes(b"x")
    path = place / "predictions.json"
    document = json.loads(path.read_text())
    holder = data.draw(
        st.sampled_from(
            [document, document["cases"][0], document["transformed"][0][0], document["masks"]]
        )
    )
    for key in data.draw(st.lists(st.sampled_from(sorted(holder)), max_size=2)):
        holder[key] = data.draw(json_values)
    text = bytearray(json.dumps(document).encode())
    for place_of in data.draw(st.lists(st.integers(0, len(text) - 1), max_size=3)):
        text[place_of] = data.draw(st.integers(0, 255))
    path.write_bytes(text)
    try:
        found = open_predictions(place)
    except BusbenchError as error:
        assert error.code == "predictions-invalid"
        return
    for window, cases in enumerate((found.cases, *found.transformed)):
        for fold in found.folds:
            for case, packed in read_packed(place / bits_file(fold, window), cases):
                assert unpack(packed, case.height, case.width).shape == (case.height, case.width)


def document_of(cases: int) -> Predictions:
    rows = tuple(PredictedCase(case_id=f"c{n:05}", height=64, width=64) for n in range(cases))
    return Predictions(
        submission_sha256=DIGEST, split_digest=DIGEST, folds=(None,), cases=rows, masks={}
    )


def test_a_document_written_row_by_row_is_no_other(tmp_path: Path) -> None:
    write(document_of(3), tmp_path / "predictions.json")
    written = (tmp_path / "predictions.json").read_bytes()
    assert written == pretty_json(document_of(3).document())


def test_a_long_document_is_not_held_a_second_time_to_be_written(tmp_path: Path) -> None:
    document = document_of(5_000)
    tracemalloc.start()
    try:
        write(document, tmp_path / "predictions.json")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (tmp_path / "predictions.json").stat().st_size / 2


@pytest.mark.parametrize("row, field", [({"height": 0}, "height"), ({"extra": 1}, "extra")])
def test_a_damaged_index_names_the_field(row: dict[str, int], field: str) -> None:
    sound = {"case_id": "a", "height": 4, "width": 5, "file": "a.png"}
    index = {
        "schema": "busbench/sealed-index/v3",
        "split_digest": DIGEST,
        "cases": [sound, sound | row],
    }
    with pytest.raises(BusbenchError, match=field) as refused:
        parse(
            SealedIndex,
            json.dumps(index).encode(),
            "images.age",
            code=Code.BUNDLE_INVALID,
            remedy="Seal.",
        )
    assert refused.value.code == "bundle-invalid"

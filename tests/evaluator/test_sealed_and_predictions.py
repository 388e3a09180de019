"""Sealed archives and packed predictions: what must be refused, and what must come back whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.contract import PredictedCase, Predictions, Runtime, SealedCase, SealedIndex, write
from evaluator.errors import BusbenchError
from evaluator.predictions import bits_file, open_predictions, pack, read_masks
from evaluator.sealed import decode_png, open_sealed, seal_archive
from harness.store import png_bytes

DIGEST = "0" * 64
RUNTIME = Runtime(
    backend="onnxruntime",
    backend_version="1",
    provider="CPUExecutionProvider",
    device="cpu",
    device_name="Some CPU",
    threads=1,
    batch_size=1,
    latency_ms=1.0,
    repeated_cases=8,
)


@pytest.fixture
def sealed(tmp_path: Path) -> tuple[Path, Path]:
    identity = pyrage.x25519.Identity.generate()
    key = tmp_path / "images.key"
    key.write_text(f"{identity}\n")
    cases = tuple(SealedCase(case_id=f"c{n}", height=4, width=5, file=f"{n}.png") for n in range(3))
    images = [png_bytes(np.full((4, 5), n, np.uint8)) for n in range(3)]
    index = SealedIndex(split_digest=DIGEST, cases=cases)
    path = tmp_path / "images.age"
    path.write_bytes(seal_archive(index, images, str(identity.to_public())))
    return path, key


def opened(path: Path, key: Path) -> list[tuple[SealedCase, bytes]]:
    with open_sealed(path, key) as (_, cases):
        return list(cases)


def test_sealed_files_come_back_whole(sealed: tuple[Path, Path]) -> None:
    found = opened(*sealed)
    assert [int(decode_png(data, case, sealed[0]).max()) for case, data in found] == [0, 1, 2]


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


def save(folder: Path, masks: dict[str, np.ndarray], **changes: object) -> None:
    cases = [
        PredictedCase(case_id=i, height=m.shape[0], width=m.shape[1]) for i, m in masks.items()
    ]
    document = Predictions(
        submission_sha256=DIGEST,
        split_digest=DIGEST,
        folds=(0,),
        cases=tuple(cases),
        runtime=RUNTIME,
    )
    (folder / bits_file(0)).write_bytes(b"".join(pack(mask) for mask in masks.values()))
    write(document.model_copy(update=changes), folder / "predictions.json")


@settings(max_examples=50)
@given(data=st.data())
def test_no_bit_of_a_mask_is_lost(data: st.DataObject, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("predictions")
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 19), st.integers(1, 19)), max_size=4))
    rng = np.random.default_rng(0)
    masks = {f"c{n}": rng.random(size) > 0.5 for n, size in enumerate(sizes)}
    save(folder, masks)
    document = open_predictions(folder)
    found = {case.case_id: mask for case, mask in read_masks(folder, document, 0)}
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
    ],
    ids=["a case twice", "a fold twice", "a fold without a file", "a wrong size"],
)
def test_predictions_that_contradict_themselves_are_refused(tmp_path: Path, change) -> None:
    save(tmp_path, MASK, **change)
    with pytest.raises(BusbenchError) as refused:
        open_predictions(tmp_path)
    assert refused.value.code == "predictions-invalid"


@pytest.mark.parametrize(
    "field, value",
    [("height", 10**9), ("height", 0), ("case_id", "../../etc/passwd"), ("extra", 1)],
)
def test_hostile_fields_are_refused(tmp_path: Path, field: str, value: object) -> None:
    save(tmp_path, MASK)
    path = tmp_path / "predictions.json"
    document = json.loads(path.read_text())
    document["cases"][0][field] = value
    path.write_text(json.dumps(document))
    with pytest.raises(BusbenchError) as refused:
        open_predictions(tmp_path)
    assert refused.value.code == "predictions-invalid"


def test_a_linked_bits_file_is_refused(tmp_path: Path) -> None:
    save(tmp_path, MASK)
    (tmp_path / "fold-0.bits").rename(tmp_path / "elsewhere")
    (tmp_path / "fold-0.bits").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BusbenchError):
        open_predictions(tmp_path)

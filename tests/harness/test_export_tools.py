"""Splits in the tools that they are for: exports in nnU-Net and MONAI, metadata in mlcroissant."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pandas as pd
import pytest
from monai.data import load_decathlon_datalist
from monai.transforms import LoadImaged

from harness.audit import audit
from harness.datasets import ADAPTERS
from harness.export import Format, TestPart, export_split
from harness.splits import FrozenSplit, freeze, verify
from harness.splits.croissant import describe
from harness.store import CaseStore, write_store
from tests.support import ROOT
from tests.support.samples import SECRET, samples

pytestmark = pytest.mark.slow
COMMITTED = sorted(lock.parent for lock in ROOT.glob("splits/*/*/lock.json"))


def make_split(root: Path, dataset: str = "phantom", version: str = "v1") -> FrozenSplit:
    store = write_store(root / "store", dataset, samples())
    return freeze(store, audit(store, near=False), root / version, version=version, secret=SECRET)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> FrozenSplit:
    return make_split(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def store(split: FrozenSplit) -> CaseStore:
    return CaseStore.open(split.path.parent / "store")


def fold_sides(split: FrozenSplit, fold: int) -> tuple[list[str], list[str]]:
    rows = [row for row in split.rows if row.part == "train"]
    return (
        [row.case_id for row in rows if row.fold != fold],
        [row.case_id for row in rows if row.fold == fold],
    )


def test_nothing_in_nnunet_refuses_or_splits_the_export_otherwise(
    split: FrozenSplit, store: CaseStore, nnunet: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"test": "images and labels", "dataset_id": 7}
    export_split(store, split, tmp_path, layout=Format.NNUNET, **options)
    script = ROOT / "tests" / "support" / "nnunet_check.py"
    done = subprocess.run([nnunet, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert read["folds"] == [list(fold_sides(split, fold)) for fold in range(split.lock.folds)]
    training = {row.case_id for row in split.rows if row.part == "train"}
    assert read["sums"] == {case_id: store.mask(case_id).sum() for case_id in training}


@pytest.mark.parametrize("test", ["images", "images and labels"])
def test_nothing_in_monai_reads_other_pixels_or_folds(
    test: TestPart, split: FrozenSplit, store: CaseStore, tmp_path: Path
) -> None:
    export_split(store, split, tmp_path, layout=Format.MONAI, test=test)
    load = LoadImaged(keys=["image", "label"], allow_missing_keys=True, ensure_channel_first=True)

    def read(file: str, key: str) -> list[str]:
        names = []
        for item in load_decathlon_datalist(tmp_path / file, True, key):
            names.append(Path(str(item["image"])).stem)
            loaded: Any = load(item)
            # MONAI's axes are (channel, width, height)
            np.testing.assert_array_equal(loaded["image"][0].numpy().T, store.image(names[-1]))
            assert ("label" in loaded) == (key not in ("test", "testing") or "labels" in test)
            if "label" in loaded:
                np.testing.assert_array_equal(loaded["label"][0].numpy().T, store.mask(names[-1]))
        return names

    tests = [row.case_id for row in split.rows if row.part == "test"]
    for fold in range(split.lock.folds):
        file = f"fold-{fold}.json"
        assert (read(file, "training"), read(file, "validation")) == fold_sides(split, fold)
        assert read(file, "test") == tests
    assert read("datalist.json", "testing") == read("datalist.json", "test") == tests
    listed = load_decathlon_datalist(tmp_path / "datalist.json", True, "training")
    folds: dict[str, Any] = {Path(str(item["image"])).stem: item["fold"] for item in listed}
    assert folds == {row.case_id: row.fold for row in split.rows if row.part == "train"}


def read_croissant(path: Path) -> mlcroissant.Dataset:
    """The dataset as its own library reads it, which raises where the document is not valid."""
    dataset = mlcroissant.Dataset(jsonld=path / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    return dataset


def lacks(dataset: mlcroissant.Dataset) -> set[str]:
    """The properties that Croissant recommends, and a dataset lacks."""
    warnings = dataset.metadata.ctx.issues.warnings
    assert all("is recommended, but does not exist" in text for text in warnings)
    return {text.split('"')[1].rpartition("/")[2] for text in warnings}


def records(dataset: mlcroissant.Dataset) -> list[dict[str, Any]]:
    """The rows of split.csv as read through its record set."""
    return [
        {
            key.partition("/")[2]: value.decode() if isinstance(value, bytes) else value
            for key, value in record.items()
        }
        for record in dataset.records("cases")
    ]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_no_committed_split_lacks_valid_croissant_metadata(path: Path) -> None:
    """The last assertion fails where a release's terms changed: `write_croissant(frozen)`."""
    frozen, dataset = FrozenSplit.open(path), read_croissant(path)
    assert records(dataset) == [row.document() for row in frozen.rows]
    assert lacks(dataset) == {"datePublished"}  # a split has no times
    release = ADAPTERS[frozen.lock.dataset].release
    assert dataset.metadata.cite_as == release.paper
    (licence,) = dataset.metadata.license
    assert licence.name == release.terms and re.fullmatch(r"https://\S+", licence.url)
    assert frozen.lock.digest in str(dataset.metadata.description)
    assert json.loads((path / "croissant.json").read_text()) == describe(frozen)


@pytest.mark.parametrize(
    ("dataset", "version"),
    [(name, "v1") for name in (*ADAPTERS, "clinic")]
    + [("phantom", version) for version in ("subset-v12", "2026.11-draft", "vv0")],
)
def test_no_split_of_any_dataset_and_version_is_frozen_without_valid_metadata(
    dataset: str, version: str, tmp_path: Path
) -> None:
    frozen = make_split(tmp_path, dataset, version)
    read = read_croissant(frozen.path)
    assert records(read) == [row.document() for row in frozen.rows]
    number = {"v1": "1.0.0", "subset-v12": "12.0.0"}.get(version)
    assert read.metadata.version == number
    unknown = {"citeAs", "license"} if dataset == "clinic" else set()
    assert lacks(read) == {"datePublished"} | unknown | (set() if number else {"version"})
    parts = {record["parts/name"]: record["parts/url"] for record in read.records("parts")}
    assert parts == {"train": "cr:TrainingSplit", "test": "cr:TestSplit"}


def test_no_withheld_label_is_in_the_metadata(split: FrozenSplit) -> None:
    text = (split.path / "croissant.json").read_text()
    table = pd.read_csv(split.path / "split.csv")
    assert table[table["part"] == "test"]["class"].isna().all()
    assert not [row.case_id for row in split.rows if row.case_id in text]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"distribution": [{}]}', b'{"distribution": []}', b"\xff"]
)
def test_metadata_of_other_files_is_found(data: bytes, tmp_path: Path) -> None:
    path = make_split(tmp_path).path
    assert verify(path) == []
    whole = (path / "croissant.json").read_bytes()
    digest = json.loads(whole)["distribution"][0]["sha256"].encode()
    for changed in (data, whole.replace(digest, b"0" * 64)):
        (path / "croissant.json").write_bytes(changed)
        (difference,) = verify(path)
        assert difference.startswith("croissant.json: ")
    (path / "croissant.json").unlink()
    assert verify(path) == []

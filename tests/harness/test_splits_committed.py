"""Holds the splits that stand in the repository to what they promise, with and without the data."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from harness.audit import AuditReport, judge
from harness.prepare import prepare
from harness.splits import FrozenSplit, verify
from harness.splits.croissant import ABOUT
from tests.support import ROOT

RAW = {"busi": "Dataset_BUSI_with_GT", "busbra": "BUSBRA", "bus-uclm": "BUS-UCLM"}
SPLITS = sorted(lock.parent for lock in ROOT.glob("splits/*/*/lock.json"))
NAMES = [f"{split.parent.name}-{split.name}" for split in SPLITS]


def test_the_three_subsets_are_frozen() -> None:
    assert {"busi-subset-v1", "busbra-subset-v1", "bus-uclm-subset-v1"} <= set(NAMES)


@pytest.mark.parametrize("path", SPLITS, ids=NAMES)
def test_a_committed_split_agrees_with_its_lock_and_its_audit(path: Path) -> None:
    assert verify(path) == []
    lock = FrozenSplit.open(path).lock
    assert (lock.dataset, lock.version) == (path.parent.name, path.name)
    assert (lock.policy, lock.leaks, lock.audit.near) == ("patient", False, True)


@pytest.mark.parametrize("path", SPLITS, ids=NAMES)
def test_a_committed_split_holds_no_pixel_and_no_withheld_label(path: Path) -> None:
    names = {"audit.json", "croissant.json", "lock.json", "split.csv"}
    assert {file.name for file in path.iterdir()} == names
    with (path / "split.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    hidden = {row["case_id"] for row in rows if row["part"] == "test"}
    assert not any(row["class"] for row in rows if row["case_id"] in hidden)
    assert not hidden & FrozenSplit.open(path).lock.masks.keys()
    report = json.loads((path / "audit.json").read_text())
    for pair in report["pairs"] + report["conflicts"]:
        assert not (pair["conflict"] and {pair["first"], pair["second"]} & hidden)
    for word in ("benign", "malignant", "normal"):
        assert not any(word in row["case_id"].lower() for row in rows)
        assert word not in (path / "audit.json").read_text()
        assert word not in (path / "croissant.json").read_text().replace(ABOUT["class"][1], "")


@pytest.mark.parametrize("path", SPLITS, ids=NAMES)
def test_no_pair_of_the_audit_is_on_two_sides(path: Path) -> None:
    rows = FrozenSplit.open(path).rows
    report = AuditReport.model_validate_json((path / "audit.json").read_text())
    for fold in {row.fold for row in rows}:
        sides = {row.case_id: "test" if row.fold == fold else "train" for row in rows}
        assert judge(report, sides).pairs == ()


@pytest.mark.parametrize(
    "dataset", ["busi", "bus-uclm", pytest.param("busbra", marks=pytest.mark.slow)]
)
def test_the_real_subset_is_the_one_that_was_frozen(
    dataset: str, real_data: Path, tmp_path: Path
) -> None:
    """Pixels, masks and classes of training cases, and the draw itself, from the raw files."""
    raw = real_data / RAW[dataset]
    store = prepare(dataset, raw, tmp_path / "store").store
    assert verify(ROOT / "splits" / dataset / "subset-v1", store) == []

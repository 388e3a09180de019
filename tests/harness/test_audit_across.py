"""Holds the audit of several datasets to its word: their twins, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from evaluator.errors import BusbenchError, Code
from harness.audit import audit
from harness.audit.across import JoinedStores, audit_across
from harness.cli import app
from harness.cli.audit import LEAKS
from harness.datasets import phantom
from harness.prepare import prepare
from harness.store import CaseStore, Sample, write_store
from tests.support.studies.audit_plants import KINDS

pytestmark = pytest.mark.slow


def samples_of(store: CaseStore) -> Iterator[Sample]:
    for case in store.cases:
        image, mask = store.image(case.case_id), store.mask(case.case_id)
        yield Sample(case.case_id, case.label, "1", image, mask, case.source_image, "")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("phantoms")
    phantom.generate(folder / "raw", patients=9, seed=5)
    return list(samples_of(prepare("phantom", folder / "raw", folder / "store").store))


@pytest.fixture(scope="module")
def stores(originals: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> list[CaseStore]:
    """The originals; copies of some of them, each of another kind; and one copy byte by byte.

    All are of a patient called 1, and the first has a copy of its own.
    """
    folder = tmp_path_factory.mktemp("across")
    copies = []
    for number, (kind, sample) in enumerate(zip(sorted(KINDS), originals, strict=False)):
        image, mask = KINDS[kind](sample.image, sample.mask, np.random.default_rng(number))
        copies.append(replace(sample, case_id=f"x{number}", image=image, mask=mask))
    inner = replace(originals[0], case_id="inner")
    twin = replace(originals[-1], case_id=originals[-1].case_id, label="normal")
    return [
        write_store(folder / "a", "busi", [*originals, inner]),
        write_store(folder / "b", "bus-uc", copies),
        write_store(folder / "c", "busi", [twin]),
    ]


def test_no_copy_in_another_dataset_is_missed(
    originals: list[Sample], stores: list[CaseStore]
) -> None:
    report, _ = audit_across(JoinedStores(stores))
    expected = {
        ("busi:1", s.case_id, "bus-uc", f"x{n}") for n, s in enumerate(originals) if n < len(KINDS)
    }
    expected |= {("busi:1", "inner", "bus-uc", "x0")}
    expected |= {("busi:1", originals[-1].case_id, "busi:3", originals[-1].case_id)}
    found = {
        tuple(sorted(((p.first_dataset, p.first), (p.second_dataset, p.second))))
        for p in report.pairs
    }
    assert found == {tuple(sorted(((a, b), (c, d)))) for a, b, c, d in expected}
    assert [p.conflict for p in report.pairs if p.kind == "identical"] == ["class"]


def test_no_patient_of_one_release_is_one_of_another(stores: list[CaseStore]) -> None:
    """All are called 1, and no pair or conflict comes of it."""
    report, _ = audit_across(JoinedStores(stores), near=False)
    assert {pair.kind for pair in report.pairs} <= {"identical"}
    assert not any("patient" in pair.conflict for pair in report.pairs)


def test_no_network_is_tested_on_its_own_images_unseen(stores: list[CaseStore]) -> None:
    report, _ = audit_across(JoinedStores(stores[:2]))
    copies = len(stores[1].cases)
    shared = {(one.trained_on, one.tested_on): (one.twins, one.cases) for one in report.shared}
    assert shared == {
        ("busi", "bus-uc"): (copies, copies),
        ("bus-uc", "busi"): (copies + 1, len(stores[0].cases)),
    }


def test_images_alike_within_a_dataset_crowd_out_no_twin(
    originals: list[Sample], tmp_path: Path
) -> None:
    """More copies in each dataset than an image has candidates."""
    rng = np.random.default_rng(0)
    copies = [
        replace(
            originals[0],
            case_id=f"c{n:02d}",
            image=KINDS["re-encoded"](originals[0].image, originals[0].mask, rng)[0],
        )
        for n in range(28)
    ]
    one = write_store(tmp_path / "a", "busi", copies[:14])
    other = write_store(tmp_path / "b", "bus-uc", copies[14:])
    report, _ = audit_across(JoinedStores([one, other]))
    assert len({(p.first, p.second) for p in report.pairs}) == 14 * 14


def test_a_joined_audit_finds_what_one_store_of_all_finds(
    originals: list[Sample], stores: list[CaseStore], tmp_path: Path
) -> None:
    """The oracle is the audit of one dataset."""
    report, _ = audit_across(JoinedStores(stores[:2]))
    alone = [replace(s, patient=None) for store in stores[:2] for s in samples_of(store)]
    whole = audit(write_store(tmp_path / "whole", "busi", alone))
    across = {frozenset((p.first, p.second)): p.kind for p in report.pairs}
    of_first = {case.case_id for case in stores[0].cases}
    assert across == {
        frozenset((p.first, p.second)): p.kind
        for p in whole.pairs
        if (p.first in of_first) != (p.second in of_first)
    }


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def test_the_verb_names_dataset_and_case_of_each_twin(
    originals: list[Sample], stores: list[CaseStore], tmp_path: Path
) -> None:
    paths = [store.path for store in stores[:2]]
    out = tmp_path / "out"
    done = run(*paths, "--out", out, "--json", "--fail-on-leak")
    assert done.exit_code == LEAKS
    said = json.loads(done.stdout)
    assert said == json.loads((out / "cross-audit.json").read_text())
    page = (out / "cross-pairs.html").read_text()
    assert all(f"busi {p['first']} and bus-uc {p['second']}" in page for p in said["pairs"])
    assert "<script" not in page and page.count("<img") == 4 * len(said["pairs"])
    shown = " ".join(run(*paths).stdout.split())
    first = originals[0]
    twins = f"pair: busi {first.case_id}, bus-uc x0 ({first.source_image}): near-duplicate"
    assert twins in shown
    assert "Patients are not compared" in shown
    again = run(paths[0], stores[2].path, "--out", out)
    assert isinstance(again.exception, BusbenchError)
    assert again.exception.code == Code.OUTPUT_EXISTS


def test_one_dataset_given_twice_is_refused(stores: list[CaseStore]) -> None:
    done = run(stores[0].path, stores[0].path)
    assert isinstance(done.exception, BusbenchError) and done.exception.code == Code.USAGE


@pytest.mark.parametrize("option", [("--split", "s.csv"), ("--policy", "image")])
def test_a_split_of_several_datasets_is_refused(
    option: tuple[str, str], stores: list[CaseStore]
) -> None:
    done = run(*(store.path for store in stores[:2]), *option)
    assert isinstance(done.exception, BusbenchError) and done.exception.code == Code.USAGE


def test_datasets_that_share_nothing_are_said_to(originals: list[Sample], tmp_path: Path) -> None:
    one = write_store(tmp_path / "a", "busi", originals[:4])
    other = write_store(tmp_path / "b", "bus-uc", originals[4:])
    done = run(one.path, other.path, "--fail-on-leak", "--json")
    assert done.exit_code == 0
    assert [(s["twins"], s["cases"]) for s in json.loads(done.stdout)["shared"]] == [
        (0, len(originals) - 4),
        (0, 4),
    ]

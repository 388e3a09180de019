"""Holds the audit's certain part (patients, equal pixels, groups, verdicts) to its word."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from evaluator.documents.base import read
from evaluator.errors import BusbenchError, Code
from harness.audit import AuditReport, Pair, audit, connected_groups, judge
from harness.audit.report import compose
from harness.cli import app
from harness.store import CaseStore, Sample, write_store

NAMES = st.sampled_from([f"c{number}" for number in range(12)])
LINKS = st.lists(st.tuples(NAMES, NAMES).filter(lambda link: link[0] < link[1]), max_size=20)


def noise_image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32), dtype=np.uint8)


def sample(case_id: str, seed: int, patient: str | None = None, label: str = "benign") -> Sample:
    mask = np.zeros((24, 32), dtype=bool)
    mask[4:9, 4:9] = label != "normal"
    name = f"{case_id}.png"
    return Sample(case_id, label, patient, noise_image(seed), mask, name, name)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    samples = [
        sample("a", 1, "p1"),
        sample("b", 2, "p1"),
        sample("c", 3, "p2"),
        sample("d", 3, "p3", "malignant"),  # c's image, under another patient and class
        sample("e", 4),
        sample("f", 5),
    ]
    return write_store(tmp_path / "store", "phantom", samples)


def found(report: AuditReport) -> set[tuple[str, str, str]]:
    return {(pair.first, pair.second, pair.kind) for pair in report.pairs}


def test_a_patient_and_equal_pixels_are_found(store: CaseStore) -> None:
    report = audit(store, near=False)
    assert found(report) == {("a", "b", "same-patient"), ("c", "d", "identical")}
    assert report.groups == (("a", "b"), ("c", "d"))
    assert report.store_digest == store.info.digest
    assert report.cases == 6


def test_one_image_under_two_classes_is_no_silence(store: CaseStore) -> None:
    (conflict,) = audit(store, near=False).conflicts
    assert (conflict.first, conflict.second) == ("c", "d")
    assert conflict.conflict == "class, patient"


def test_one_image_with_two_masks_is_no_silence(tmp_path: Path) -> None:
    first, second = sample("a", 1), sample("b", 1)
    second.mask[10:14, 10:14] = True
    store = write_store(tmp_path / "store", "phantom", [first, second])
    assert [pair.conflict for pair in audit(store, near=False).conflicts] == ["mask"]


def test_unknown_patients_are_not_one_patient(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", "phantom", [sample("a", 1), sample("b", 2)])
    assert audit(store, near=False).pairs == ()


def test_a_report_survives_the_disk_and_refuses_strangers(store: CaseStore, tmp_path: Path) -> None:
    report = audit(store, near=False)
    document = report.document()
    assert document["schema"] == "busbench/audit/v3"
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(document))
    assert read(AuditReport, path, Code.SPLIT_INVALID, remedy="-") == report
    document["pairs"][0]["surprise"] = 1
    with pytest.raises(ValidationError):
        AuditReport.model_validate(document)


@given(LINKS)
def test_no_link_leaves_its_group(links: list[tuple[str, str]]) -> None:
    oracle = networkx.Graph(links)
    expected = sorted(tuple(sorted(part)) for part in networkx.connected_components(oracle))
    assert connected_groups(links) == tuple(expected)


@given(LINKS, st.dictionaries(NAMES, st.sampled_from(["test", "train", "val"])))
def test_no_leaking_case_is_missed(links: list[tuple[str, str]], parts: dict[str, str]) -> None:
    pairs = [Pair(*link, "near-duplicate", 0.9) for link in sorted(set(links))]
    verdict = judge(compose("phantom", "0" * 64, 12, near=True, pairs=pairs), parts)
    graph = networkx.Graph(links)
    leaking = {
        case_id
        for case_id, part in parts.items()
        if part == "test" and case_id in graph
        if any(parts.get(other, "test") != "test" for other in graph[case_id])
    }
    assert verdict.leaking == len(leaking)
    assert verdict.test == sum(part == "test" for part in parts.values())
    assert verdict.share == (verdict.leaking / verdict.test if verdict.test else 0)
    assert verdict.by_kind["near-duplicate"] == verdict.leaking
    assert all("test" in (parts[p.first], parts[p.second]) for p in verdict.pairs)


def test_a_group_torn_through_a_third_case_is_counted() -> None:
    pairs = [Pair("a", "b", "identical", 1.0), Pair("b", "c", "same-patient", 0.0)]
    report = compose("phantom", "0" * 64, 3, near=False, pairs=pairs)
    verdict = judge(report, {"a": "test", "b": "test", "c": "train"})
    assert (verdict.leaking, verdict.groups, verdict.by_kind["identical"]) == (1, 1, 0)


def write_text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_verb_prints_pairs_groups_and_verdicts(store: CaseStore, tmp_path: Path) -> None:
    split = write_text(
        tmp_path / "split.csv",
        "case_id,part\na,test\nb,train\nc,train\nd,train\ne,train\nf,train\n",
    )
    arguments = ["audit", str(store.path), "--split", str(split), "--no-near"]
    done = CliRunner().invoke(app, [*arguments, "--json", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert said["groups"] == [["a", "b"], ["c", "d"]]
    assert said["verdicts"]["test"]["leaking"] == 1
    kept = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert {**kept, "verdicts": said["verdicts"], "certificate": said["certificate"]} == said
    shown = CliRunner().invoke(app, arguments).stdout
    assert "group: c d" in shown and "100.0%" in shown


def test_the_rule_by_image_is_caught_tearing_patients_apart(tmp_path: Path) -> None:
    samples = [sample(f"c{seed:02}", seed, f"p{seed // 2}") for seed in range(40)]
    store = write_store(tmp_path / "s", "phantom", samples)
    arguments = ["audit", str(store.path), "--no-near", "--json", "--policy"]
    by_image, by_patient = (
        json.loads(CliRunner().invoke(app, [*arguments, policy]).stdout)["verdicts"]
        for policy in ("image", "patient")
    )
    assert by_image["policy image, seed 42"]["leaking"] > 0
    assert by_patient["policy patient, seed 42"]["leaking"] == 0


def test_a_long_report_does_not_flood_the_terminal(tmp_path: Path) -> None:
    samples = [sample(f"c{seed}", seed, f"p{seed // 2}") for seed in range(40)]
    store = write_store(tmp_path / "s", "phantom", samples)
    shown = CliRunner().invoke(app, ["audit", str(store.path), "--no-near"]).stdout
    assert shown.count("group: ") == 10 and "... and 10 more" in shown
    assert "20 pairs, 20 groups of 40 cases" in shown


def test_the_split_of_another_store_is_refused(store: CaseStore, tmp_path: Path) -> None:
    split = write_text(tmp_path / "split.csv", "case_id,part\nzz,test\n")
    done = CliRunner().invoke(app, ["audit", str(store.path), "--split", str(split)])
    assert isinstance(done.exception, BusbenchError)
    assert "zz" in done.exception.message


def test_all_pairs_of_a_patient_are_listed(tmp_path: Path) -> None:
    samples = [sample(name, seed, "p") for seed, name in enumerate("abcd")]
    report = audit(write_store(tmp_path / "s", "phantom", samples), near=False)
    assert [(p.first, p.second) for p in report.pairs] == list(combinations("abcd", 2))

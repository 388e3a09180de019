"""Holds leak certificates to their word: what leaks, what cannot be seen, and the exit status."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from evaluator.documents.base import read
from evaluator.errors import BusbenchError, Code
from harness.audit import Pair, audit
from harness.audit.certificate import SHOWN, LeakCertificate, certificate_page, certify, worst
from harness.audit.published import Published, read_published
from harness.audit.report import compose
from harness.cli import app
from harness.cli.audit import LEAKS
from harness.prepare import prepare
from harness.store import CaseStore, Sample, write_store

NAMES = [f"c{number}" for number in range(10)]


def sample(case_id: str, seed: int, patient: str | None = None) -> Sample:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32), dtype=np.uint8)
    mask = np.zeros((24, 32), dtype=bool)
    mask[4:9, 4:9] = True
    return Sample(case_id, "benign", patient, pixels, mask, f"{case_id}.png", "")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    """Patients of two images each, but the last two, who are one image under two names."""
    samples = [sample(name, n, f"p{n // 2}") for n, name in enumerate(NAMES[:8])]
    samples += [sample("c8", 8, "p8"), sample("c9", 8, "p9")]
    return write_store(tmp_path_factory.mktemp("certified") / "store", "phantom", samples)


@pytest.fixture(scope="module")
def nameless(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    """The same images, of patients whom nobody knows."""
    samples = [sample(name, n) for n, name in enumerate(NAMES)]
    return write_store(tmp_path_factory.mktemp("nameless") / "store", "phantom", samples)


def table(folder: Path, **parts: str) -> str:
    """A split's file; each part is its cases' numbers."""
    rows = [f"c{number},{part}" for part, numbers in parts.items() for number in numbers]
    path = folder / "split.csv"
    path.write_text("\n".join(("case_id,part", *rows, "")))
    return str(path)


def run(store: CaseStore, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", str(store.path), "--no-near", *arguments])


CLEAN = {"train": "0123", "val": "45", "test": "6789"}
PATIENT = {"train": "0124", "val": "35", "test": "6789"}  # p1 and p2, between train and val
TWIN = {"train": "012389", "test": "4567"}
TORN = {"train": "0123458", "test": "679"}  # c8 and c9
TO_VAL = {"train": "0123", "val": "457", "test": "689"}  # p3, between val and test
BOTH = {"train": "01234567", "test": "0189"}


def verdicts(store: CaseStore, folder: Path, parts: dict[str, str]) -> dict[str, Any]:
    done = run(store, "--split", table(folder, **parts), "--json")
    assert done.exit_code == 0
    said: dict[str, Any] = json.loads(done.stdout)["verdicts"]
    return said


@pytest.mark.parametrize(
    ("parts", "test", "validation"),
    [
        (CLEAN, [], []),
        (PATIENT, [], ["c3", "c5"]),
        (TWIN, [], None),
        (TORN, ["c9"], None),
        (TO_VAL, ["c6"], []),
    ],
    ids=["clean", "patient in validation", "twins together", "twins apart", "test against val"],
)
def test_no_leak_is_missed_between_any_two_parts(
    parts: dict[str, str],
    test: list[str],
    validation: list[str] | None,
    store: CaseStore,
    tmp_path: Path,
) -> None:
    found = verdicts(store, tmp_path, parts)
    assert found["test"]["cases"] == test
    assert found.get("validation", {"cases": None})["cases"] == validation


def test_a_case_on_both_sides_is_a_leak_of_its_own(store: CaseStore, tmp_path: Path) -> None:
    for part, numbers in BOTH.items():
        (tmp_path / f"{part}.txt").write_text("\n".join(f"c{n}" for n in numbers))
    done = run(store, "--split", str(tmp_path), "--json", "--fail-on-leak")
    assert done.exit_code == LEAKS
    verdict = json.loads(done.stdout)["verdicts"]["test"]
    assert (verdict["both"], verdict["leaking"]) == (["c0", "c1"], 2)
    shown = run(store, "--split", str(tmp_path)).stdout
    assert "leak: test: c0 is in training too" in shown


@pytest.mark.parametrize("parts", [CLEAN, TWIN, TORN, TO_VAL, PATIENT])
def test_no_leak_passes_a_ci(parts: dict[str, str], store: CaseStore, tmp_path: Path) -> None:
    split = table(tmp_path, **parts)
    leaks = any(verdict["leaking"] for verdict in verdicts(store, tmp_path, parts).values())
    assert run(store, "--split", split).exit_code == 0
    assert run(store, "--split", split, "--fail-on-leak").exit_code == (LEAKS if leaks else 0)


def test_no_error_of_ours_has_the_status_of_a_leak() -> None:
    assert LEAKS not in {*(int(code.fault) for code in Code), 0, 1}


def test_a_split_of_unknown_patients_is_never_called_clean(
    nameless: CaseStore, store: CaseStore, tmp_path: Path
) -> None:
    split = table(tmp_path, **CLEAN)
    for one, near in ((nameless, True), (store, False)):
        arguments = [
            "audit",
            str(one.path),
            "--split",
            split,
            "--out",
            str(tmp_path / one.path.parent.name),
        ]
        shown = CliRunner().invoke(app, [*arguments, *([] if near else ["--no-near"])]).stdout
        page = (tmp_path / one.path.parent.name / "certificate.html").read_text()
        for text in (" ".join(shown.split()), " ".join(page.split())):
            assert "as far as can be seen" in text
            assert "does not leak" not in text
            assert ("no patient is known: leaks by patient cannot be seen" in text) == near
            assert ("Near-duplicates were not looked for." in text) != near


def test_no_split_of_few_cases_is_judged_unsaid(store: CaseStore, tmp_path: Path) -> None:
    split = table(tmp_path, train="01", test="4")
    refused = run(store, "--split", split).exception
    assert isinstance(refused, BusbenchError) and "lacks 7 cases" in refused.message
    shown = " ".join(run(store, "--split", split, "--partial").stdout.split())
    assert "names 3 of 10 cases: nothing is said of others" in shown
    said = json.loads(run(store, "--split", split, "--partial", "--json").stdout)["certificate"]
    assert (said["named"], said["cases"], said["leaks"]) == (3, 10, False)


class Page(HTMLParser):
    """What a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags, self.sources, self.handlers = list[str](), list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


@pytest.mark.parametrize("parts", [CLEAN, PATIENT, TORN])
def test_no_certificate_needs_another_file_or_runs_a_script(
    parts: dict[str, str], store: CaseStore, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(store, "--split", table(tmp_path, **parts), "--out", str(out))
    text = (out / "certificate.html").read_text()
    page = Page()
    page.feed(text)
    assert {"script", "link", "iframe", "object", "form"}.isdisjoint(page.tags)
    assert not page.handlers
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    certificate = read(LeakCertificate, out / "certificate.json", Code.SPLIT_INVALID, remedy="-")
    crossing = {pair for verdict in certificate.verdicts.values() for pair in verdict.pairs}
    drawn = sum(2 if pair.kind == "same-patient" else 4 for pair in crossing)
    assert page.tags.count("img") == drawn
    assert all(f"{pair.first} and {pair.second}" in text for pair in crossing)
    assert certificate.leaks == ("This split leaks." in text)


def test_the_worst_pairs_are_shown_first_and_not_all(store: CaseStore, tmp_path: Path) -> None:
    twins = [Pair(f"a{n:02d}", f"b{n:02d}", "near-duplicate", 0.9 + n / 1000) for n in range(9)]
    patients = [Pair(f"a{n:02d}", f"b{n:02d}", "same-patient", 0.0) for n in range(20)]
    clash = replace(twins[0], conflict="class")
    report = compose("phantom", "0" * 64, 40, near=True, pairs=[clash, *twins[1:], *patients])
    sides = {"test": {f"a{n:02d}" for n in range(20)}, "train": {f"b{n:02d}" for n in range(20)}}
    published = Published("s", "table", {"": sides}, frozenset(), (), 0, renamed=0)  # type: ignore[dict-item]
    shown = worst(certify(report, published).verdicts.values())
    assert shown[0] == clash and shown[1:9] == twins[:0:-1]
    assert len(shown) == SHOWN and {pair.kind for pair in shown[9:]} == {"same-patient"}


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    samples = [sample(f"c{n}", n, "<b>p</b>") for n in range(2)]
    store = write_store(tmp_path / "store", "phantom", samples)
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    folder.mkdir()
    for number, part in enumerate(("train", "test")):
        (folder / f"{part}.txt").write_text(f"c{number}")
    split = read_published([str(folder)], store)
    page = certificate_page(store, certify(audit(store, near=False), split)).decode()
    assert "<b>p" not in page and "<img src=x" not in page


def test_a_finished_certificate_is_not_replaced_by_another_splits(
    store: CaseStore, tmp_path: Path
) -> None:
    out = ("--out", str(tmp_path / "out"))
    first = run(store, "--split", table(tmp_path, **CLEAN), *out)
    again = run(store, "--split", table(tmp_path, **CLEAN), *out)
    assert first.exit_code == again.exit_code == 0
    for other in (("--split", table(tmp_path, **TORN)), ()):
        done = run(store, *other, *out)
        assert isinstance(done.exception, BusbenchError)
        assert done.exception.code == Code.OUTPUT_EXISTS and "--split" in done.exception.message


def test_two_splits_at_once_are_refused(store: CaseStore) -> None:
    done = run(store, "--split", "s.csv", "--policy", "image")
    assert isinstance(done.exception, BusbenchError) and done.exception.code == Code.USAGE


def test_a_drawn_split_is_certified_too(store: CaseStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(store, "--policy", "image", "--seed", "1", "--fail-on-leak", "--out", str(out))
    certificate = read(LeakCertificate, out / "certificate.json", Code.SPLIT_INVALID, remedy="-")
    assert certificate.split == "policy image, seed 1"
    assert done.exit_code == (LEAKS if certificate.leaks else 0)


PARTS = st.sampled_from(["train", "val", "test", ""])


@given(
    st.lists(st.sampled_from(range(4)), min_size=10, max_size=10),
    st.lists(PARTS, min_size=10, max_size=10),
    st.sets(st.sampled_from(NAMES)),
)
def test_no_patient_on_two_sides_is_missed(
    patients: list[int], parts: list[str], twice: set[str]
) -> None:
    """Counted by hand: every case against every other."""
    patient = dict(zip(NAMES, patients, strict=True))
    pairs = [
        Pair(one, other, "same-patient", 0.0)
        for one in NAMES
        for other in NAMES
        if one < other and patient[one] == patient[other]
    ]
    report = compose("phantom", "0" * 64, 10, near=False, pairs=pairs)
    sides: dict[Any, frozenset[str]] = {
        part: frozenset(n for n, p in zip(NAMES, parts, strict=True) if p == part)
        for part in ("train", "val", "test")
    }
    sides["train"] |= twice
    found = certify(report, Published("s", "t", {"": sides}, frozenset(), (), 0, renamed=0))
    for name, held_out, training in (
        ("test", sides["test"], sides["train"] | sides["val"]),
        ("validation", sides["val"], sides["train"]),
    ):
        expected = sorted(
            case for case in held_out if any(patient[case] == patient[other] for other in training)
        )
        verdict = found.verdicts.get(name)
        assert list(verdict.cases if verdict else ()) == (expected if training else [])


@pytest.mark.slow
def test_the_inner_flags_of_a_releases_own_folds_are_not_called_clean(
    real_data: Path, tmp_path: Path
) -> None:
    """BUS-BRA's outer folds keep patients whole, its inner validation flags do not."""
    raw = real_data / "BUSBRA"
    store = prepare("busbra", raw, tmp_path / "store", skip_refused=True).store
    split = read_published([str(raw / "5-fold-cv.csv")], store)
    verdicts = certify(audit(store, near=False), split).verdicts
    sums = {
        side: [sum(v.test for v in found), sum(v.leaking for v in found)]
        for side in ("test", "validation")
        if (found := [v for name, v in verdicts.items() if name.endswith(side)])
    }
    assert sums == {"test": [872, 0], "validation": [707, 502]}

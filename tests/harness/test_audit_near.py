"""Holds the audit's search for near-duplicates to its word, on phantoms and planted copies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.files import pretty_json
from harness.audit import AuditReport, Pair, audit
from harness.audit.features import MIRROR, SIDE, describe
from harness.audit.near import same_frame
from harness.audit.register import Alignment, overlap
from harness.audit.sheet import sheet
from harness.datasets import phantom
from harness.prepare import prepare
from harness.store import CaseStore, Sample, write_store
from tests.support.studies.audit_plants import KINDS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """The images of nine phantoms: views of one lesion, and of different ones."""
    folder = tmp_path_factory.mktemp("phantoms")
    phantom.generate(folder / "raw", patients=9, seed=3)
    store = prepare("phantom", folder / "raw", folder / "store").store
    return list(samples_of(store))


def samples_of(store: CaseStore) -> Iterator[Sample]:
    for case in store.cases:
        image, mask = store.image(case.case_id), store.mask(case.case_id)
        yield Sample(case.case_id, case.label, None, image, mask, case.source_image, "")


def copy_of(sample: Sample, kind: str, seed: int = 0, name: str = "") -> Sample:
    image, mask = KINDS[kind](sample.image, sample.mask, np.random.default_rng(seed))
    return replace(sample, case_id=name or f"{sample.case_id}.copy", image=image, mask=mask)


def audited(folder: Path, samples: list[Sample]) -> AuditReport:
    return audit(write_store(folder / "store", "phantom", samples))


def linked(report: AuditReport) -> set[tuple[str, str]]:
    return {(pair.first, pair.second) for pair in report.pairs}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_copy_does_not_pass_for_another_image(
    kind: str, originals: list[Sample], tmp_path: Path
) -> None:
    """Nor do two views of one lesion, or two lesions of similar texture, pass for one frame."""
    copies = [copy_of(sample, kind, seed) for seed, sample in enumerate(originals)]
    report = audited(tmp_path, originals + copies)
    assert linked(report) == {(s.case_id, f"{s.case_id}.copy") for s in originals}
    assert {pair.kind for pair in report.pairs} == {"near-duplicate"}
    assert not report.conflicts  # the copies' masks moved with their images


def test_what_was_done_to_a_copy_is_described(originals: list[Sample], tmp_path: Path) -> None:
    source = originals[0]
    height, width = source.image.shape
    size = round(width * 0.8), round(height * 0.8)
    image = cv2.resize(source.image[:, ::-1], size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(source.mask[:, ::-1].astype(np.uint8), size, interpolation=0) > 0
    copy = replace(source, case_id="zz", image=image.astype(np.uint8), mask=mask)
    (pair,) = audited(tmp_path, [*originals, copy]).pairs
    assert pair.transform == "mirrored, scaled 0.80"
    assert pair.similarity > 0.99
    assert not pair.conflict


def test_a_crop_is_described_from_both_sides(originals: list[Sample], tmp_path: Path) -> None:
    source = originals[0]
    height, width = source.image.shape
    window = np.s_[: round(height * 0.8), : round(width * 0.9)]
    part = replace(source, image=source.image[window].copy(), mask=source.mask[window].copy())
    later, earlier = replace(part, case_id="zz"), replace(part, case_id="aa")
    (pair,) = audited(tmp_path / "1", [source, later]).pairs
    assert pair.transform == "cropped to 90% x 80%"
    (pair,) = audited(tmp_path / "2", [source, earlier]).pairs
    assert pair.transform == "extended from 90% x 80%"


def test_a_copy_of_another_class_or_outline_is_a_conflict(
    originals: list[Sample], tmp_path: Path
) -> None:
    source = next(s for s in originals if s.label == "benign")
    copy = replace(copy_of(source, "re-encoded"), label="malignant", mask=~source.mask)
    report = audited(tmp_path, [source, copy])
    assert [pair.conflict for pair in report.conflicts] == ["class, mask"]


def test_many_copies_do_not_crowd_each_other_out(originals: list[Sample], tmp_path: Path) -> None:
    copies = [copy_of(originals[0], "re-encoded", n, f"copy{n:02d}") for n in range(22)]
    report = audited(tmp_path, [*originals, *copies])
    family = {originals[0].case_id, *(copy.case_id for copy in copies)}
    assert {name for group in report.groups for name in group} == family
    distinct = {describe(s.image).square.tobytes() for s in (originals[0], *copies)}
    assert len(distinct) > 15  # else the test shows little
    assert len(linked(report)) == len(family) * (len(family) - 1) // 2


def test_a_twin_of_a_copy_is_not_forgotten(originals: list[Sample], tmp_path: Path) -> None:
    source = originals[0]
    twins = [replace(source, case_id="aa"), replace(source, case_id="zz")]
    copy = copy_of(source, "mirrored", name="mm")
    report = audited(tmp_path, [*twins, copy, *originals[1:]])
    assert [(p.first, p.second, p.kind) for p in report.pairs] == [
        ("aa", "mm", "near-duplicate"),
        ("aa", "zz", "identical"),
        ("mm", "zz", "near-duplicate"),
    ]
    assert {p.transform for p in report.pairs} == {"mirrored", ""}


def test_order_and_repetition_change_no_byte(originals: list[Sample], tmp_path: Path) -> None:
    samples = [*originals, *(copy_of(s, "combined", n) for n, s in enumerate(originals))]
    first = audited(tmp_path / "1", samples)
    second = audited(tmp_path / "2", samples[::-1])
    assert pretty_json(first.document()) == pretty_json(second.document())


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_blank_images_are_no_copies_of_each_other(
    grey: int, originals: list[Sample], tmp_path: Path
) -> None:
    shapes = [(40, 50), (60, 50), (1, 1), (200, 200)]
    blank = [
        Sample(f"b{n}", "normal", None, np.full(s, grey, np.uint8), np.zeros(s, bool), "b", "")
        for n, s in enumerate(shapes)
    ]
    assert audited(tmp_path, [*blank, originals[0]]).pairs == ()


def test_a_single_image_is_no_error(originals: list[Sample], tmp_path: Path) -> None:
    assert audited(tmp_path, originals[:1]).pairs == ()


def test_a_shared_text_makes_no_copies(tmp_path: Path) -> None:
    """Noise of different seeds under one large caption, one ruler and one logo."""
    samples = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        noise = cv2.GaussianBlur(rng.uniform(0, 255, (300, 400)).astype(np.float32), (0, 0), 3)
        image = np.clip((noise - 127) * 6 + 110, 0, 240).astype(np.uint8)
        for row, text in enumerate(("MAMA DIREITA", "QSE 12H", "12.4mm x 8.1mm")):
            cv2.putText(image, text, (20, 180 + 45 * row), 0, 1.2, (255,), 2, cv2.LINE_AA)
        mask = np.zeros((300, 400), dtype=bool)
        samples.append(Sample(f"n{seed}", "normal", None, image, mask, "n", ""))
    assert audited(tmp_path, samples).pairs == ()


def test_mirrored_descriptors_are_those_of_the_mirrored_image(originals: list[Sample]) -> None:
    """The oracle is the detector itself, on the mirrored pixels."""
    image = originals[0].image
    mirrored, oracle = describe(image).mirrored(), describe(np.ascontiguousarray(image[:, ::-1]))
    assert sorted(MIRROR) == list(range(128))
    distance = np.abs(mirrored.points[:, None] - oracle.points[None]).max(axis=2)
    same = np.argwhere(distance < 0.01)
    alike = (mirrored.descriptors[same[:, 0]] * oracle.descriptors[same[:, 1]]).sum(axis=1)
    assert len(same) > 0.9 * len(oracle.points)
    assert np.median(alike) > 0.999


SCALES = st.floats(0.6, 1.6)
SHIFTS = st.floats(-50, 50)
SHAPES = st.tuples(st.integers(50, 900), st.integers(50, 900))


@given(st.tuples(SCALES, SCALES), st.tuples(SHIFTS, SHIFTS), st.booleans(), SHAPES, SHAPES)
def test_an_alignment_and_its_inverse_undo_each_other(
    scale: tuple[float, float],
    shift: tuple[float, float],
    mirrored: bool,
    one: tuple[int, int],
    other: tuple[int, int],
) -> None:
    there = Alignment(np.array(scale), np.array(shift), mirrored)
    back = there.inverted()
    onto, home = there.matrix(one, other), back.matrix(other, one)
    assert np.allclose(np.vstack([home, [0, 0, 1]]) @ np.vstack([onto, [0, 0, 1]]), np.eye(3))
    assert np.allclose(overlap(there), overlap(back)[::-1])
    assert all(0 <= share <= 1 for share in np.concatenate(overlap(there)))


def test_the_same_square_lies_on_itself(originals: list[Sample]) -> None:
    image = describe(originals[0].image)
    match = same_frame(image, image, mirrored=False)
    assert match is not None
    assert np.allclose(match.alignment.scale, 1, atol=1e-3)
    assert np.allclose(match.alignment.shift, 0, atol=0.05)
    assert np.allclose(overlap(match.alignment), 1, atol=1e-2)
    assert image.square.shape == (SIDE, SIDE)


def test_the_sheet_shows_every_pair_and_needs_nothing_else(
    originals: list[Sample], tmp_path: Path
) -> None:
    copies = [copy_of(s, "mirrored") for s in originals[:2]]
    twin = replace(originals[2], case_id="twin", label="normal")
    store = write_store(tmp_path / "store", "phantom", [*originals, *copies, twin])
    report = audit(store)
    page = sheet(store, report).decode()
    assert len(report.pairs) == 3
    assert all(f"{pair.first} and {pair.second}" in page for pair in report.pairs)
    assert page.count('<img src="data:image/jpeg;base64,') == 4 * 3
    assert "http" not in page
    assert page.index("twin") < page.index(copies[0].case_id)  # conflicts stand first


def test_neighbouring_frames_of_one_lesion_are_not_one_frame(
    real_data: Path, tmp_path: Path
) -> None:
    raw = real_data / "BUS-UCLM"
    report = audit(prepare("bus-uclm", raw, tmp_path / "store", skip_refused=True).store)
    found = {(p.first, p.second): p for p in report.pairs if p.kind != "same-patient"}
    assert {pair: found[pair].kind for pair in sorted(found)} == {
        ("CHCO_000", "CHVI_005"): "identical",
        ("CHCO_001", "CHVI_008"): "identical",
        ("CHCO_002", "CHVI_009"): "identical",
        ("CHCO_003", "CHVI_013"): "identical",
        ("CHVI_001", "CHVI_002"): "near-duplicate",
    }
    assert all("patient" in p.conflict for p in found.values() if p.kind == "identical")


def test_one_frame_under_two_classes_is_found(real_data: Path, tmp_path: Path) -> None:
    raw = real_data / "Dataset_BUSI_with_GT"
    store = prepare("busi", raw, tmp_path / "store", skip_refused=True).store
    source = {case.case_id: case.source_image for case in store.cases}

    def named(pair: Pair) -> tuple[str, ...]:
        return tuple(sorted(Path(source[name]).stem for name in (pair.first, pair.second)))

    report = audit(store)
    assert {named(pair) for pair in report.pairs} == {
        ("benign (1)", "benign (318)"),
        ("benign (131)", "benign (42)"),
        ("benign (131)", "malignant (51)"),
        ("benign (163)", "benign (86)"),
        ("benign (42)", "malignant (51)"),
        ("benign (433)", "malignant (145)"),
        ("benign (437)", "normal (34)"),
    }
    assert {named(pair) for pair in report.conflicts if "class" in pair.conflict} == {
        ("benign (131)", "malignant (51)"),
        ("benign (42)", "malignant (51)"),
        ("benign (433)", "malignant (145)"),
        ("benign (437)", "normal (34)"),
    }

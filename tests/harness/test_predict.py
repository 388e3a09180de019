"""`busbench predict`: the masks of an evaluation, on images of one's own."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluator.documents.base import read, write
from evaluator.documents.submission import ModelLimits
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes
from evaluator.predictions import majority
from harness.challenge import Challenge, StageLimits
from harness.datasets.own_images import find_images
from harness.evaluation import predict as parts_of_predict
from harness.evaluation.images import check
from harness.evaluation.predict import PredictRequest
from harness.evaluation.predict import predict as run_predict
from harness.evaluation.predict_record import RECORD, PredictRecord
from harness.evaluation.validation import ValidateSubmission, Validation
from harness.execution import ExecutionEnvironment, run_job
from harness.prepare import prepare
from harness.sandbox import open_runner
from harness.sandbox.cached import Context
from harness.store import png_bytes
from tests.support.command_line import Shown, busbench_in
from tests.support.factories import hand_in
from tests.support.inference import blur, dice_rolling
from tests.support.training_bundle import make_bundle

pytestmark = pytest.mark.usefixtures("forked_stages")

FOLDS = 2
Capture = pytest.CaptureFixture[str]


def predict(capture: Capture, *words: object) -> Shown:
    return busbench_in(capture, "predict", *words, "--runner", "process", "--json")


def pixels(path: Path) -> NDArray[np.bool_]:
    with Image.open(path) as image:
        assert image.mode == "1"
        return np.asarray(image)


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    """A validation; the submission and the bundle are beside its runs."""
    root = tmp_path_factory.mktemp("predict")
    bundle = make_bundle(root / "training", 8, folds=FOLDS)
    folder = hand_in(root / "mine", *(blur(fold + 1) for fold in range(FOLDS)))
    environment = ExecutionEnvironment("process", Challenge())
    job = ValidateSubmission.of(folder, bundle, root / "runs", environment=environment)
    run_job(job)
    return job.finished()


@pytest.fixture
def root(validation: Validation) -> Path:
    return validation.folder.parent.parent


@pytest.mark.slow
def test_no_mask_differs_from_the_evaluations(
    validation: Validation, root: Path, tmp_path: Path, capsys: Capture
) -> None:
    images = root / "training" / "images"
    with (root / "training" / "cases.csv").open() as handle:
        fold_of = {row["case_id"]: int(row["fold"]) for row in csv.DictReader(handle)}
    masks = []
    for fold in range(FOLDS):
        out = tmp_path / f"fold-{fold}"
        shown = predict(capsys, root / "mine", images, "--out", out, "--fold", fold)
        assert shown.status == 0, shown.err
        assert "gate" in shown.err and "inference" in shown.err
        masks.append({path.stem: pixels(path) for path in out.glob("*.png")})
    assert masks[0].keys() == fold_of.keys()
    for name, fold in fold_of.items():
        evaluated = pixels(validation.folder / "masks" / f"{name}.png")
        assert np.array_equal(masks[fold][name], evaluated), name
    assert any(not np.array_equal(masks[0][name], masks[1][name]) for name in fold_of)
    together = tmp_path / "all"
    shown = predict(capsys, root / "mine", images, "--out", together)
    assert shown.status == 0, shown.err
    for name in fold_of:
        assert np.array_equal(pixels(together / f"{name}.png"), masks[0][name] & masks[1][name])
    record = json.loads(shown.out)
    assert len(record["images"]) == len(fold_of) and not record["resumed"]


@pytest.mark.slow
def test_no_finished_mask_is_made_again_or_passed_off_for_another(
    root: Path, tmp_path: Path, capsys: Capture
) -> None:
    given, out = tmp_path / "images", tmp_path / "masks"
    cases = sorted((root / "training" / "images").iterdir())
    touch(given, "a.png", "deep/b.png", "notes.md")
    shutil.copyfile(cases[0], given / "a.png")
    shutil.copyfile(cases[1], given / "deep" / "b.png")
    words = (root / "mine", given, "--out", out)
    shown = predict(capsys, *words, "--fold", 0)
    assert shown.status == 0, shown.err
    assert json.loads(shown.out)["passed_over"] == [str(given / "notes.md")]
    made = {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in out.rglob("*.*")}
    assert made.keys() == {"a.png", "deep/b.png", "predict.json"}
    again = predict(capsys, *words, "--fold", 0)
    assert again.status == 0 and json.loads(again.out)["resumed"]
    assert {name: (out / name).stat().st_mtime_ns for name in made} == made
    other = predict(capsys, *words, "--fold", 1)
    assert other.status == 20 and "another --fold" in other.err
    shutil.copyfile(cases[2], given / "deep" / "b.png")
    other = predict(capsys, *words, "--fold", 0)
    assert other.status == 20 and "content of the images" in other.err
    shutil.copyfile(cases[1], given / "deep" / "b.png")
    (out / "a.png").unlink()
    gone = predict(capsys, *words, "--fold", 0)
    assert gone.status == 20 and "a.png was changed or removed" in gone.err


@pytest.mark.slow
@pytest.mark.parametrize("given", [False, True], ids=["new folder", "empty folder"])
def test_no_image_is_predicted_twice_after_an_interruption(
    given: bool, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done before is taken, which a mark in it shows; the rest is as in one run."""
    monkeypatch.setattr(parts_of_predict, "PART", 3)
    images, _ = find_images([root / "training" / "images"])
    environment = ExecutionEnvironment("process", Challenge())
    request = PredictRequest(root / "mine", images, environment, fold=0)
    whole = run_predict(request, tmp_path / "whole")
    out = tmp_path / "masks"
    if given:
        out.mkdir()

    def stop(what: str, done: int, total: int) -> None:
        if what == "images predicted" and done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_predict(request, out, progress=stop)
    kept = out / ".busbench.unfinished" if given else tmp_path / ".masks.unfinished"
    assert not list(out.glob("*.png"))
    marked, damaged = (kept / f"part-0000{number}" for number in (0, 1))
    record = read(PredictRecord, marked / RECORD, Code.OUTPUT_EXISTS, remedy="")
    first, second, *_ = record.images
    data = png_bytes(~pixels(marked / first.mask))
    (marked / first.mask).write_bytes(data)
    changed = first.model_copy(update={"mask_sha256": sha256_bytes(data)})
    rest = record.images[1:]
    write(record.model_copy(update={"images": (changed, *rest)}), marked / RECORD)
    next(damaged.glob("*.png")).write_bytes(b"")
    other = replace(request, fold=1)
    with pytest.raises(BusbenchError, match="another --fold"):
        run_predict(other, out)
    strict = Challenge(limits=StageLimits(model=ModelLimits(nodes=1)))
    with pytest.raises(BusbenchError) as refused:  # the verdict before was within other limits
        run_predict(replace(request, environment=ExecutionEnvironment("process", strict)), out)
    assert refused.value.code is Code.GATE_REFUSED
    found = run_predict(request, out)
    assert not found.resumed and not kept.exists()
    assert [each.image for each in found.record.images] == [i.image for i in whole.record.images]
    for each in whole.record.images:
        same = (out / each.mask).read_bytes() == (whole.folder / each.mask).read_bytes()
        assert same is (each.mask != first.mask), each.mask
    assert second.mask != first.mask


@pytest.mark.slow
def test_no_unreadable_image_is_left_out_unasked(
    root: Path, tmp_path: Path, capsys: Capture
) -> None:
    good, bad = root / "training" / "images" / "case-000.png", tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:200])
    words = (root / "mine", good, bad, "--out", tmp_path / "masks")
    shown = predict(capsys, *words)
    assert shown.status == 20 and "bad.png" in shown.err and not (tmp_path / "masks").exists()
    shown = predict(capsys, *words, "--skip-refused")
    assert shown.status == 0, shown.err
    record = json.loads(shown.out)
    assert [each["mask"] for each in record["images"]] == ["case-000.png"]
    assert [each["file"] for each in record["refused"]] == [str(bad)]


@pytest.mark.slow
def test_no_submission_that_the_gate_refuses_is_run(
    root: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = hand_in(tmp_path / "random", dice_rolling())
    shown = predict(capsys, folder, root / "training" / "images", "--out", tmp_path / "masks")
    assert shown.status == 10 and "gate-refused" in shown.err
    assert not (tmp_path / "masks").exists()


@pytest.mark.slow
def test_no_check_is_silent_on_how_far_it_is(root: Path) -> None:
    steps: list[tuple[str, int, int]] = []

    def note(what: str, done: int, total: int) -> None:
        steps.append((what, done, total))

    settings = Challenge()
    check(root / "mine", Context(open_runner("process", settings, note), settings, note))
    for what in ("gate: models checked", "gate: models counted again"):
        assert [(d, t) for name, d, t in steps if name == what] == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("words", [("--fold", "7"), ("--fold", "first"), ("--batch-size", "0")])
def test_no_option_without_effect_is_taken(
    words: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    folder = hand_in(tmp_path / "mine", blur(1), blur(2))
    bundle, out = make_bundle(tmp_path / "training", 2), tmp_path / "masks"
    assert predict(capsys, folder, bundle / "images", "--out", out, *words).status == 2
    assert not out.exists()


def test_no_fold_is_taken_of_one_model_for_all(tmp_path: Path, capsys: Capture) -> None:
    bundle, out = make_bundle(tmp_path / "training", 2), tmp_path / "masks"
    one = hand_in(tmp_path / "one", blur(1))
    shown = predict(capsys, one, bundle / "images", "--out", out, "--fold", 0)
    assert shown.status == 2 and "one model for all folds" in shown.err


def test_no_mask_is_written_among_the_images(tmp_path: Path, capsys: Capture) -> None:
    bundle, mine = make_bundle(tmp_path / "training", 2), hand_in(tmp_path / "mine", blur(1))
    shown = predict(capsys, mine, bundle, "--out", bundle / "masks-of-mine")
    assert shown.status == 2 and "would lie in" in shown.err
    assert not (bundle / "masks-of-mine").exists()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_no_pixel_is_marked_without_more_than_half_of_the_folds(count: int) -> None:
    masks = list(np.random.default_rng(count).random((count, 20, 30)) < 0.5)
    found = majority(masks)
    for place in np.ndindex(found.shape):
        votes = [bool(mask[place]) for mask in masks]
        assert found[place] == (votes.count(True) > votes.count(False))


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_no_image_is_read_otherwise_than_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    colour = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "raw" / "turned.jpg", exif=exif)
    Image.fromarray(colour[..., 0].astype(np.uint16) * 256).save(tmp_path / "raw" / "deep.png")
    rows = "".join(f"{name},normal\n" for name in ("deep.png", "turned.jpg"))
    (tmp_path / "raw" / "cases.csv").write_text(f"image,class\n{rows}")
    store = prepare("generic", tmp_path / "raw", tmp_path / "store").store
    images, _ = find_images([tmp_path / "raw"])
    stored = {case.source_image: case for case in store.cases}
    assert len(images) == len(stored) == 2
    for image in images:
        pixels, repairs, spacing = image.read()
        case = stored[image.path.name]
        assert np.array_equal(pixels, store.image(case.case_id))
        assert "; ".join(repairs) == case.repairs and repairs
        assert spacing == case.spacing


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_no_image_is_missed_and_no_other_file_is_taken(tmp_path: Path, encoding: str) -> None:
    touch(tmp_path, "a/x.PNG", "a/deep/y.jpeg", "a/z.nii.gz", "a/t.csv", "a/.x.png", "a/.h/w.png")
    touch(tmp_path, "single.bmp", "listed/v.1.png", "else/u.dcm")
    (tmp_path / "a" / "1.2.840").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "list.txt").write_text("listed/v.1.png\n\nelse/u.dcm\n", encoding)
    given = [tmp_path / "a", tmp_path / "single.bmp", tmp_path / "list.txt"]
    images, others = find_images(given)
    assert {image.mask: image.path.name for image in images} == {
        "x.png": "x.PNG",
        "deep/y.png": "y.jpeg",
        "z.png": "z.nii.gz",
        "1.2.840.png": "1.2.840",
        "single.png": "single.bmp",
        "listed/v.1.png": "v.1.png",
        "else/u.png": "u.dcm",
    }
    assert [path.name for path in others] == ["t.csv"]


@pytest.mark.parametrize(
    ("names", "listed", "code"),
    [
        (("a/x.png", "a/x.jpg"), None, "usage"),
        (("a/x.png", "a/X.PNG"), None, "usage"),
        (("a/notes.md",), None, "raw-missing"),
        (("a/x.png",), "x.png\nlost.png\n", "raw-missing"),
        (("a/x.png",), "", "raw-missing"),
    ],
)
def test_no_mask_is_written_over_and_no_image_is_lost(
    names: tuple[str, ...], listed: str | None, code: str, tmp_path: Path
) -> None:
    touch(tmp_path, *names)
    given = tmp_path / "a"
    if listed is not None:
        given = tmp_path / "a" / "list.txt"
        given.write_text(listed)
    with pytest.raises(BusbenchError) as refused:
        find_images([given])
    assert refused.value.code == code

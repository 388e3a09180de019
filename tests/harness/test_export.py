"""Exported splits: the store's pixels, the split's folds, and nothing of a withheld label."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as run_lengths_of
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from evaluator.documents.base import Label
from evaluator.errors import BusbenchError
from harness.audit import audit
from harness.challenge import Challenge, Track
from harness.cli import app
from harness.export import Format, choose_test_part, export_split
from harness.export.cases import Cases, TestPart
from harness.export.coco import run_lengths
from harness.splits import FrozenSplit, freeze
from harness.splits.manifest import complete_lock
from harness.store import CaseStore, Sample, png_bytes, write_store
from tests.support.masks import any_mask, any_shape
from tests.support.samples import SECRET

LABELS: tuple[Label, ...] = ("benign", "malignant", "normal")
FORMATS = list(Format)
LESION = {"nnunet": 1, "monai": 1, "names": 255, "csv": 255}


def samples(relabelled: Mapping[int, int] | None = None, patients: int = 18) -> list[Sample]:
    """Images of many shapes with lesions of any form; `relabelled` patients get another label.

    Whatever follows from a label changes with it: class, mask, BI-RADS, repairs, names of files.
    """
    made = []
    for number in range(patients):
        turn = (relabelled or {}).get(number, 0)
        label = LABELS[(number + turn) % 3]
        pixels = np.random.default_rng(number)
        height, width = (int(side) for side in pixels.integers(9, 40, 2))
        mask = any_mask(np.random.default_rng([number, turn]), (height, width))
        mask &= label != "normal"
        name = f"{label}/{label} ({number}).png"
        made.append(
            Sample(
                case_id=f"case_{number:03d}",
                label=label,
                patient=f"p{number}",
                image=pixels.integers(0, 256, (height, width)).astype(np.uint8),
                mask=mask,
                lesions=halves(mask) if number % 2 else None,
                source_image=name,
                source_mask=f"mask of {name}",
                spacing=(0.1, 0.2) if number % 2 else None,
                birads=f"{number}.{turn}",
                repairs=("mask resized",) * turn,
            )
        )
    return made


def halves(mask: Any) -> Any:
    """Two lesions that touch, or one where the mask is all on one side."""
    right = np.arange(mask.shape[1]) >= mask.shape[1] // 2
    apart = (mask & ~right).any() and (mask & right).any()
    return (mask * np.where(right & apart, 2, 1)).astype(np.uint8)


@dataclass(frozen=True)
class Frozen:
    root: Path
    store: CaseStore
    split: FrozenSplit

    @classmethod
    def make(cls, root: Path, dataset: str = "phantom") -> Frozen:
        store = write_store(root / "store", dataset, samples())
        report = audit(store, near=False)
        options: dict[str, Any] = {"folds": 3, "test_fraction": 0.4, "secret": SECRET}
        return cls(root, store, freeze(store, report, root / "v1", version="v1", **options))

    def export(self, out: Path, layout: Format, test: TestPart = "images") -> Path:
        export_split(self.store, self.split, out, layout=layout, test=test)
        return out

    def ids(self, part: str = "", fold: int | None = None) -> set[str]:
        return {
            row.case_id
            for row in self.split.rows
            if part in ("", row.part) and fold in (None, row.fold)
        }


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    return Frozen.make(tmp_path_factory.mktemp("export"))


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@dataclass
class Read:
    """An export as the tool that it is for reads it."""

    images: dict[str, Path]  # of both parts
    masks: dict[str, Any]
    folds: list[tuple[set[str], set[str]]]
    test: set[str]


def read_nnunet(root: Path) -> Read:
    (raw,) = (root / "nnUNet_raw").iterdir()
    splits = json.loads((root / "nnUNet_preprocessed" / raw.name / "splits_final.json").read_text())
    images = {p.name[: -len("_0000.png")]: p for p in raw.glob("images*/*_0000.png")}
    tr = {path.stem for path in (raw / "labelsTr").iterdir()}
    assert json.loads((raw / "dataset.json").read_text())["numTraining"] == len(tr)
    masks = {path.stem: np.asarray(Image.open(path)) for path in raw.glob("labels*/*.png")}
    return Read(images, masks, [(set(s["train"]), set(s["val"])) for s in splits], set(images) - tr)


def read_monai(root: Path) -> Read:
    folds, images, masks, test = [], {}, {}, set()
    for file in sorted(root.glob("fold-*.json")):
        document = json.loads(file.read_text())
        for entry in (entry for entries in document.values() for entry in entries):
            path = root / entry["image"]
            images[path.stem] = path
            if "label" in entry:
                masks[path.stem] = np.asarray(Image.open(root / entry["label"]))
        of = {key: {Path(e["image"]).stem for e in entries} for key, entries in document.items()}
        folds.append((of["training"], of["validation"]))
        test |= of.get("test", set())
    return Read(images, masks, folds, test)


def read_names(root: Path) -> Read:
    """As `MedicalDataSets` of CMU-Net, CMUNeXt and U-Bench does."""

    def listed(name: str) -> set[str]:
        lines = [line.replace("\n", "") for line in (root / name).open().readlines()]
        assert len(lines) == len(set(lines)) and "" not in lines
        return set(lines)

    count = len(list(root.glob("fold*_train.txt")))
    folds = [(listed(f"fold{n}_train.txt"), listed(f"fold{n}_val.txt")) for n in range(count)]
    assert (listed("train.txt"), listed("val.txt")) == folds[0]
    test = listed("test.txt") if (root / "test.txt").exists() else set()
    names = set.union(*folds[0]) | test
    masks = {}
    for name in names:
        path = root / "masks" / "0" / f"{name}.png"
        if name not in test or path.exists():
            masks[name] = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return Read({n: root / "images" / f"{n}.png" for n in names}, masks, folds, test)


def read_coco(root: Path) -> Read:
    images, masks, test = {}, {}, set()
    sides: dict[str, set[str]] = {}
    for file in sorted((root / "annotations").iterdir()):
        coco = COCO(file)
        names = {number: Path(i["file_name"]).stem for number, i in coco.imgs.items()}
        sides[file.stem] = set(names.values())
        for number, name in names.items():
            images[name] = root / "images" / coco.imgs[number]["file_name"]
            if file.stem == "image_info_test":
                assert not coco.anns
                continue
            size = (coco.imgs[number]["height"], coco.imgs[number]["width"])
            lesions = [coco.annToMask(lesion) for lesion in coco.imgToAnns[number]]
            masks[name] = np.sum(lesions, axis=0, dtype=np.uint8) if lesions else np.zeros(size)
        test |= sides[file.stem] if file.stem.endswith("_test") else set()
    count = len([name for name in sides if name.startswith("instances_fold")]) // 2
    folds = [
        (sides[f"instances_fold{n}_train"], sides[f"instances_fold{n}_val"]) for n in range(count)
    ]
    assert sides["instances_train"] == set.union(*folds[0])
    return Read(images, masks, folds, test)


def read_csv(root: Path) -> Read:
    with (root / "cases.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    fold_of = {row["case_id"]: int(row["fold"]) for row in rows if row["part"] == "train"}
    folds = [
        (
            {case for case, fold in fold_of.items() if fold != number},
            {case for case, fold in fold_of.items() if fold == number},
        )
        for number in sorted(set(fold_of.values()))
    ]
    return Read(
        {row["case_id"]: root / row["image"] for row in rows},
        {r["case_id"]: np.asarray(Image.open(root / r["mask"])) for r in rows if r["mask"]},
        folds,
        {row["case_id"] for row in rows if row["part"] == "test"},
    )


READERS = {
    Format.NNUNET: read_nnunet,
    Format.MONAI: read_monai,
    Format.NAMES: read_names,
    Format.COCO: read_coco,
    Format.CSV: read_csv,
}
PARTS: tuple[TestPart, ...] = ("none", "images", "images and labels")
EACH = pytest.mark.parametrize("layout", FORMATS)


@EACH
@pytest.mark.parametrize("test", PARTS)
def test_no_pixel_and_no_fold_differs_from_the_store_and_the_split(
    layout: Format, test: TestPart, frozen: Frozen, tmp_path: Path
) -> None:
    read = READERS[layout](frozen.export(tmp_path / "out", layout, test))
    hidden = frozen.ids("test")
    assert set(read.images) == frozen.ids() - (hidden if test == "none" else set())
    assert read.test == (set() if test == "none" else hidden)
    assert set(read.masks) == frozen.ids("train") | (hidden if "labels" in test else set())
    for case_id, path in read.images.items():
        np.testing.assert_array_equal(np.asarray(Image.open(path)), frozen.store.image(case_id))
    for case_id, mask in read.masks.items():
        expected = frozen.store.mask(case_id) * LESION.get(layout, 1)
        np.testing.assert_array_equal(mask, expected)
    training = frozen.ids("train")
    validation = [frozen.ids("train", fold) for fold in range(3)]
    assert read.folds == [(training - cases, cases) for cases in validation]


@EACH
@given(
    turns=st.lists(st.integers(0, 2), min_size=18, max_size=18).filter(any),
    test=st.sampled_from(["none", "images"]),
)
@settings(max_examples=6)
def test_no_byte_of_an_export_depends_on_a_label_that_is_withheld(
    layout: Format,
    turns: list[int],
    test: TestPart,
    frozen: Frozen,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Two stores that differ in the labels of test cases alone give the same export."""
    hidden = {int(case_id[-3:]) for case_id in frozen.ids("test")}
    relabelled = {number: turns[number] for number in hidden if turns[number]}
    root = tmp_path_factory.mktemp("withheld")
    other = samples(relabelled)
    store = write_store(root / "store", "phantom", other)
    changed = {**frozen.split.lock.document(), "store_digest": store.info.digest}
    lock = complete_lock({k: v for k, v in changed.items() if "digest" != k != "field_digests"})
    twin = Frozen(root, store, replace(frozen.split, lock=lock))
    assert bool(relabelled) == (lock.digest != frozen.split.lock.digest)
    shown, others = (
        files(each.export(root / name, layout, test)) for name, each in (("a", frozen), ("b", twin))
    )
    for part in (shown, others):
        del part["split.json"]  # has digests of the rest
    digests = (frozen.split.lock.digest.encode(), lock.digest.encode())
    assert {name: data.replace(*digests) for name, data in shown.items()} == others


def test_the_search_for_withheld_labels_finds_one_that_is_exported(
    frozen: Frozen, tmp_path: Path
) -> None:
    """Else the test above would pass for any export."""
    case_id = min(frozen.ids("test"))
    other = write_store(tmp_path / "store", "phantom", samples({int(case_id[-3:]): 1}))
    for layout in FORMATS:
        exports = []
        for name, store in (("a", frozen.store), ("b", other)):
            lock = frozen.split.lock.model_copy(update={"store_digest": store.info.digest})
            twin = Frozen(tmp_path, store, replace(frozen.split, lock=lock))
            out = twin.export(tmp_path / layout / name, layout, "images and labels")
            exports.append(files(out))
        for export in exports:
            del export["split.json"]
        assert exports[0] != exports[1]


@EACH
def test_no_export_lacks_the_digest_of_its_split_and_the_terms(
    layout: Format, frozen: Frozen, tmp_path: Path
) -> None:
    out = frozen.export(tmp_path / "out", layout)
    document = json.loads((out / "split.json").read_text())
    assert document["split_digest"] == frozen.split.lock.digest
    assert set(document["files"]) | {"split.json"} == set(files(out))
    text = (out / "CITATION").read_text()
    assert frozen.split.lock.digest in text and frozen.split.lock.verdict in text
    assert "Terms: none: no patient was scanned" in text


def test_no_copy_of_busbra_lacks_its_licence(tmp_path: Path, real_data: Path) -> None:
    frozen = Frozen.make(tmp_path, "busbra")
    text = (frozen.export(tmp_path / "out", Format.CSV) / "CITATION").read_text()
    assert (real_data / "BUSBRA" / "LICENSE.txt").read_text() in text


def test_no_terms_are_made_up_for_a_dataset_with_an_adapter_of_its_own(tmp_path: Path) -> None:
    frozen = Frozen.make(tmp_path, "clinic")
    text = (frozen.export(tmp_path / "out", Format.COCO) / "CITATION").read_text()
    assert text.count("not known to BUSBench") == 3


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_no_run_length_differs_from_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = any_shape(rng, 40)
    mask = any_mask(rng, shape) if seed % 9 else np.zeros(shape, dtype=bool)
    counts = run_lengths(mask)
    packed = run_lengths_of.frPyObjects({"size": list(shape), "counts": counts}, *shape)
    np.testing.assert_array_equal(run_lengths_of.decode(packed), mask)
    assert packed == run_lengths_of.encode(np.asfortranarray(mask, dtype=np.uint8))


def test_no_lesion_is_lost_or_joined_in_coco(frozen: Frozen, tmp_path: Path) -> None:
    """Boxes, areas and the whole evaluation by the reference implementation."""
    out = frozen.export(tmp_path / "out", Format.COCO)
    coco = COCO(out / "annotations" / "instances_train.json")
    for lesion in coco.anns.values():
        packed = coco.annToRLE(lesion)
        assert list(run_lengths_of.toBbox(packed)) == lesion["bbox"]
        assert run_lengths_of.area(packed) == lesion["area"] > 0
    for number, image in coco.imgs.items():
        lesions = frozen.store.lesions(Path(image["file_name"]).stem)
        found = [coco.annToMask(lesion) for lesion in coco.imgToAnns[number]]
        assert len(found) == lesions.max()
        for each, mask in enumerate(found, 1):
            np.testing.assert_array_equal(mask, lesions == each)
        classes = {coco.cats[lesion["category_id"]]["name"] for lesion in coco.imgToAnns[number]}
        assert classes == ({image["class"]} if lesions.any() else set())
    detected = coco.loadRes([lesion | {"score": 1.0} for lesion in coco.anns.values()])
    evaluation = COCOeval(coco, detected, "segm")
    evaluation.params.maxDets = [1, 10, 10_000]  # the random masks have hundreds of lesions
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    assert (precision > -1).any() and (precision[precision > -1] == 1).all()


# What challenge.yaml may declare of the split, or of another, and what may be exported then.
DECLARED = (None, "public", "private")


@pytest.mark.parametrize(
    ("first", "second", "other", "asked"),
    list(product(DECLARED, DECLARED, DECLARED, (False, True))),
)
def test_no_test_label_is_exported_unless_it_is_asked_for_and_public(
    first: Any, second: Any, other: Any, asked: bool, frozen: Frozen
) -> None:
    declared = {"a": ("v1", first), "b": ("v1", second), "c": ("v2", other)}
    tracks = {
        name: Track(dataset="phantom", split_version=version, labels=labels)
        for name, (version, labels) in declared.items()
        if labels
    }
    challenge = Challenge.model_construct(tracks=tracks)
    own = {labels for labels in (first, second) if labels}
    if asked and own != {"public"}:
        with pytest.raises(BusbenchError, match="private" if "private" in own else "no track of"):
            choose_test_part(challenge, frozen.split.lock, with_labels=True)
        return
    chosen = choose_test_part(challenge, frozen.split.lock, with_labels=asked)
    expected = "images and labels" if asked else "none" if "private" in own else "images"
    assert chosen == expected


def test_a_withheld_mask_is_never_read(frozen: Frozen) -> None:
    cases = Cases.of(frozen.store, frozen.split, "images")
    for item in cases.test:
        with pytest.raises(ValueError, match="withheld"):
            cases.mask(item)


def busbench(*words: str | Path) -> tuple[int, str, BusbenchError | None]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        assert isinstance(done.exception, BusbenchError), (done.output, done.exception)
        return int(done.exception.fault), done.stdout, done.exception
    return done.exit_code, done.stdout, None


@pytest.fixture
def command(frozen: Frozen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    monkeypatch.chdir(tmp_path)
    split = frozen.split.path
    return ["export-split", frozen.store.path, "--split", split, "--out", tmp_path / "out"]


def declare(labels: str, folder: Path) -> None:
    track = f"{{dataset: phantom, split_version: v1, folds: 3, labels: {labels}}}"
    phases = "phases: [{name: a, closes: 2030-01-01, steps: {dice: 0.1}}]\n"
    (folder / "challenge.yaml").write_text(
        f"schema: busbench/challenge/v1\ntracks: {{phantom: {track}}}\n{phases}"
    )


def test_no_test_image_of_a_private_track_is_exported(
    command: list[str | Path], frozen: Frozen, tmp_path: Path
) -> None:
    declare("private", tmp_path)
    status, _, error = busbench(*command, "--format", "csv", "--with-test-labels")
    assert status == 20 and error is not None and "private" in error.message
    assert not (tmp_path / "out").exists()
    status, printed, _ = busbench(*command, "--format", "csv")
    assert status == 0 and "no test part, because its labels are private" in printed
    assert read_csv(tmp_path / "out").test == set()
    assert not {name for name in files(tmp_path / "out") if Path(name).stem in frozen.ids("test")}


def test_public_test_labels_are_exported_where_they_are_asked_for(
    command: list[str | Path], frozen: Frozen, tmp_path: Path
) -> None:
    declare("public", tmp_path)
    status, printed, _ = busbench(*command, "--format", "nnunet", "--with-test-labels", "--json")
    assert status == 0 and json.loads(printed)["test"] == "images and labels"
    (labels,) = tmp_path.glob("out/nnUNet_raw/*/labelsTs")
    assert {path.stem for path in labels.iterdir()} == frozen.ids("test")


@pytest.mark.parametrize("layout", [each for each in FORMATS if each is not Format.NNUNET])
def test_an_option_that_cannot_take_effect_is_refused(
    layout: Format, command: list[str | Path], tmp_path: Path
) -> None:
    status, _, error = busbench(*command, "--format", layout, "--dataset-id", "7")
    assert status == 2 and error is not None and str(layout) in error.message
    assert not (tmp_path / "out").exists()


def test_another_store_is_refused(command: list[str | Path], tmp_path: Path) -> None:
    write_store(tmp_path / "other", "phantom", samples(patients=12))
    command[1] = tmp_path / "other"
    status, _, error = busbench(*command, "--format", "csv")
    assert status == 20 and error is not None and error.code == "split-invalid"


@EACH
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_pixels_that_were_changed_in_the_store_are_refused(
    layout: Format, folder: str, tmp_path: Path
) -> None:
    frozen = Frozen.make(tmp_path)
    case = min(frozen.ids("train"))
    path = frozen.store.path / folder / f"{case}.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0] = ~pixels[0, 0]
    path.write_bytes(png_bytes(pixels))
    with pytest.raises(BusbenchError, match=f"{case}.png was changed") as raised:
        frozen.export(tmp_path / "out", layout)
    assert raised.value.code == "store-invalid"
    assert not (tmp_path / "out").exists()


def test_lesions_that_are_not_the_masks_are_refused(tmp_path: Path) -> None:
    made = samples()
    shifted = [replace(each, lesions=np.roll(each.mask, 1).astype(np.uint8)) for each in made]
    store = write_store(tmp_path / "store", "phantom", shifted)
    options: dict[str, Any] = {"version": "v1", "folds": 3, "secret": SECRET}
    split = freeze(store, audit(store, near=False), tmp_path / "v1", **options)
    with pytest.raises(BusbenchError, match=r"not those of its mask|was changed"):
        Frozen(tmp_path, store, split).export(tmp_path / "out", Format.COCO)


@EACH
def test_an_export_that_somebody_changed_is_not_taken_for_finished(
    layout: Format, frozen: Frozen, tmp_path: Path
) -> None:
    out = frozen.export(tmp_path / "out", layout)
    before = files(out)
    frozen.export(out, layout)
    assert files(out) == before
    for change in (Path.unlink, lambda path: path.write_bytes(b"")):
        for name in (max(before.keys() - {"split.json"}), "CITATION"):
            change(out / name)
            with pytest.raises(BusbenchError, match="changed or removed") as raised:
                frozen.export(out, layout)
            assert raised.value.code == "output-exists"
            (out / name).write_bytes(before[name])

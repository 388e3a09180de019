"""Sealed and scored labels are the frozen and committed ones, pixel by pixel."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from evaluator.documents.base import read, write
from evaluator.documents.scores import labels_digest
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file, sha256_pixels
from evaluator.scoring.score import score
from evaluator.sealed import open_sealed, seal_archive
from harness.cli import app
from harness.evaluation.stage_output import CASES
from harness.ledger import append, sign, verify_report
from harness.sealing.bundle import Recipients, seal
from harness.splits import FrozenSplit, reveal
from harness.store import CaseStore, StoreInfo, png_bytes, rows_digest
from tests.support.samples import SECRET
from tests.support.small_challenge import Evaluated

PARTS = ("train", "test")


@pytest.fixture
def frozen(evaluated: Evaluated, tmp_path: Path) -> tuple[Path, FrozenSplit, Recipients]:
    """A store of its own, the split that was frozen from it, and two keys."""
    root, keys = evaluated.challenge.root, evaluated.challenge.keys
    copy = Path(shutil.copytree(root / "store", tmp_path / "store"))
    recipients = Recipients(keys.images.recipient, keys.labels.recipient)
    return copy, FrozenSplit.open(root / "splits" / "v1"), recipients


def of_part(split: FrozenSplit, part: str) -> str:
    return next(row.case_id for row in split.rows if row.part == part)


def flip_a_bit(path: Path) -> None:
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[3, 5] = ~pixels[3, 5]
    path.write_bytes(png_bytes(pixels))


def empty(path: Path) -> None:
    with Image.open(path) as image:
        path.write_bytes(png_bytes(np.zeros_like(np.asarray(image))))


def transpose(path: Path) -> None:
    with Image.open(path) as image:
        path.write_bytes(png_bytes(np.asarray(image).T.copy()))


def in_colour(path: Path) -> None:
    """Two decoders may take two masks from it: by a threshold, by dithering, by being not zero."""
    with Image.open(path) as image:
        image.convert("RGB").save(path)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:45])


CHANGES: tuple[Callable[[Path], object], ...] = (
    flip_a_bit, empty, transpose, in_colour, cut_off, Path.unlink
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("part", PARTS)
def test_no_changed_file_is_sealed(
    frozen: Any, tmp_path: Path, part: str, kind: str, change: Callable[[Path], object]
) -> None:
    path, split, recipients = frozen
    case_id = of_part(split, part)
    change(path / kind / f"{case_id}.png")
    with pytest.raises(BusbenchError) as refused:
        seal(CaseStore.open(path), split, recipients, out=tmp_path / "bundles")
    assert refused.value.code == "store-invalid" and case_id in refused.value.message
    made = "training" if part == "train" else "sealed"
    assert not (tmp_path / "bundles" / made).exists()


@pytest.mark.parametrize("part", PARTS)
def test_no_exchanged_files_are_sealed(frozen: Any, tmp_path: Path, part: str) -> None:
    path, split, recipients = frozen
    mine, *others = (r.case_id for r in split.rows if r.part == part)
    by_id = {case.case_id: case for case in CaseStore.open(path).cases}
    other = next(o for o in others if by_id[o].mask_sha256 != by_id[mine].mask_sha256)
    shutil.copy(path / "masks" / f"{other}.png", path / "masks" / f"{mine}.png")
    with pytest.raises(BusbenchError, match=mine):
        seal(CaseStore.open(path), split, recipients, out=tmp_path / "bundles")


def rewrite(path: Path, case_id: str, *, honest_digest: bool, **changes: object) -> None:
    """Change a case's row of a store's table, and with `honest_digest` its digest, too."""
    store = CaseStore.open(path)
    cases = [replace(c, **changes) if c.case_id == case_id else c for c in store.cases]  # type: ignore[arg-type]
    pd.DataFrame([asdict(case) for case in cases]).to_parquet(path / "cases.parquet", index=False)
    if honest_digest:
        info = read(StoreInfo, path / "store.json", Code.STORE_INVALID, remedy="")
        write(info.model_copy(update={"digest": rows_digest(cases)}), path / "store.json")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("honest_digest", [False, True])
@pytest.mark.parametrize("field", ["label", "mask_sha256", "image_sha256", "spacing_row_mm"])
def test_no_changed_table_is_sealed(
    frozen: Any, tmp_path: Path, part: str, honest_digest: bool, field: str
) -> None:
    path, split, recipients = frozen
    new = {"label": "malignant", "spacing_row_mm": 0.5}.get(field, "0" * 64)
    case_id = next(
        case.case_id
        for case in CaseStore.open(path).cases
        if case.label == "benign"
        if any(row.case_id == case.case_id and row.part == part for row in split.rows)
    )
    rewrite(path, case_id, honest_digest=honest_digest, **{field: new})
    with pytest.raises(BusbenchError) as refused:
        seal(CaseStore.open(path), split, recipients, out=tmp_path / "bundles")
    assert refused.value.code == ("split-invalid" if honest_digest else "store-invalid")


def test_every_case_is_scored_with_its_committed_label(evaluated: Evaluated) -> None:
    store = CaseStore.open(evaluated.challenge.root / "store")
    split = FrozenSplit.open(evaluated.challenge.root / "splits" / "v1")
    committed = {c.case_id: c for c in store.cases if c.case_id in split.lock.commitments}
    (folder,) = evaluated.runs.glob("*/score")
    rows = pd.read_parquet(folder.parent / CASES)
    assert {*rows["case_id"]} == {*committed}
    for row in rows.to_dict("records"):
        case = committed[row["case_id"]]
        assert (row["class"], row["mask_sha256"]) == (case.label, case.mask_sha256)
        assert row["mask_sha256"] == sha256_pixels(store.mask(case.case_id))
    report = verify_report(evaluated.report, evaluated.challenge.keys.report)
    assert report.scores.labels_sha256 == labels_digest(
        (case.case_id, case.label, case.mask_sha256) for case in committed.values()
    )


def other_mask(data: bytes) -> bytes:
    """The PNG of a mask with one pixel more or less."""
    with Image.open(io.BytesIO(data)) as image:
        mask = np.array(image)
    mask[0, 0] = ~mask[0, 0]
    return png_bytes(mask)


def verified(evaluated: Evaluated, ledger: Path, *more: object, splits: bool = True) -> Result:
    place = ("--splits", evaluated.challenge.root / "splits") if splits else ()
    words = ("verify", ledger, *place, *more)
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.mark.parametrize(
    ("what", "number"), [("mask", 0), ("mask", -1), ("class", 0), ("class", -1), ("nothing", 0)]
)
def test_no_other_labels_pass_verification(
    evaluated: Evaluated, tmp_path: Path, what: str, number: int
) -> None:
    """A bundle made by other means, scored, signed and recorded, beside the true evidence."""
    root, keys, bundles = (
        evaluated.challenge.root,
        evaluated.challenge.keys,
        evaluated.challenge.bundles,
    )
    with open_sealed(bundles.labels, keys.labels.secret) as (index, stream):
        cases, masks = map(list, zip(*stream, strict=True))
    if what == "mask":
        masks[number] = other_mask(masks[number])
    elif what == "class":
        other = "benign" if cases[number].label != "benign" else "malignant"
        cases[number] = replace(cases[number], label=other)
    forged = tmp_path / "labels.age"
    index = index.model_copy(update={"cases": tuple(cases)})
    forged.write_bytes(seal_archive(index, masks, keys.labels.recipient))
    (predictions,) = evaluated.runs.glob("*/infer")
    scores = score(predictions, forged, keys.labels.secret, out=tmp_path)
    report = verify_report(evaluated.report, keys.report)
    sealed = {"sealed_labels_sha256": sha256_file(forged)}
    provenance = report.provenance.model_copy(update=sealed)
    forged_report = report.model_copy(update={"scores": scores, "provenance": provenance})
    append(tmp_path / "ledger.jsonl", sign(forged_report, keys), keys)
    split, store = FrozenSplit.open(root / "splits" / "v1"), CaseStore.open(root / "store")
    write(reveal(split, store, SECRET), tmp_path / "reveal.json")
    for evidence in (("--reveal", tmp_path / "reveal.json"), ("--store", root / "store")):
        result = verified(evaluated, tmp_path / "ledger.jsonl", *evidence)
        assert result.exit_code == (0 if what == "nothing" else 20), result.output
        assert ("entry 1: the classes or masks" in result.stdout) == (what != "nothing")
    if number:
        return
    bundle = Path(shutil.copytree(bundles.path, tmp_path / "bundles"))
    shutil.copy(forged, bundle / "sealed" / "labels.age")
    stated = bundles.sealed.model_copy(update={"labels_sha256": sha256_file(forged)})
    write(stated, bundle / "sealed" / "bundle.json")
    again = ("--rescore", evaluated.runs, "--keys", keys.path, "--runner", "process", "--bundle")
    alone = verified(evaluated, tmp_path / "ledger.jsonl", *again, bundle, splits=False)
    assert alone.exit_code == 0, alone.output  # nothing there knows of the freeze, and it says so
    assert "not opened: name --splits, and --store or --reveal" in alone.stdout
    true_report = report.model_copy(update={"scores": scores})
    append(tmp_path / "other.jsonl", sign(true_report, keys), keys)
    result = verified(evaluated, tmp_path / "other.jsonl", *again, bundles.path)
    assert ("labels_sha256 was" in result.stdout) == (what != "nothing"), result.output

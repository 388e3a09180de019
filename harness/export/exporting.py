"""From a case store and a frozen split to a folder for other people's code, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from evaluator.documents.base import Contract, Digest, Name, read, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes, sha256_file
from evaluator.progress import Progress, quiet
from harness.export.cases import Cases, TestPart
from harness.export.citation import citation
from harness.export.formats import FORMATS, Format
from harness.folders import require_same, whole_folder
from harness.splits import FrozenSplit, require_store
from harness.splits.lock import Policy, SplitLock
from harness.store import CaseStore, png_bytes

MANIFEST = "split.json"
DATASET_ID = 500  # nnU-Net's own data sets have small numbers


class SplitExport(Contract):
    """`split.json` of an export: which split it is, and the digest of every file."""

    schema_: Literal["busbench/split-export/v1"] = Field(
        default="busbench/split-export/v1", alias="schema"
    )
    dataset: Name
    split_version: Name
    split_digest: Digest  # of lock.json, see split-lock
    policy: Policy
    folds: int
    verdict: str  # of the audit, in a sentence or two
    format: Format
    dataset_id: int | None  # nnU-Net's number of the dataset; null in other formats
    test: TestPart
    training_cases: int
    test_cases: int
    files: dict[str, Digest]  # path -> SHA-256, of every file but this one


def export_split(
    store: CaseStore,
    split: FrozenSplit,
    out: Path,
    *,
    layout: Format,
    test: TestPart = "images",
    dataset_id: int = DATASET_ID,
    progress: Progress = quiet,
) -> SplitExport:
    """Write the cases of a frozen split in a format; an export that is there already is kept.

    Args:
        test: what of the test part is exported, see `choose_test_part`.
        dataset_id: nnU-Net's number of the dataset, 1 to 999; other formats have none.

    Raises:
        BusbenchError: `split-invalid` where the store is not the one that was frozen,
            `store-invalid` where pixels are not the store's, `output-exists` where `out` has
            something else, an export with other settings, or one that was changed.
    """
    require_store(split, store)
    number = dataset_id if layout is Format.NNUNET else None
    if (out / MANIFEST).exists():
        return _same(out, split.lock, layout, test=test, dataset_id=number)
    cases = Cases.of(store, split, test)
    with whole_folder(out, last=MANIFEST) as folder:
        files = _write_files(folder, cases, layout, dataset_id=dataset_id, progress=progress)
        lock = split.lock
        export = SplitExport(
            dataset=lock.dataset,
            split_version=lock.version,
            split_digest=lock.digest,
            policy=lock.policy,
            folds=lock.folds,
            verdict=lock.verdict,
            format=layout,
            dataset_id=number,
            test=test,
            training_cases=len(cases.training),
            test_cases=len(cases.test),
            files=files,
        )
        write(export, folder / MANIFEST)
    return export


def _write_files(
    folder: Path, cases: Cases, chosen: Format, *, dataset_id: int, progress: Progress
) -> dict[str, Digest]:
    """Write all files but `split.json`; their digests."""
    layout, files = FORMATS[chosen](cases, dataset_id), dict[str, Digest]()

    def put(name: str, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files[name] = sha256_bytes(data)

    for done, item in enumerate(cases.items, 1):
        put(layout.image(item), cases.image(item))
        if layout.mask and item.known:
            mask = cases.mask(item).astype(np.uint8) * np.uint8(layout.lesion)
            put(layout.mask(item), png_bytes(mask))
        progress("images and masks", done, len(cases.items))
    for name, data in layout.lists():
        put(name, data)
    training = (item.known for item in cases.training)
    put("CITATION", citation(cases.lock, training).encode())
    return files


def _same(
    out: Path, lock: SplitLock, layout: Format, *, test: TestPart, dataset_id: int | None
) -> SplitExport:
    """The export that is there, where it was made with these settings and nobody changed it."""
    remedy = "Name a new folder."
    found = read(SplitExport, out / MANIFEST, Code.OUTPUT_EXISTS, remedy=remedy)
    differing = {
        "--split": found.split_digest != lock.digest,
        "--format": found.format != layout,
        "--with-test-labels": found.test != test,
        "--dataset-id": found.format == layout and found.dataset_id != dataset_id,
    }
    require_same(out, differing)
    for name, digest in found.files.items():
        path = out / name
        if not path.is_file() or sha256_file(path) != digest:
            message = f"{path} was changed or removed after it was exported."
            raise BusbenchError(Code.OUTPUT_EXISTS, message, remedy)
    return found

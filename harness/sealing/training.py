"""Writer of a training bundle, and its reader, which checks that it is whole."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.documents.base import CASE_BY_CASE, MAX_SIDE, Name, read, write
from evaluator.documents.reading import read_bytes
from evaluator.documents.sealed import SealedCase
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes, write_atomically
from evaluator.png import decode_png
from evaluator.progress import Progress
from harness.challenge import StageLimits
from harness.sealing.documents import Source, TrainingBundle
from harness.splits import FrozenSplit
from harness.store import MAX_LESIONS, CaseStore, connected, png_bytes
from harness.template import HELPER

REMEDY = "Get the training bundle again, and name its folder."


@dataclass(frozen=True)
class TrainingCase:
    """One case to train on, as the scorer sees a case, and the fold that validates on it."""

    case: SealedCase
    fold: int


@dataclass(frozen=True)
class TrainingSet:
    """A checked training bundle."""

    path: Path
    bundle: TrainingBundle
    cases: tuple[TrainingCase, ...]

    @classmethod
    def open(cls, path: Path) -> TrainingSet:
        """Open a training bundle, or the one beside a sealed bundle.

        Raises:
            BusbenchError: `bundle-invalid` where something is missing or was changed.
        """
        if (path / "training").is_dir():
            path = path / "training"
        bundle = read(TrainingBundle, path / "bundle.json", Code.BUNDLE_INVALID, remedy=REMEDY)
        table = read_bytes(
            path / "cases.csv", CASE_BY_CASE.bytes, Code.BUNDLE_INVALID, remedy=REMEDY
        )
        if sha256_bytes(table) != bundle.cases_sha256:
            raise BusbenchError(Code.BUNDLE_INVALID, f"{path / 'cases.csv'} was changed.", REMEDY)
        return cls(path, bundle, _cases(table))

    def image(self, case: SealedCase) -> bytes:
        """The grey pixels of a case's image, line after line, as images are sealed."""
        return decode_png(self._file("images", case), case, self.path / "images").tobytes()

    def mask(self, case: SealedCase) -> bytes:
        """The bytes of a case's mask."""
        return self._file("masks", case)

    def labels(self, case: SealedCase) -> bytes:
        """A PNG of a case's lesions, as labels are sealed; its connected areas are its lesions."""
        data = self.mask(case)
        areas = connected(decode_png(data, case, self.path / "masks") > 0)
        if areas.max(initial=0) < 2:
            return data
        return png_bytes(np.minimum(areas, MAX_LESIONS).astype(np.uint8))

    def _file(self, kind: str, case: SealedCase) -> bytes:
        path = self.path / kind / case.file
        return read_bytes(path, MAX_SIDE**2, Code.BUNDLE_INVALID, remedy=REMEDY)


def write_training(
    folder: Path,
    store: CaseStore,
    split: FrozenSplit,
    *,
    track: Name,
    windows: int,
    limits: StageLimits,
    progress: Progress,
) -> None:
    """Write the training bundle of a frozen split, from the store it was frozen from.

    Args:
        windows: of each test image, which the bundle states.
    """
    by_id = {case.case_id: case for case in store.cases}
    rows = [row for row in split.rows if row.part == "train"]
    records = []
    for done, row in enumerate(rows, start=1):
        case = by_id[row.case_id]
        write_atomically(folder / "images" / f"{case.case_id}.png", store.image_file(case))
        write_atomically(folder / "masks" / f"{case.case_id}.png", store.mask_file(case))
        records.append(
            {
                "case_id": case.case_id,
                "fold": row.fold,
                "class": case.label,
                "patient_group": row.patient_group,
                "height": case.height,
                "width": case.width,
                "spacing_row_mm": case.spacing_row_mm,
                "spacing_col_mm": case.spacing_col_mm,
                "image_sha256": case.image_sha256,
                "mask_sha256": case.mask_sha256,
            }
        )
        progress("training bundle", done, len(rows))
    import pandas as pd  # noqa: PLC0415  takes a second to import

    from harness.export.citation import citation, release_of  # noqa: PLC0415  all datasets

    table = pd.DataFrame(records).to_csv(index=False, lineterminator="\n").encode()
    write_atomically(folder / "cases.csv", table)
    lock = split.lock
    text = citation(lock, (by_id[row.case_id] for row in rows))
    write_atomically(folder / "CITATION", text.encode())
    write_atomically(folder / HELPER.name, HELPER.read_bytes())
    release = release_of(lock.dataset)
    bundle = TrainingBundle(
        dataset=lock.dataset,
        track=track,
        split_version=lock.version,
        split_digest=lock.digest,
        folds=lock.folds,
        cases=len(records),
        cases_sha256=sha256_bytes(table),
        test_cases=max(len(split.hidden(part)) for part in lock.hidden_parts),
        windows=windows,
        infer=limits.infer,
        source=Source(cite=release.paper, release=release.download, terms=release.terms),
        model=limits.model,
    )
    write(bundle, folder / "bundle.json")


def _cases(table: bytes) -> tuple[TrainingCase, ...]:
    import pandas as pd  # noqa: PLC0415  takes a second to import

    rows = pd.read_csv(io.BytesIO(table), dtype={"case_id": str, "patient_group": str})
    return tuple(
        TrainingCase(
            SealedCase(
                case_id=row["case_id"],
                height=row["height"],
                width=row["width"],
                file=f"{row['case_id']}.png",
                label=row["class"],
                patient_group=row["patient_group"] if pd.notna(row["patient_group"]) else None,
                spacing_mm=(row["spacing_row_mm"], row["spacing_col_mm"])
                if pd.notna(row["spacing_row_mm"])
                else None,
            ),
            int(row["fold"]),
        )
        for row in rows.to_dict("records")
    )

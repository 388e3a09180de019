"""The formats: where each has its images and masks, which grey value is a lesion, and its lists.

What each tool reads was taken from its own code: nnU-Net 2.8 (`verify_dataset_integrity`,
`nnUNetTrainer.do_split`), MONAI 1.6 (`load_decathlon_datalist`, Auto3DSeg), and the loaders of
CMU-Net, CMUNeXt and U-Bench (`MedicalDataSets`).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from evaluator.files import pretty_json
from harness.export.cases import Cases, Item
from harness.export.citation import release_of
from harness.export.coco import instances

File = tuple[str, bytes]  # its path in the export, and what is in it


class Format(StrEnum):
    """Whose code an export is for."""

    NNUNET = "nnunet"
    MONAI = "monai"
    NAMES = "names"
    COCO = "coco"
    CSV = "csv"


@dataclass(frozen=True)
class Layout:
    """Where a format has its files."""

    image: Callable[[Item], str]
    mask: Callable[[Item], str] | None  # None: lesions are in the lists
    lists: Callable[[], Iterable[File]]
    lesion: int = 1  # the grey value of a lesion's pixel; every other is 0


def _nnunet(cases: Cases, dataset_id: int) -> Layout:
    """nnU-Net's raw dataset, and the folds where its trainer looks for them."""
    name = re.sub("[^A-Za-z0-9]", "_", f"{cases.lock.dataset}_{cases.lock.version}")
    name = f"Dataset{dataset_id:03d}_{name}"

    def lists() -> Iterator[File]:
        release = release_of(cases.lock.dataset)
        document = {
            "channel_names": {"0": "ultrasound"},  # z-scores an image, as for any name but CT
            "labels": {"background": 0, "lesion": 1},
            "numTraining": len(cases.training),
            "file_ending": ".png",
            "overwrite_image_reader_writer": "NaturalImage2DIO",
            "name": name,
            "reference": release.paper,
            "licence": release.terms,
            "description": f"Split {cases.lock.digest}; see split.json and CITATION",
        }
        yield f"nnUNet_raw/{name}/dataset.json", pretty_json(document)
        folds = [
            {"train": _ids(training), "val": _ids(validation)}
            for training, validation in map(cases.of_fold, _folds(cases))
        ]
        yield f"nnUNet_preprocessed/{name}/splits_final.json", pretty_json(folds)

    side = {"train": "Tr", "test": "Ts"}
    return Layout(
        image=lambda item: f"nnUNet_raw/{name}/images{side[item.part]}/{item.case_id}_0000.png",
        mask=lambda item: f"nnUNet_raw/{name}/labels{side[item.part]}/{item.case_id}.png",
        lists=lists,
    )


def _monai(cases: Cases, _: int) -> Layout:
    """Decathlon datalists: all folds in one, as Auto3DSeg reads it, and each fold in its own."""

    def entry(item: Item) -> dict[str, Any]:
        shown = {"image": f"images/{item.case_id}.png"}
        if item.label is not None:
            shown |= {"label": f"labels/{item.case_id}.png", "class": item.label}
        return shown

    def lists() -> Iterator[File]:
        test = {key: [entry(item) for item in cases.test] for key in ("test", "testing")}
        folded = [entry(item) | {"fold": item.fold} for item in cases.training]
        yield "datalist.json", pretty_json({"training": folded} | (test if cases.test else {}))
        for fold in _folds(cases):
            sides = zip(("training", "validation"), cases.of_fold(fold), strict=True)
            document = {side: [entry(item) for item in items] for side, items in sides}
            yield f"fold-{fold}.json", pretty_json(document | (test if cases.test else {}))

    return Layout(_in("images"), _in("labels"), lists)


def _names(cases: Cases, _: int) -> Layout:
    """Names without a suffix, one a line. `train.txt` and `val.txt`, the defaults, are fold 0."""

    def lists() -> Iterator[File]:
        sides = [zip(("train", "val"), cases.of_fold(n), strict=True) for n in _folds(cases)]
        named = {f"fold{n}_{side}": items for n, each in enumerate(sides) for side, items in each}
        named |= {"train": named["fold0_train"], "val": named["fold0_val"], "test": cases.test}
        for name, items in named.items():
            if items:
                yield f"{name}.txt", "".join(f"{item.case_id}\n" for item in items).encode()

    return Layout(_in("images"), _in("masks/0"), lists, lesion=255)


def _csv(cases: Cases, _: int) -> Layout:
    """One table of all cases; what is withheld or unknown is empty."""

    def lists() -> Iterator[File]:
        text = io.StringIO()
        rows = [_row(item) for item in cases.items]
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        yield "cases.csv", text.getvalue().encode()

    return Layout(_in("images"), _in("masks"), lists, lesion=255)


def _row(item: Item) -> dict[str, Any]:
    known = item.known
    return {
        "case_id": item.case_id,
        "part": item.part,
        "fold": item.fold,
        "class": item.label,
        "image": f"images/{item.case_id}.png",
        "mask": known and f"masks/{item.case_id}.png",
        "patient_group": item.group,
        "height": item.height,
        "width": item.width,
        "spacing_row_mm": item.spacing and item.spacing[0],
        "spacing_col_mm": item.spacing and item.spacing[1],
        "image_sha256": item.image_sha256,
        "device": known and known.device,
        "birads": known and known.birads,
        "source_image": known and known.source_image,
        "source_mask": known and known.source_mask,
    }


def _folds(cases: Cases) -> range:
    return range(cases.lock.folds)


def _ids(items: Iterable[Item]) -> list[str]:
    return [item.case_id for item in items]


def _in(folder: str) -> Callable[[Item], str]:
    return lambda item: f"{folder}/{item.case_id}.png"


FORMATS: Mapping[Format, Callable[[Cases, int], Layout]] = {
    Format.NNUNET: _nnunet,
    Format.MONAI: _monai,
    Format.NAMES: _names,
    Format.COCO: lambda cases, _: Layout(_in("images"), None, lambda: instances(cases)),
    Format.CSV: _csv,
}

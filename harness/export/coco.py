"""COCO's instances: one annotation a lesion, its mask as run lengths, which lose no pixel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.files import canonical_json
from harness.export.cases import Cases, Item
from harness.export.citation import release_of

# Normal cases have no lesion, and a category without one would have no average precision.
CATEGORIES = {"benign": 1, "malignant": 2}


def instances(cases: Cases) -> Iterator[tuple[str, bytes]]:
    """The files of `annotations/`: the training part, each side of each fold, the test part.

    A test part without labels is under COCO's own name for images without annotations.
    """
    numbers = {item.case_id: number for number, item in enumerate(cases.items, 1)}
    lesions = dict[str, list[dict[str, Any]]]()
    first = 1
    for item in cases.items:
        if item.known is not None:
            found = _lesions(cases.lesions(item), item, numbers[item.case_id], first=first)
            lesions[item.case_id] = found
            first += len(found)

    def document(items: Iterable[Item]) -> bytes:
        release, lock = release_of(cases.lock.dataset), cases.lock
        shown = [_image(item, numbers[item.case_id]) for item in items]
        about = f"{lock.dataset} {lock.version}, split {lock.digest}; see split.json and CITATION"
        value = {
            "info": {"description": about, "version": lock.version},
            "licenses": [{"id": 1, "name": release.terms, "url": release.download}],
            "categories": [
                {"id": number, "name": name, "supercategory": "lesion"}
                for name, number in CATEGORIES.items()
            ],
            "images": shown,
        }
        owned = [lesion for item in items for lesion in lesions.get(item.case_id, ())]
        return canonical_json(value | {"annotations": owned}) + b"\n"

    yield "annotations/instances_train.json", document(cases.training)
    for fold in range(cases.lock.folds):
        for side, items in zip(("train", "val"), cases.of_fold(fold), strict=True):
            yield f"annotations/instances_fold{fold}_{side}.json", document(items)
    if cases.test:
        kind = "image_info" if cases.test[0].known is None else "instances"
        yield f"annotations/{kind}_test.json", document(cases.test)


def _image(item: Item, number: int) -> dict[str, Any]:
    shown = {
        "id": number,
        "file_name": f"{item.case_id}.png",
        "width": item.width,
        "height": item.height,
        "license": 1,
        "patient_group": item.group,
    }
    return shown if item.label is None else shown | {"class": item.label}


def _lesions(
    numbered: NDArray[np.uint8], item: Item, image: int, *, first: int
) -> list[dict[str, Any]]:
    """The annotations of one image, numbered from `first`."""
    from scipy.ndimage import find_objects  # noqa: PLC0415  takes half a second to import

    found = []
    for number, (rows, columns) in enumerate(find_objects(numbered), 1):
        lesion = numbered == number
        found.append(
            {
                "id": first + number - 1,
                "image_id": image,
                "category_id": CATEGORIES[str(item.label)],
                "bbox": [
                    columns.start,
                    rows.start,
                    columns.stop - columns.start,
                    rows.stop - rows.start,
                ],
                "area": int(lesion.sum()),
                "segmentation": {"size": list(lesion.shape), "counts": run_lengths(lesion)},
                "iscrowd": 0,
            }
        )
    return found


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's run lengths of a (H, W) mask: column by column, of 0 and 1 in turn, from 0."""
    flat = np.concatenate(([False], mask.ravel(order="F")))
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(run) for run in np.diff(np.concatenate(([0], changes, [mask.size])))]

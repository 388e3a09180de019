"""BUS-UC: `Benign/images/001.png` with `Benign/masks/001.png`, and `Malignant` alike.

Both classes use the same names, so that the folder is part of a case's name, and a case id is a
hash of both and the image. `All` has the same images once more and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evaluator.documents.base import Label
from harness.datasets.base import Adapter, RawCase, Refusal, Release
from harness.datasets.layout import files_in, find_root, hashed_id, pair_up

FOLDERS: dict[str, Label] = {"Benign": "benign", "Malignant": "malignant"}


def read(raw: Path) -> Iterator[RawCase | Refusal]:
    """The cases of the folder at or below `raw` that contains both classes, by case id."""
    root = find_root(raw, tuple(FOLDERS), "BUS-UC")
    cases = list[RawCase]()
    for folder, label in FOLDERS.items():
        images, masks = files_in(root / folder / "images"), files_in(root / folder / "masks")
        pairs, refusals = pair_up(images, masks, lambda mask: mask.stem)
        yield from refusals
        for image, own_masks in pairs:
            case_id = hashed_id("busuc", f"{folder}/{image.stem}", image)
            cases.append(RawCase(case_id, label, None, image, own_masks))
    yield from sorted(cases, key=lambda case: case.case_id)


ADAPTER = Adapter(
    name="bus-uc",
    title="BUS-UC",
    release=Release(
        classes={"benign": 358, "malignant": 453},
        patients=None,
        paper="doi:10.1016/j.engappai.2023.107292",
        download="doi:10.17632/3ksd7w7jkx",
        terms="CC BY 4.0: cite the paper",
        may_show=True,
    ),
    read=read,
)

"""BUSI: `benign/benign (1).png`, `benign (1)_mask.png`, `_mask_1`, `_mask_2`.

The same for `malignant` and `normal`. Several masks of one image are the union of one lesion map.
Names tell the class, so that a case id is a hash of name and image; the store keeps the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from evaluator.documents.base import Label
from evaluator.errors import Code
from harness.datasets.base import Adapter, RawCase, Refusal, Release
from harness.datasets.layout import files_in, find_root, hashed_id, pair_up

LABELS: tuple[Label, ...] = ("benign", "malignant", "normal")
MASK = re.compile(r"(.+)_mask(_\d+)?")


def read(raw: Path) -> Iterator[RawCase | Refusal]:
    """The cases of the folder at or below `raw` that contains the three classes, by case id."""
    root = find_root(raw, LABELS, "BUSI")
    cases = list[RawCase]()
    for label in LABELS:
        files = files_in(root / label)
        masks = {path: match[1] for path in files if (match := MASK.fullmatch(path.stem))}
        images = [path for path in files if path not in masks]
        pairs, refusals = pair_up(images, masks, masks.__getitem__, several=True)
        yield from refusals
        for image, own_masks in pairs:
            if image.stem.startswith(label):
                case_id = hashed_id("busi", image.stem, image)
                case = RawCase(case_id, label, None, image, own_masks, one_lesion_a_mask=True)
                cases.append(case)
            else:
                yield Refusal(Code.DATA_REFUSED, image, f"lies in {label} but is named otherwise")
    yield from sorted(cases, key=lambda case: case.case_id)


ADAPTER = Adapter(
    name="busi",
    title="BUSI",
    release=Release(
        classes={"benign": 437, "malignant": 210, "normal": 133},
        patients=600,
        paper="doi:10.1016/j.dib.2019.104863",
        download="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        terms="CC BY 4.0, or CC0, by secondary records: cite the paper",
        may_show=True,
    ),
    read=read,
)

"""BUS-UCLM: `images/ALWI_000.png`, a mask of the same name, and `INFO.csv`.

The first four letters are the patient. Masks are coloured by class. Some images are smaller than
the 856 x 606 that `INFO.csv` states; their masks were drawn on the image stretched to that size (in
the release, the mask of HESN_002 lies half beside its lesion all the same).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from evaluator.documents.base import Label
from evaluator.errors import Code
from harness.datasets.base import RGB, Adapter, RawCase, Refusal, Release
from harness.datasets.layout import files_in, find_root, pair_up, read_table

LABELS: dict[str, Label] = {"benign": "benign", "malignant": "malignant", "normal": "normal"}
COLOURS: dict[Label, RGB] = {"benign": (0, 255, 0), "malignant": (255, 0, 0)}
OWN_NAME = re.compile(r"([A-Za-z]{4})_\d+")
SIZE = re.compile(r"(\d+)\s*[xX]\s*(\d+)")


def read(raw: Path) -> Iterator[RawCase | Refusal]:
    """The cases of the folder at or below `raw` that contains `images` and `masks`."""
    root = find_root(raw, ("images", "masks"), "BUS-UCLM")
    table = read_table(root / "INFO.csv", ("Image", "Resolution", "Label"))
    images, masks = files_in(root / "images"), files_in(root / "masks")
    pairs, refusals = pair_up(images, masks, lambda mask: mask.stem)
    yield from refusals
    for image, own_masks in pairs:
        row = table.row("Image", image.name, image)
        yield row if isinstance(row, Refusal) else _case(image, own_masks, row)


def _case(image: Path, masks: tuple[Path, ...], row: dict[str, str]) -> RawCase | Refusal:
    name, size = OWN_NAME.fullmatch(image.stem), SIZE.fullmatch(row["Resolution"])
    label = LABELS.get(row["Label"].lower())
    if name is None:
        return Refusal(Code.DATA_REFUSED, image, "is not named like ALWI_000.png")
    if label is None:
        return Refusal(Code.DATA_REFUSED, image, f"has the unknown class {row['Label']!r}")
    return RawCase(
        case_id=image.stem,
        label=label,
        patient=name[1].upper(),
        image=image,
        masks=masks,
        stated_size=(int(size[2]), int(size[1])) if size else None,
        mask_colours=COLOURS,
    )


ADAPTER = Adapter(
    name="bus-uclm",
    title="BUS-UCLM",
    release=Release(
        classes={"benign": 174, "malignant": 90, "normal": 419},
        patients=38,
        paper="doi:10.1038/s41597-025-04562-3",
        download="doi:10.17632/7fvgj4jsp7",
        terms="CC BY 4.0, elsewhere CC BY-NC 4.0: treat as non-commercial, cite the paper",
        may_show=True,
    ),
    read=read,
)

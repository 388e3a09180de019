"""BUS-BRA: `Images/bus_0001-l.png`, `Masks/mask_0001-l.png`, and `bus_data.csv`.

The suffix is the side (l, r) or s for a single image; the number is the patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from evaluator.documents.base import Label
from evaluator.errors import Code
from harness.datasets.base import Adapter, RawCase, Refusal, Release
from harness.datasets.layout import files_in, find_root, pair_up, read_table

LABELS: dict[str, Label] = {"benign": "benign", "malignant": "malignant"}
COLUMNS = ("ID", "Case", "Pathology", "BIRADS", "Device", "Width", "Height", "BBOX")
OWN_NAME = re.compile(r"bus_(\d+)-([lrs])")


def read(raw: Path) -> Iterator[RawCase | Refusal]:
    """The cases of the folder at or below `raw` that contains `Images` and `Masks`."""
    root = find_root(raw, ("Images", "Masks"), "BUS-BRA")
    table = read_table(root / "bus_data.csv", COLUMNS)
    pairs, refusals = pair_up(
        files_in(root / "Images"),
        files_in(root / "Masks"),
        lambda mask: mask.stem.replace("mask_", "bus_", 1),
    )
    yield from refusals
    for image, masks in pairs:
        row = table.row("ID", image.stem, image)
        yield row if isinstance(row, Refusal) else _case(image, masks, row)


def _case(image: Path, masks: tuple[Path, ...], row: dict[str, str]) -> RawCase | Refusal:
    name = OWN_NAME.fullmatch(image.stem)
    label = LABELS.get(row["Pathology"].lower())
    if name is None:
        return Refusal(Code.DATA_REFUSED, image, "is not named like bus_0001-l.png")
    if label is None:
        return Refusal(Code.DATA_REFUSED, image, f"has the unknown class {row['Pathology']!r}")
    if row["Case"].lstrip("0") != name[1].lstrip("0"):
        reason = f"is of patient {name[1]} by its name but of {row['Case']} by bus_data.csv"
        return Refusal(Code.DATA_REFUSED, image, reason)
    height, width = _whole_numbers(row["Height"]), _whole_numbers(row["Width"])
    box = _whole_numbers(row["BBOX"])
    return RawCase(
        case_id=image.stem,
        label=label,
        patient=name[1],
        image=image,
        masks=masks,
        device=row["Device"] or None,
        birads=row["BIRADS"] or None,
        stated_size=(height[0], width[0]) if height and width else None,
        stated_box=(box[0], box[1], box[2], box[3]) if len(box) == 4 else None,
    )


def _whole_numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


ADAPTER = Adapter(
    name="busbra",
    title="BUS-BRA",
    release=Release(
        classes={"benign": 1268, "malignant": 607},
        patients=1064,
        paper="doi:10.1002/mp.16812",
        download="doi:10.5281/zenodo.8231412",
        terms="CC BY 4.0 (the archive adds MIT-like terms): keep them, cite the paper",
        may_show=True,
    ),
    read=read,
)

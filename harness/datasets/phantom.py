"""Phantoms: simulated images that look like breast ultrasound, for those who have no data.

`generate` writes a folder in the layout of `generic.py`: `images/`, `masks/`, `phantoms.json` and,
last, `cases.csv`. Patients have one lesion in two or three views, and some a view of the other,
normal breast; others are normal on both sides. Names do not tell the class.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.random import RandomState
from pydantic import Field

from evaluator.documents.base import Contract, Label, read, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import write_atomically
from evaluator.progress import Progress, quiet
from harness.datasets import generic
from harness.datasets.base import Adapter, Release
from harness.datasets.speckle import Lesion, View, draw_lesion, scan
from harness.folders import is_free, one_at_a_time, require_same, whole_folder
from harness.store import png_bytes

BLOCK: tuple[Label, ...] = ("benign",) * 4 + ("malignant",) * 4 + ("normal",) * 2
BIRADS = {"benign": ("2", "3", "4"), "malignant": ("4", "5"), "normal": ("1",)}
SPACING = ["spacing_row_mm", "spacing_col_mm"]
COLUMNS = ["case_id", "class", "patient", "image", "mask", *SPACING, "device", "birads"]
PATIENTS, SEED = 60, 42  # where nobody says how many, and which
GENERATED = "phantoms.json"


@dataclass(frozen=True)
class Shot:
    """One image to be taken of a patient."""

    name: str
    label: Label
    view: View
    lesion: Lesion | None
    birads: str


def _rng(*key: object) -> RandomState:
    """A stream of its own for each key, so that more patients never change the first ones."""
    digest = hashlib.sha256(":".join(map(str, key)).encode()).digest()
    return RandomState(int.from_bytes(digest[:4], "big"))


def label_of(patient: int, seed: int) -> Label:
    """The class of a patient: every ten in a row hold four benign, four malignant, two normal."""
    block, place = divmod(patient, len(BLOCK))
    order = _rng(seed, "block", block).permutation(len(BLOCK))
    return BLOCK[int(order[place])]


def _view(rng: RandomState, layers: tuple[float, float, float, float]) -> View:
    shape = (rng.randint(160, 221), rng.randint(170, 241))
    return View(
        shape=shape,
        spacing=round(rng.uniform(34, 40) / shape[0], 4),
        layers=layers,
        attenuation=rng.uniform(0.15, 0.7),
        dynamic_range=rng.uniform(44, 58),
    )


def _seen_again(rng: RandomState, lesion: Lesion) -> Lesion:
    """The same lesion from another angle."""
    scale, stretch = rng.uniform(0.85, 1.15), rng.uniform(0.9, 1.1)
    return replace(
        lesion,
        depth=lesion.depth + rng.uniform(-1.5, 1.5),
        radii=(lesion.radii[0] * scale * stretch, lesion.radii[1] * scale),
        tilt=lesion.tilt + rng.uniform(-0.2, 0.2),
        waves=tuple((size, phase + rng.uniform(-0.4, 0.4)) for size, phase in lesion.waves),
    )


def shots_of(patient: int, seed: int) -> Iterator[Shot]:
    """All images of one patient, decided but not yet taken."""
    rng, label, name = _rng(seed, "patient", patient), label_of(patient, seed), f"{patient + 1:04d}"
    begin = rng.uniform(1.4, 2.2), rng.uniform(5, 9), rng.uniform(21, 25)
    layers = (*begin, begin[2] + rng.uniform(2, 4))
    side, other = ("l", "r") if rng.uniform() < 0.5 else ("r", "l")
    if label == "normal":
        for one_side in ("l", "r"):
            yield Shot(f"phantom_{name}-{one_side}1", label, _view(rng, layers), None, "1")
        return
    lesion = draw_lesion(rng, malignant=label == "malignant")
    birads = BIRADS[label][rng.randint(len(BIRADS[label]))]
    for number in range(1, rng.randint(2, 4) + 1):
        view, seen = _view(rng, layers), _seen_again(rng, lesion)
        yield Shot(f"phantom_{name}-{side}{number}", label, view, seen, birads)
    if rng.uniform() < 0.2:
        yield Shot(f"phantom_{name}-{other}1", "normal", _view(rng, layers), None, "1")


class Generated(Contract):
    """`phantoms.json`: what the phantoms in a raw folder were generated from."""

    schema_: Literal["busbench/phantoms/v1"] = Field(default="busbench/phantoms/v1", alias="schema")
    patients: int
    seed: int


def generate(
    raw: Path, patients: int | None = None, seed: int | None = None, *, progress: Progress = quiet
) -> None:
    """Write the raw folder of `patients` phantoms, or find it there.

    The same seed gives the same images, and the first patients of a larger set are those of a
    smaller one.

    Raises:
        BusbenchError: `output-exists` where `raw` is taken, by other phantoms too; `usage` for
            less than one patient; see also `whole_folder`.
    """
    if patients is not None and patients < 1:
        raise BusbenchError(Code.USAGE, f"{patients} patients are none.", "Ask for at least one.")
    with one_at_a_time(raw):
        _generate(raw, patients, seed, progress=progress)


def _generate(raw: Path, patients: int | None, seed: int | None, *, progress: Progress) -> None:
    if (raw / GENERATED).is_file():
        found = read(Generated, raw / GENERATED, Code.DATA_REFUSED, remedy="Remove the folder.")
        differing = {
            "--patients": patients not in (None, found.patients),
            "--seed": seed not in (None, found.seed),
        }
        return require_same(raw, differing)
    if patients is seed is None and not is_free(raw):
        return None  # somebody's own copy of phantoms
    patients, seed = PATIENTS if patients is None else patients, SEED if seed is None else seed
    with whole_folder(raw, last=generic.TABLE) as partial:
        rows = []
        for patient in range(patients):
            progress("generate phantoms", patient, patients)
            rows += [_take(partial, shot, patient, seed=seed) for shot in shots_of(patient, seed)]
        progress("generate phantoms", patients, patients)
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write(Generated(patients=patients, seed=seed), partial / GENERATED)
        write_atomically(partial / generic.TABLE, table.getvalue().encode())
    return None


def _take(root: Path, shot: Shot, patient: int, *, seed: int) -> dict[str, str]:
    """Take one image, write it with its mask, and return its row of the table."""
    image, mask = scan(_rng(seed, "scan", shot.name), shot.view, shot.lesion)
    files = f"images/{shot.name}.png", f"masks/{shot.name}.png"
    write_atomically(root / files[0], png_bytes(np.rint(image).astype(np.uint8)))
    write_atomically(root / files[1], png_bytes(mask))
    spacing = str(shot.view.spacing)
    values = (shot.name, shot.label, f"{patient + 1:04d}", *files)
    return dict(zip(COLUMNS, (*values, spacing, spacing, "simulated", shot.birads), strict=True))


ADAPTER = Adapter(
    name="phantom",
    title="Phantoms",
    release=Release(
        classes={},
        patients=None,
        paper="none: simulated",
        download="generated by `busbench prepare phantom`",
        terms="none: no patient was scanned",
        may_show=True,
    ),
    read=generic.read,
    synthetic=True,
)

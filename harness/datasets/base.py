"""The protocol of dataset adapters: what each of them provides.

An adapter is one file. It knows the layout of one release, as downloaded, and nothing about
pixels: it lists raw cases, in sorted order, and what the release claims about them. Decoding,
repairing and refusing are the same for all datasets and are in `decode.py` and `repair.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluator.documents.base import Label
from evaluator.errors import BusbenchError, Code

RGB = tuple[int, int, int]

# What to do about a refused file where the refusal itself knows nothing better.
REMEDIES = {
    Code.IMAGE_UNREADABLE: "Download that file again, or leave such cases out with --skip-refused.",
    Code.MASK_MISSING: "Restore the missing file, or leave such cases out with --skip-refused.",
    Code.DATA_REFUSED: "Correct it at its source, or leave such cases out with --skip-refused.",
}


@dataclass(frozen=True)
class Release:
    """What the publishers state: shown beside what was found."""

    classes: Mapping[Label, int]  # images a class; empty where nothing is stated
    patients: int | None
    paper: str  # DOI of the paper to cite, or what replaces it
    download: str  # where to get it, as DOI or page
    terms: str
    may_show: bool = False  # whether the terms let anybody publish some of the images


@dataclass(frozen=True)
class RawCase:
    """One image as the release has it, before a pixel is read."""

    case_id: str
    label: Label
    patient: str | None
    image: Path
    masks: tuple[Path, ...]  # their union is the mask; empty only where none belongs to it
    spacing: tuple[float, float] | None = None  # (row, column) in millimetres
    device: str | None = None
    birads: str | None = None
    stated_size: tuple[int, int] | None = None  # (height, width) claimed by the metadata
    stated_box: tuple[int, int, int, int] | None = None  # lesion (x, y, width, height), claimed
    mask_optional: bool = False  # a normal case may come without a mask file
    one_lesion_a_mask: bool = False  # else a mask file's values or connected areas are its lesions
    mask_colours: Mapping[Label, RGB] = field(default_factory=dict)  # where colour means class
    repairs: tuple[str, ...] = ()  # what the adapter repaired in the metadata


@dataclass(frozen=True)
class Refusal:
    """A file that cannot become a case, and why: `file` `reason`."""

    code: Code
    file: Path
    reason: str  # completes the sentence that begins with the file's name
    remedy: str = ""

    def error(self) -> BusbenchError:
        """The refusal as an error with someone to blame."""
        remedy = self.remedy or REMEDIES[self.code]
        return BusbenchError(self.code, f"{self.file} {self.reason}.", remedy)


class RefusedError(Exception):
    """Raised inside the reading of one case; never leaves `prepare`, which collects them."""

    def __init__(self, code: Code, file: Path, reason: str, *, remedy: str = "") -> None:
        self.refusal = Refusal(code, file, reason, remedy)
        super().__init__(f"{file} {reason}")


@dataclass(frozen=True)
class Adapter:
    """One dataset: its names, what its release states, and how its folder is read."""

    name: str
    title: str
    release: Release
    read: Callable[[Path], Iterable[RawCase | Refusal]]  # raw folder -> cases in sorted order
    synthetic: bool = False  # generated images, which show no patient

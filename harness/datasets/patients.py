"""Names of patients: one patient under two spellings would be on both sides of a split."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from evaluator.errors import BusbenchError, Code

# What spreadsheets and people write into an empty cell.
NO_NAMES = {"nan", "na", "n/a", "null", "none", "unknown", "-", "?"}


def spelling(patient: str) -> tuple[str | int, ...]:
    """What stays of a name without case, leading zeros, `.0`, spaces and separators.

    Digits and letters stay apart: `P1-2` is not `P12`.
    """
    folded = unicodedata.normalize("NFKC", patient).casefold().strip()
    whole = re.sub(r"(?<=\d)\.0+$", "", folded)
    parts = re.findall(r"\d+|[^\W\d_]+", whole)
    return tuple(int(part) if part.isdecimal() else part for part in parts) or (folded,)


def require_one_spelling(raw: Path, patients: Iterable[str | None]) -> None:
    """Refuse a dataset in which one patient may have two names.

    Raises:
        BusbenchError: `data-refused`, with both spellings, or with a name that says "unknown".
    """
    remedy = "Give each patient one spelling, and leave the cell empty where nobody knows."
    seen: dict[tuple[str | int, ...], str] = {}
    for patient in sorted({name for name in patients if name is not None}):
        if patient.casefold().strip() in NO_NAMES:
            message = f"The table in {raw} names a patient {patient!r}, which is no name."
            raise BusbenchError(Code.DATA_REFUSED, message, remedy)
        other = seen.setdefault(spelling(patient), patient)
        if other != patient:
            message = f"The table in {raw} names patients {other!r} and {patient!r}: one or two?"
            raise BusbenchError(Code.DATA_REFUSED, message, remedy)

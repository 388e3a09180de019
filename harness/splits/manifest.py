"""The frozen split on disk, and the check that it agrees with itself.

DIR/split.csv    one row a case; the class of a test or final case is withheld
DIR/lock.json    what was asked, counts, the audit's verdict, digests, commitments
DIR/audit.json   where the groups come from: an explanation, not covered by the lock
DIR/croissant.json  the same for machines, see `croissant`; not covered by the lock either
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import Field, StringConstraints, ValidationError, model_validator

from evaluator.documents.base import CaseId, Contract, Digest, Label, read
from evaluator.documents.reading import read_bytes
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes
from harness.challenge import HiddenPart
from harness.splits.drawing import Part
from harness.splits.lock import SplitLock

REMEDY = "Fetch the published split again, or freeze a new version."
COLUMNS = ("case_id", "part", "fold", "class", "patient_group", "image_sha256")
GroupName = Annotated[str, StringConstraints(pattern=r"^g[0-9]{4,}$")]


class SplitRow(Contract):
    """One case of a split, as everybody may see it."""

    case_id: CaseId
    part: Part
    fold: int | None = Field(ge=0, le=19)  # None for a hidden case
    label: Label | None = Field(alias="class")  # withheld, None, for a hidden case
    patient_group: GroupName
    image_sha256: Digest

    @model_validator(mode="after")
    def _withheld(self) -> Self:
        if {self.part != "train", self.fold is None, self.label is None} == {True, False}:
            raise ValueError("a training case has a fold and a class, a hidden case neither")
        return self

    @property
    def line(self) -> str:
        """The row as it is in split.csv, without the line's end."""
        fields = [self.case_id, self.part, self.fold, self.label, self.patient_group]
        return ",".join("" if f is None else str(f) for f in [*fields, self.image_sha256])

    @property
    def digest(self) -> str:
        """SHA-256 of the line, by which the lock names a row that changed."""
        return sha256_bytes(self.line.encode())


def table_bytes(rows: Iterable[SplitRow]) -> bytes:
    """The bytes of split.csv; no field can contain a comma, a quote or a line's end."""
    return "".join(
        f"{line}\n" for line in (",".join(COLUMNS), *(row.line for row in rows))
    ).encode()


def parse_table(data: bytes, where: str) -> tuple[SplitRow, ...]:
    """The rows of a split.csv.

    Raises:
        BusbenchError: `split-invalid`, naming the line that is wrong.
    """
    try:
        if sum(map(data.count, (b",", b"\n", b"\r"))) > SplitLock.bounds.values:
            raise ValueError("it contains too many fields")
        lines = list(csv.reader(io.StringIO(data.decode("utf-8")), strict=True))
    except (ValueError, csv.Error) as error:
        raise BusbenchError(
            Code.SPLIT_INVALID, f"{where} cannot be read: {error}.", REMEDY
        ) from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise BusbenchError(Code.SPLIT_INVALID, f"{where} has other columns.", REMEDY)
    return tuple(_parse_row(line, f"{where}, line {n}") for n, line in enumerate(lines[1:], 2))


def _parse_row(fields: list[str], where: str) -> SplitRow:
    try:
        values = dict(zip(COLUMNS, (field or None for field in fields), strict=True))
        return SplitRow.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc'])) or 'row'}: {first['msg']}"
    except ValueError:
        why = "another number of fields"
    raise BusbenchError(Code.SPLIT_INVALID, f"{where}: {why}.", REMEDY)


def complete_lock(fields: Mapping[str, Any]) -> SplitLock:
    """The lock with these fields, which are all but its digests over itself."""
    nothing = {"field_digests": {}, "digest": "0" * 64}
    draft = SplitLock.model_validate({**fields, **nothing})
    named = draft.model_copy(update={"field_digests": field_digests(draft)})
    return named.model_copy(update={"digest": lock_digest(named)})


def field_digests(lock: SplitLock) -> dict[str, str]:
    """SHA-256 of every field's canonical JSON, but for the digests over the lock itself."""
    document = lock.document()
    return {
        name: sha256_bytes(canonical_json(value))
        for name, value in document.items()
        if name not in ("field_digests", "digest")
    }


def lock_digest(lock: SplitLock) -> str:
    """SHA-256 of the canonical JSON of all fields but this one."""
    document = lock.document()
    del document["digest"]
    return sha256_bytes(canonical_json(document))


@dataclass(frozen=True)
class FrozenSplit:
    """A split that was frozen, and agrees with its lock."""

    path: Path
    lock: SplitLock
    rows: tuple[SplitRow, ...]

    def hidden(self, part: HiddenPart | None = None) -> set[CaseId]:
        """The cases of a part whose labels are withheld; None: of all such parts."""
        parts = self.lock.hidden_parts if part is None else (part,)
        return {row.case_id for row in self.rows if row.part in parts}

    @classmethod
    def open(cls, path: Path) -> FrozenSplit:
        """Open a frozen split and compare it with its lock.

        Raises:
            BusbenchError: `split-invalid` where it is missing, incomplete or was changed.
        """
        split, differences = inspect(path)
        if differences:
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            raise BusbenchError(Code.SPLIT_INVALID, f"{path}: {differences[0]}{more}.", REMEDY)
        return split


def inspect(path: Path) -> tuple[FrozenSplit, list[str]]:
    """A frozen split, and in what it contradicts itself.

    Raises:
        BusbenchError: `split-invalid` where it is missing or cannot be read at all.
    """
    lock = read(SplitLock, path / "lock.json", Code.SPLIT_INVALID, remedy=REMEDY)
    limit = SplitLock.bounds.bytes
    data = read_bytes(path / "split.csv", limit, Code.SPLIT_INVALID, remedy=REMEDY)
    split = FrozenSplit(path, lock, parse_table(data, str(path / "split.csv")))
    checks = (_lock_differs(lock), _rows_differ(split, data), _does_not_add_up(split))
    return split, [difference for check in checks for difference in check]


def _lock_differs(lock: SplitLock) -> Iterator[str]:
    now = field_digests(lock)
    for name in sorted(now.keys() | lock.field_digests.keys()):
        if now.get(name) != lock.field_digests.get(name):
            yield f"lock.json: the field {name} was changed"
    if lock_digest(lock) != lock.digest:
        yield "lock.json: its digest does not match"


def _rows_differ(split: FrozenSplit, data: bytes) -> Iterator[str]:
    now = {row.case_id: row.digest for row in split.rows}
    for case_id in sorted(now.keys() | split.lock.rows.keys()):
        if case_id not in now:
            yield f"split.csv: the row of {case_id} is missing"
        elif case_id not in split.lock.rows:
            yield f"split.csv: the row of {case_id} was added"
        elif now[case_id] != split.lock.rows[case_id]:
            yield f"split.csv: the row of {case_id} was changed"
    if sha256_bytes(data) != split.lock.split_sha256:
        yield "split.csv: its digest does not match lock.json"


def _does_not_add_up(split: FrozenSplit) -> Iterator[str]:
    """What a lock would betray that was forged with digests that fit."""
    lock = split.lock
    hidden = {row.case_id for row in split.rows if row.part != "train"}
    if lock.commitments.keys() != hidden:
        yield f"lock.json: commitments are not those of the {' and '.join(lock.hidden_parts)} cases"
    if lock.masks.keys() != {row.case_id for row in split.rows} - hidden:
        yield "lock.json: masks are not those of the training cases"
    for part in ("train", *(f"fold-{fold}" for fold in range(lock.folds))):
        labels = [row.label for row in split.rows if part in ("train", f"fold-{row.fold}")]
        counted = {label: n for label, n in lock.counts.get(part, {}).items() if n}
        if counted != {label: labels.count(label) for label in set(labels) - {None}}:
            yield f"lock.json: counts of {part} are not those of split.csv"
    for part in get_args(HiddenPart):
        if sum(lock.counts.get(part, {}).values()) != len(split.hidden(part)):
            yield f"lock.json: counts of {part} are not those of split.csv"
    for part in sorted({row.part for row in split.rows} - {"train", *lock.hidden_parts}):
        yield f"split.csv: it has a part {part}, and lock.json none"
    if lock.policy == "patient":
        yield from _torn_groups(split.rows)


def _torn_groups(rows: Iterable[SplitRow]) -> Iterator[str]:
    sides: dict[str, set[tuple[str, int | None]]] = {}
    for row in rows:
        sides.setdefault(row.patient_group, set()).add((row.part, row.fold))
    for group in sorted(group for group, where in sides.items() if len(where) > 1):
        yield f"split.csv: the group {group} is on two sides"

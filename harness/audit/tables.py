"""Splits in tables: a part or a fold a row, BUS-BRA's official folds, or a column a part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from harness.audit.words import Part, fold_name, part_of
from harness.datasets.layout import read_table

Row = dict[str, str]
Named = dict[Part, list[str]]  # part -> the names in it
NamedSplits = dict[str, Named]  # name of the split, "" where it is the only one -> its parts
REMEDY = (
    "Give a table with a column case_id or image, and a column part (train, val, test) or fold."
)
NAMES = (
    "caseid imageid imagename imagefilename filename image images imagepath imgname imgpath img "
    "file id name case path"
)
PART_HEADS = {
    *("part", "split", "set", "subset", "partition", "phase", "usage", "datasplit"),
    *("datasetsplit", "trainvaltest", "traintestsplit"),
}
FOLD_HEADS = {"fold", "kfold", "foldid", "cvfold", "foldnumber", "foldno"}
VALIDATION, TRAINING = "0", "1"  # BUS-BRA's flags: 0 marks the smaller share, about a fifth
EMPTY = {"", "nan", "none", "na"}


@dataclass(frozen=True)
class SplitTable:
    """A table's rows, and what its columns are."""

    path: Path
    rows: Sequence[Row]
    names: str  # the column of names
    parts: tuple[str, ...]  # columns that name parts
    fold: str | None
    flags: dict[str, str]  # fold -> the column of its inner validation flags

    def refuse(self, what: str, remedy: str = REMEDY) -> BusbenchError:
        """The error that this table is; `what` ends its sentence."""
        return BusbenchError(Code.SPLIT_INVALID, f"{self.path} {what}.", remedy)


def read_csv(path: Path) -> NamedSplits:
    """The splits that a table describes, by the columns it has.

    Raises:
        BusbenchError: `split-invalid` where it is no such table, or contradicts itself.
    """
    rows = _rows(path)
    heads = {head: re.sub(r"[\W_]", "", head.casefold()) for head in (rows[0] if rows else ())}
    lists = {head: part for head in heads if (part := part_of(head))}
    found = [head for name in NAMES.split() for head in heads if heads[head] == name]
    if not found and len(set(lists.values())) > 1:
        return {"": _columns(path, rows, lists)}
    kind = SplitTable(
        path=path,
        rows=rows,
        names=found[0] if found else "",
        parts=tuple(head for head in heads if _names_parts(heads[head], head, rows=rows)),
        fold=next((h for h in heads if heads[h] in FOLD_HEADS and not _all_parts(rows, h)), None),
        flags={heads[head].removeprefix("valid"): head for head in heads if _is_flag(heads[head])},
    )
    reader = next((read for fits, read in READERS if found and fits(kind)), None)
    if reader is None:
        raise kind.refuse("has none of the columns of a split")
    return reader(kind)


def names_in_table(path: Path) -> list[str]:
    """All names in a table that is one part's own; raises as `read_csv`."""
    rows = _rows(path)
    heads = {re.sub(r"[\W_]", "", head.casefold()): head for head in (rows[0] if rows else ())}
    column = next((heads[name] for name in NAMES.split() if name in heads), None)
    if column is None:
        raise BusbenchError(Code.SPLIT_INVALID, f"{path} has no column of names.", REMEDY)
    return [row[column] for row in rows if row[column]]


def _rows(path: Path) -> Sequence[Row]:
    try:
        return read_table(path, ()).rows
    except BusbenchError as error:
        raise BusbenchError(Code.SPLIT_INVALID, error.message, REMEDY) from error


def _columns(path: Path, rows: Sequence[Row], lists: dict[str, Part]) -> Named:
    """A column a part, each a list of names of its own length."""
    named: Named = {}
    for head, part in lists.items():
        if part in named:
            message = f"{path} has two columns of the part {part}."
            raise BusbenchError(Code.SPLIT_INVALID, message, REMEDY)
        named[part] = [row[head] for row in rows if row[head]]
    return named


def _is_flag(head: str) -> bool:
    return re.fullmatch(r"valid\d+", head) is not None


def _all_parts(rows: Iterable[Row], head: str) -> bool:
    values = {row[head] for row in rows} - {""}
    return bool(values) and all(map(part_of, values))


def _names_parts(plain: str, head: str, *, rows: Sequence[Row]) -> bool:
    """Whether a column names parts: `part`, or one of several as `fold_1`, `fold_2`."""
    if plain in PART_HEADS:
        return True
    numbered = plain.rstrip("0123456789") in PART_HEADS | FOLD_HEADS
    return numbered and _all_parts(rows, head)


def _by_fold(table: SplitTable) -> NamedSplits:
    """Each fold is held out in turn; BUS-BRA's `valid_k` are the inner flags of fold k."""
    assert table.fold
    _require_once(table, table.rows)
    splits: NamedSplits = {}
    for fold in _folds(table, table.rows):
        test = [row for row in table.rows if row[table.fold] == fold]
        inner = [row for row in table.rows if row[table.fold] not in (fold, "")]
        named = {"train": inner, "test": test}
        if fold in table.flags:
            flagged = {
                part: [row for row in inner if row[table.flags[fold]] == flag]
                for part, flag in (("train", TRAINING), ("val", VALIDATION))
            }
            if sum(map(len, flagged.values())) < len(inner):
                raise table.refuse(f"has cells in {table.flags[fold]} that are neither 0 nor 1")
            named |= flagged
        splits[f"fold {fold}"] = {p: [row[table.names] for row in r] for p, r in named.items()}  # type: ignore[misc]
    return splits


def _by_part(table: SplitTable) -> NamedSplits:
    """A part a row; folds, where there are any, are each fold's validation in the training part."""
    splits: NamedSplits = {}
    if table.fold and _repeated(table, table.rows):  # a row for each case and fold
        for fold in _folds(table, table.rows):
            rows = [row for row in table.rows if row[table.fold] == fold]
            splits[f"fold {fold}"] = _parts(table, rows, _one_column(table))
        return splits
    _require_once(table, table.rows)
    if len(table.parts) > 1:
        numbered = {head: re.sub(r"\D", "", head) for head in table.parts}
        if len(set(numbered.values())) < len(numbered) or not all(numbered.values()):
            raise table.refuse(f"names parts in {' and '.join(table.parts)}")
        return {fold_name([n]): _parts(table, table.rows, h) for h, n in numbered.items()}
    named = _parts(table, table.rows, table.parts[0])
    splits[""] = named
    if table.fold:
        training = [row for row in table.rows if part_of(row[table.parts[0]]) == "train"]
        for fold in _folds(table, training):
            held_out = [row[table.names] for row in training if row[table.fold] == fold]
            rest = [r[table.names] for r in training if r[table.fold] not in (fold, "")]
            splits[f"fold {fold}"] = {"train": rest, "val": held_out}
    return splits


def _one_column(table: SplitTable) -> str:
    if len(table.parts) > 1:
        raise table.refuse(f"names parts in {' and '.join(table.parts)}")
    return table.parts[0]


def _parts(table: SplitTable, rows: Iterable[Row], head: str) -> Named:
    named: Named = {}
    for row in rows:
        part = part_of(row[head])
        if part:
            named.setdefault(part, []).append(row[table.names])
        elif row[head].casefold() not in EMPTY:
            known = "Known are train, val, test and their common spellings."
            raise table.refuse(f"has the unknown part {row[head]!r} in its column {head}", known)
    return named


def _folds(table: SplitTable, rows: Iterable[Row]) -> list[str]:
    folds = {row[table.fold or ""] for row in rows} - {""}
    return sorted(folds, key=lambda fold: (len(fold), fold))


def _repeated(table: SplitTable, rows: Iterable[Row]) -> str:
    seen = set[str]()
    for row in rows:
        if row[table.names] in seen:
            return row[table.names]
        seen.add(row[table.names])
    return ""


def _require_once(table: SplitTable, rows: Iterable[Row]) -> None:
    again = _repeated(table, rows)
    if again:
        raise table.refuse(f"names the case {again} twice", "Name each case once.")


# What a table must have, and the reader of it; the first that fits.
READERS: tuple[tuple[Callable[[SplitTable], bool], Callable[[SplitTable], NamedSplits]], ...] = (
    (lambda table: bool(table.parts), _by_part),
    (lambda table: table.fold is not None, _by_fold),
)

"""Readers of the splits in a file: ours, a user's, or BUS-BRA's official folds.

Every reader turns a table into named splits, each a mapping from case id to part, where part
"test" is what is held out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from evaluator.errors import BusbenchError, Code
from harness.audit.verdict import TEST

Splits = dict[str, dict[str, str]]  # name of the split -> case id -> part
REMEDY = (
    "Give a CSV with the columns case_id and part (train, test), or one of BUS-BRA's fold files."
)
VALIDATION, TRAINING = "0", "1"  # BUS-BRA's flags: 0 marks the smaller share, about a fifth


def read_splits(path: Path) -> Splits:
    """The splits that a CSV describes, by the columns it has.

    Raises:
        BusbenchError: `split-invalid` where it is no such table, or names a case twice.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BusbenchError(Code.SPLIT_INVALID, f"{path} cannot be read as CSV.", REMEDY) from error
    for columns, reader in READERS:
        if not set(columns) <= set(table.columns):
            continue
        repeated = table[columns[0]][table[columns[0]].duplicated()]
        if not repeated.empty:
            message = f"{path} names the case {repeated.iloc[0]} twice."
            raise BusbenchError(Code.SPLIT_INVALID, message, "Name each case once.")
        return reader(table)
    raise BusbenchError(Code.SPLIT_INVALID, f"{path} has none of the columns of a split.", REMEDY)


def _parts(table: pd.DataFrame) -> Splits:
    """Columns case_id and part; a column fold, where there is one, adds each fold's validation."""
    part_of = dict(zip(table["case_id"], table["part"], strict=True))
    splits = {"test": part_of}
    if "fold" in table.columns:
        inner = table[(table["part"] != TEST) & (table["fold"] != "")]
        for fold in sorted(inner["fold"].unique()):
            held_out = inner["fold"] == fold
            splits[f"fold {fold}, validation"] = _held_out(inner["case_id"], held_out)
    return splits


def _official_folds(table: pd.DataFrame) -> Splits:
    """BUS-BRA: `kFold` is the outer test fold, `valid_k` the inner flags of fold k's training."""
    splits: Splits = {}
    for fold in sorted(table["kFold"].unique(), key=lambda value: (len(value), value)):
        splits[f"fold {fold}, test"] = _held_out(table["ID"], table["kFold"] == fold)
        flag = f"valid_{fold}"
        if flag in table.columns:
            inner = table[table[flag].isin((VALIDATION, TRAINING))]
            held_out = inner[flag] == VALIDATION
            splits[f"fold {fold}, validation"] = _held_out(inner["ID"], held_out)
    return splits


def _held_out(ids: pd.Series[str], held_out: pd.Series[bool]) -> dict[str, str]:
    return {
        str(case_id): TEST if out else "train" for case_id, out in zip(ids, held_out, strict=True)
    }


# The columns that mark a kind of file, the one with the case id first, and its reader.
READERS: tuple[tuple[tuple[str, ...], Callable[[pd.DataFrame], Splits]], ...] = (
    (("case_id", "part"), _parts),
    (("ID", "kFold"), _official_folds),
)

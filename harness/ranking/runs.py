"""Every case of the ledger's reports, from the organiser's runs.

A report is found among the runs by its identity, and its cases must add up to what it signs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from evaluator.documents.base import Digest, read
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file
from evaluator.predictions import DOCUMENT
from harness.evaluation.evaluate import REPORT
from harness.evaluation.stage_output import CASES, RESCORED
from harness.ledger import RecordedReport
from harness.ledger.attestation import SignedReport, stated_report
from harness.ranking.cases import COLUMNS, GAPS, CaseTable, average_folds, join

if TYPE_CHECKING:
    import pandas as pd

FIND = "Name the folder that `busbench evaluate --out` wrote, or evaluate the submission again."


def run_folders(runs: Sequence[Path]) -> dict[Digest, Path]:
    """Where each finished run is, or its scoring anew, by the identity of its report.

    Raises:
        BusbenchError: `cases-invalid` where one of `runs` is no folder.
    """
    for folder in runs:
        if not folder.is_dir():
            raise BusbenchError(Code.CASES_INVALID, f"{folder} is no folder of runs.", FIND)
    patterns = (f"*/{REPORT}", f"*/{RESCORED}/*/{REPORT}")
    reports = [p for folder in runs for each in patterns for p in sorted(folder.glob(each))]
    digests = ((identity_of(p), p.parent) for p in reports if (p.parent / CASES).exists())
    return {digest: folder for digest, folder in digests if digest is not None}


def identity_of(path: Path) -> Digest | None:
    """The identity of the report in a file; None where it is none: it will be missed by name."""
    try:
        signed = read(SignedReport, path, Code.CASES_INVALID, remedy=FIND)
        return stated_report(signed, str(path)).identity()
    except BusbenchError:
        return None


def kept_predictions(runs: Sequence[Path]) -> dict[Digest, Path]:
    """The folder of each run, by the digest of its predictions, which are in `infer` of it."""
    files = [file for folder in runs for file in sorted(folder.glob(f"*/infer/{DOCUMENT}"))]
    return {sha256_file(file): file.parents[1] for file in files}


def read_table(entries: Sequence[RecordedReport], folders: Mapping[Digest, Path]) -> CaseTable:
    """Every case of results that share a table, in their order.

    Args:
        folders: as `run_folders` finds them.

    Raises:
        BusbenchError: `cases-invalid` where no run contains one, or its cases contradict it.
    """
    cases = {entry.digest: read_case_values(entry, folders) for entry in entries}
    try:
        return join(cases)
    except ValueError as error:
        track = entries[0].report.track
        raise BusbenchError(Code.CASES_INVALID, f"The runs on {track}: {error}.", FIND) from error


def who(entry: RecordedReport) -> str:
    """Whose result this is, in a sentence."""
    report = entry.report
    return f"{report.method} of {report.team} on {report.track} (entry {entry.number})"


def read_case_values(entry: RecordedReport, folders: Mapping[Digest, Path]) -> pd.DataFrame:
    """One result's cases as `average_folds` gives them: a row a case, by its id.

    Raises:
        BusbenchError: as `read_table`.
    """
    report = entry.report
    name = who(entry)
    folder = folders.get(report.identity())
    if folder is None:
        raise BusbenchError(Code.CASES_INVALID, f"No run contains the report on {name}.", FIND)
    try:
        return average_folds(_rows(folder / CASES), report)
    except (OSError, ValueError) as error:
        message = f"{folder / CASES}, of {name}, cannot be used: {error}."
        raise BusbenchError(Code.CASES_INVALID, message, FIND) from error


def _rows(path: Path) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415  takes a second to import

    try:
        names = set(pq.read_schema(path).names)
        lacking = sorted(set(COLUMNS) - names)
        if lacking:
            raise ValueError(f"it lacks the column {lacking[0]}")
        there = [name for name in dict.fromkeys((*COLUMNS, *GAPS)) if name in names]
        table = pq.read_table(path, columns=there)
        return pd.DataFrame({name: table[name].to_pandas() for name in there})
    except pa.ArrowException as error:
        raise ValueError("it is no Parquet file") from error

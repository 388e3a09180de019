"""The part of a board that the documentation keeps: enough to read, check, rank and publish it.

    python -m benchmarks.board.keep BOARD --docs docs

writes DOCS/examples/board. No image, mask or key is in it but the public one.

    challenge.yaml, audits/     as declared, with the twins of the datasets
    ledger.jsonl, report.pub    the ledger, and the key that verifies it
    runs/, leak/runs/           of each run the signed report, and of each case what ranks it
    certificates.csv            what the audit says of each split
    curves.csv                  validation Dice of each fold, by epoch
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from benchmarks.board.plan import LEAK
from benchmarks.leak_study import certificate_rows
from evaluator.documents.base import read
from evaluator.errors import Code
from evaluator.files import write_atomically
from harness.audit.certificate import LeakCertificate
from harness.evaluation.evaluate import REPORT
from harness.evaluation.stage_output import CASES
from harness.ranking.cases import COLUMNS, GAPS
from harness.website.plots.curves import read_validations

KEPT = Path("examples") / "board"
SPLITS = (
    *("dataset", "split", "held out", "cases", "leaking", "patient", "identical"),
    *("near-duplicate", "cases without a known patient"),
)
CURVES = ("track", "network", "fold", "epoch", "dice")


def keep(board: Path, out: Path) -> None:
    """Write what is kept of `board` to `out`, in place of what was there."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name in ("challenge.yaml", "audits/cross-audit.json", "ledger.jsonl"):
        write_atomically(partial / name, (board / name).read_bytes())
    write_atomically(partial / "report.pub", (board / "keys" / "report.pub").read_bytes())
    for runs in (Path("runs"), Path(LEAK) / "runs"):
        source = board / runs.parent / "bench" / "runs"
        for report in sorted(source.glob(f"*/{REPORT}")):
            place = partial / runs / report.parent.name
            write_atomically(place / REPORT, report.read_bytes())
            write_atomically(place / CASES, _what_ranks(report.parent / CASES))
    certificates = sorted((board / "certificates").glob("*/*/certificate.json"))
    _write(partial / "certificates.csv", SPLITS, _certified(certificates))
    _write(partial / "curves.csv", CURVES, curves(board / "bench"))
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)


def _what_ranks(path: Path) -> bytes:
    """The columns of a table of cases that `busbench rank --cases` reads."""
    names = {*pq.read_schema(path).names}
    table = pq.read_table(path, columns=[n for n in dict.fromkeys((*COLUMNS, *GAPS)) if n in names])
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _certified(paths: Iterable[Path]) -> Iterator[tuple[object, ...]]:
    for path in paths:
        found = read(LeakCertificate, path, Code.STORE_INVALID, remedy="Audit the split again.")
        yield from certificate_rows(path.parent.name, found)


def curves(bench: Path) -> Iterator[tuple[object, ...]]:
    """The rows of `CURVES`: from the trainer's table where it was given, else from its log.

    The table is in `given/work`, or in `given/logs` where no checkpoints were brought along.
    """
    for cell in sorted({path.parent for path in bench.glob("*/*/fold-*")}):
        for fold in sorted(cell.glob("fold-*")):
            number = int(fold.name.removeprefix("fold-"))
            tables = [cell / "given" / where / f"{fold.name}.csv" for where in ("work", "logs")]
            log = fold / "submission.train.log"
            if there := [table for table in tables if table.exists()]:
                rows = pd.read_csv(there[0])
                points = [*zip(rows["epoch"], rows["dice"], strict=True)]
            else:
                found = read_validations(log) if log.exists() else []
                points = [(one.epoch, one.dice) for one in found]
            for epoch, dice in points:
                yield cell.parent.name, cell.name, number, epoch, f"{dice:.4f}"


def _write(path: Path, head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([head, *rows])
    write_atomically(path, buffer.getvalue().encode())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("board", type=Path, help="the folder that benchmarks.board made")
    parser.add_argument("--docs", type=Path, required=True, help="the documentation's folder")
    chosen = parser.parse_args()
    keep(chosen.board, chosen.docs / KEPT)
    print(f"Kept in {chosen.docs / KEPT}")


if __name__ == "__main__":
    main()

"""Work that cannot be counted is shown as that, and as no number, wherever a result is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evaluator.documents.inference import GateVerdict
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import ModelLimits
from harness.benchmark.table import Line, TrackTable
from harness.benchmark.table import to_markdown as benchmark_markdown
from harness.cli.show import print_verdict
from harness.ledger.report import Report
from harness.ranking import Board, to_latex, to_markdown
from harness.ranking.assembly import rank
from harness.ranking.tables import to_html
from harness.sealing.keys import Keys
from harness.website.pages.site import render
from tests.support.factories import TIME, digest_of, make_report, recorded
from tests.support.website import edition_of


def board(report: Report) -> Board:
    return Board(
        ledger_key=digest_of("key"),
        ledger_head=digest_of("head"),
        ledger_updated=TIME,
        ledger_reports=1,
        tracks=rank(recorded([report])),
    )


def benchmark(report: Report) -> str:
    line = Line(
        recipe="unext",
        network="unext",
        input=InputSpec(height=256, width=256, resize="letterbox"),
        report=report,
    )
    return benchmark_markdown([TrackTable(track="busbra", lines=(line,))])


TABLES: dict[str, Callable[[Report], str]] = {
    "markdown": lambda report: to_markdown(board(report)),
    "latex": lambda report: to_latex(board(report)),
    "html": lambda report: to_html(board(report)),
    "benchmark": benchmark,
}


@pytest.mark.parametrize("table", TABLES)
def test_no_table_has_a_number_for_work_that_was_not_counted(table: str) -> None:
    assert TABLES[table](make_report(gmacs=None)).count("not counted") == 1
    assert "not counted" not in TABLES[table](make_report(gmacs=1.42))


def test_no_page_has_a_number_for_work_that_was_not_counted(keys: Keys, tmp_path: Path) -> None:
    files = render(edition_of(keys, tmp_path, make_report(gmacs=None)))
    pages = [name for name, data in files.items() if b"not counted" in data]
    assert any(name.endswith("index.html") for name in pages) or len(pages) > 1
    assert any("submissions/" in name for name in pages)


def test_no_verdict_is_printed_with_a_number_that_was_not_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = make_report(gmacs=None).models
    verdict = GateVerdict(submission_sha256=digest_of("submission"), models=models)
    print_verdict(verdict, ModelLimits())
    assert "not counted" in capsys.readouterr().out

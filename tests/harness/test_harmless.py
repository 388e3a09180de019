"""Harmless text: nothing steers, nothing grows, and what forgets it fails the type check."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import LIMIT, MARKS, harmless
from harness.ranking.names import code, html, latex, markdown, spreadsheet
from tests.support import ROOT
from tests.support.hostile import BYTES, WORDS, outside_of_spans, steers

ANY = st.text(st.characters(codec=None, categories=None), max_size=80)
HOSTILE = st.one_of(ANY, st.sampled_from(sorted({**WORDS, **BYTES}.values())))


@given(text=HOSTILE, around=ANY)
def test_no_text_steers_anything(text: str, around: str) -> None:
    for each in (text, around + text, text + around):
        shown = harmless(each)
        assert steers(shown) == [] and "\n" not in shown
        assert harmless(str(shown)) == shown


@pytest.mark.parametrize("plane", range(17))
def test_no_code_point_is_both_shown_and_unseen(plane: int) -> None:
    for start in range(plane << 16, (plane + 1) << 16, 512):
        points = [chr(point) for point in range(start, start + 512)]
        assert steers(harmless("a".join(points))) == []
        dropped = [c for c in points if unicodedata.category(c)[0] in "LNPS" and not harmless(c)]
        assert set(dropped) <= set("\u115f\u1160\u3164\uffa0")


@given(text=ANY, limit=st.integers(1, 50))
def test_no_text_is_longer_than_its_limit(text: str, limit: int) -> None:
    assert len(harmless(text, limit)) <= limit
    assert len(harmless(text * 10_000)) <= LIMIT


def test_no_tower_of_marks_covers_other_lines() -> None:
    assert harmless("a" + "\u0301\u0489" * 99 + "b") == "a" + "\u0301\u0489" * (MARKS // 2) + "b"


@pytest.mark.parametrize(
    "text", ["U-Net (Jané, 2026)", "超声波 乳腺", "مرحبا", "한국어", "नमस्ते", "Ελλάδα", "🩺"]
)
def test_no_honest_name_is_changed(text: str) -> None:
    assert harmless(text) == text


@given(message=HOSTILE, remedy=HOSTILE, last=HOSTILE)
def test_no_error_steers_anything(message: str, remedy: str, last: str) -> None:
    error = BusbenchError(Code.USAGE, message, remedy, last_line=last)
    for text in (str(error), error.message, error.remedy, error.last_line, *error.args):
        assert steers(str(text)) == []


@given(text=HOSTILE)
def test_no_name_is_markup_in_any_format(text: str) -> None:
    span = code(text)
    assert outside_of_spans(span) == "" and "|" not in span and "@" not in span
    assert not spreadsheet(text).lstrip().startswith(tuple("=+-@＝＋－＠"))
    assert "<" not in html(text).removeprefix("<bdi>").removesuffix("</bdi>")
    cell = markdown(text)
    outside = outside_of_spans(cell if cell[:1] == "`" else cell.replace(r"\`", ""))
    assert "@" not in outside and "://" not in outside
    for shown in (span, spreadsheet(text), html(text), latex(text), cell):
        assert steers(shown.replace(r"\#\#", "")) == []


FORGETFUL = """
from ci.comment import _comment
from ci.public import Desk
from evaluator.errors import BusbenchError
from harness.cli.app import err, out
from harness.cli.screen import Bars, Grid, Screen, Styled
from harness.ranking.names import Markup
from harness.ranking.columns import Style

def forgets(name: str, error: BusbenchError, grid: Grid, bars: Bars, desk: Desk) -> None:
    out.print(name)
    err.print(f"by {name}")
    err.print(Styled(name, "green"))
    out.note(name)
    grid.row(name)
    grid.column(f"by {name}")
    Grid(name)
    bars.update(name, 1, 2, shown=name)
    _comment([f"### {name}"])
    desk.print([name])
    desk.report(lambda: [f"by {name}"])
    Style(lambda text: text)
"""


@pytest.mark.slow
def test_no_text_is_shown_that_the_type_check_knows_to_be_anybodys(tmp_path: Path) -> None:
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    command = [sys.executable, "-m", "mypy", "--follow-imports", "silent"]
    command += [str(tmp_path / "forgetful.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wrong = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    lines = FORGETFUL.splitlines()
    start = next(number for number, line in enumerate(lines) if "def forgets" in line) + 2
    assert wrong == set(range(start, len(lines) + 1)), done.stdout + done.stderr

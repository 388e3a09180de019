"""The recording of the demo: all lines are in it, as text, and it asks no other host."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support import ROOT

CODE = "import sys; print('\u2713 one  1 < 2'); print('x' * 100); sys.exit({status})"


def test_no_line_of_a_command_is_missing_or_a_link_to_elsewhere(tmp_path: Path) -> None:
    module = runpy.run_path(str(ROOT / "docs" / "recording.py"))
    lines = module["record"]([sys.executable, "-c", CODE.format(status=0)], tmp_path)
    assert [line for _, line in lines] == ["\u2713 one  1 < 2", "x" * 100]
    assert 0 <= lines[0][0] <= lines[1][0]
    svg = module["drawn"](lines)
    shown = ["".join(each.itertext()) for each in ElementTree.fromstring(svg)]
    assert shown[-4:] == ["$ busbench demo", "\u2713 one  1 < 2", "x" * 80, "x" * 20]
    assert re.findall(r"(?:href|src|url|@import)\b", svg) == []


def test_no_command_that_fails_is_recorded(tmp_path: Path) -> None:
    module = runpy.run_path(str(ROOT / "docs" / "recording.py"))
    with pytest.raises(RuntimeError, match="one"):
        module["record"]([sys.executable, "-c", CODE.format(status=1)], tmp_path)

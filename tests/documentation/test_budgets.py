"""Budgets of lines: a package that grows beyond its own is made smaller, or its budget is argued.

Counted are all lines of all Python files. Raise a number only in the change that needs it.
"""

from __future__ import annotations

import pytest

from tests.support import ROOT

BUDGETS = [
    pytest.param("harness", 38_500, id="harness"),
    pytest.param("evaluator", 14_040, id="evaluator"),
    pytest.param("reference_models", 6_090, id="reference_models"),
    pytest.param("benchmarks", 4_060, id="benchmarks"),
]


def lines_of(package: str) -> int:
    """Lines of a package's Python files."""
    files = [path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts]
    return sum(len(path.read_text("utf-8").splitlines()) for path in files)


@pytest.mark.parametrize(("package", "budget"), BUDGETS)
def test_no_package_is_larger_than_its_budget(package: str, budget: int) -> None:
    assert lines_of(package) <= budget


def test_no_budget_is_far_above_what_is_used() -> None:
    """Else a package could grow by a tenth before anybody noticed."""
    budgets = {str(row.values[0]): row.values[1] for row in BUDGETS}
    used = {package: lines_of(package) for package in budgets}
    assert {p: used[p] for p, budget in budgets.items() if used[p] < 0.9 * float(str(budget))} == {}

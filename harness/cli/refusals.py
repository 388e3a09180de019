"""Tables of what was repaired in images and masks that were read, and of what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evaluator.harmless import harmless
from harness.cli.app import err
from harness.cli.screen import Grid
from harness.prepare import CasesRefusedError, RefusedCase


def refusal_tables(repaired: dict[str, str], refused: tuple[RefusedCase, ...]) -> list[Grid]:
    """What was repaired and what was refused, each where there is any."""
    tables = []
    if repaired:
        tables.append(Grid(harmless(f"{len(repaired)} repaired")))
        tables[-1].column(harmless("case"))
        tables[-1].column(harmless("repaired"))
        for case_id, repair in repaired.items():
            tables[-1].row(harmless(case_id), harmless(repair))
    if refused:
        tables.append(Grid(harmless(f"{len(refused)} refused")))
        tables[-1].column(harmless("code"), whole=True)
        tables[-1].column(harmless("refused"))
        for case in refused:
            tables[-1].row(harmless(case.code), harmless(case.message))
    return tables


@contextmanager
def refusals_drawn() -> Iterator[None]:
    """Draw the tables of what was refused to standard error, before that ends the verb."""
    try:
        yield
    except CasesRefusedError as error:
        for table in refusal_tables(error.repaired, error.refused):
            err.draw(table)
        raise

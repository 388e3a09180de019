"""The board of the demo: four methods that differ, and who cheated."""

from __future__ import annotations

import pytest

from harness.demo import METHODS
from harness.ledger import verify_ledger
from harness.ranking import make_board
from harness.ranking.board import Row
from tests.support.containers import Journey

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def rows(journey: Journey) -> dict[str, Row]:
    (track,) = make_board(verify_ledger(journey.out / "ledger.jsonl")).tracks
    return {row.method: row for row in track.rows}


def test_no_method_of_the_demo_is_missing_on_its_board(rows: dict[str, Row]) -> None:
    assert len(rows) == len(METHODS) and {"unext", "memoriser"} < rows.keys()
    assert all(row.ranked is not None for row in rows.values())


def test_who_learned_the_answers_is_not_first_without_a_mark(rows: dict[str, Row]) -> None:
    assert rows["memoriser"].rank == 1 and rows["memoriser"].gap_unlike
    assert not rows["unext"].gap_unlike
    assert [name for name, row in rows.items() if not row.trained_here] == ["memoriser"]


def test_a_trained_network_shares_no_group_with_the_others(rows: dict[str, Row]) -> None:
    groups = {name: set(row.ranked.group) for name, row in rows.items() if row.ranked}
    own = groups.pop("unext")
    assert own and not any(own & group for group in groups.values()), groups

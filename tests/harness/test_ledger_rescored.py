"""Reports that were scored anew: they count all at once, and only for what was scored before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator.errors import BusbenchError
from harness.ledger import (
    LedgerVerdict,
    Replacement,
    Rescored,
    Rescoring,
    Retraction,
    append,
    rotate,
    sign,
    verify_bytes,
    verify_ledger,
)
from harness.ledger.entries import Position, entry_line
from harness.ledger.report import Report
from harness.ranking import make_board
from harness.sealing.keys import Keys
from tests.support.factories import make_report

Change = Callable[[dict[str, Any]], object]


def report(method: str, dice: float = 0.8, **how: Any) -> Report:
    return make_report(method=method, folds=1, dice=dice, **how)


def add(ledger: Path, keys: Keys, one: Report) -> str:
    return append(ledger, sign(one, keys), keys).entry.digest


def anew(ledger: Path, keys: Keys, replaces: str, one: Report) -> str:
    body = Rescored(replaces=replaces, envelope=sign(one, keys))
    return append(ledger, body, keys).entry.digest


def rescoring(*pairs: tuple[str, str], left: tuple[str, ...] = ()) -> Rescoring:
    replaced = tuple(
        Replacement(before=old, after=new, means={"dice": (0.8, 0.5)}, ranks=(1, 2))
        for old, new in pairs
    )
    return Rescoring(reason="Corrected.", replaced=replaced, left=left)


def counting(ledger: Path) -> list[tuple[str, float]]:
    """Method and Dice of what counts, the same however it is verified."""
    verdict = verify_bytes(ledger.read_bytes(), "ledger.jsonl")
    assert verdict.reports == verify_ledger(ledger).reports
    return [
        (entry.report.method, entry.report.scores.means["all"]["dice"]) for entry in verdict.reports
    ]


def refused(ledger: Path, body: Rescored | Rescoring | Retraction, keys: Keys) -> str:
    """Why a body enters no ledger; nor is a ledger valid into which it was written all the same."""
    before = ledger.read_bytes()
    with pytest.raises(BusbenchError) as error:
        append(ledger, body, keys)
    assert error.value.code == "ledger-invalid" and ledger.read_bytes() == before
    state = verify_ledger(ledger)
    line = entry_line(body, Position(state.entries, state.head, state.time), keys)
    with pytest.raises(BusbenchError) as found:
        verify_bytes(before + line, str(ledger))
    assert found.value.message == error.value.message
    return found.value.message


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture(params=["short", "kept"], autouse=True)
def _kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once without an index, and once with one from which each verification goes on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "kept":
        monkeypatch.setattr("harness.ledger.following.LONG", 0)


def test_they_count_by_one_entry_and_not_before(keys: Keys, ledger: Path) -> None:
    a, b = (add(ledger, keys, report(name)) for name in "ab")
    first = anew(ledger, keys, a, report("a", 0.5))
    assert counting(ledger) == [("a", 0.8), ("b", 0.8)]
    second = anew(ledger, keys, b, report("b", 0.6))
    assert counting(ledger) == [("a", 0.8), ("b", 0.8)]
    assert {entry.number for entry in verify_ledger(ledger).all_reports} == {1, 2}
    append(ledger, rescoring((a, first), (b, second)), keys)
    assert counting(ledger) == [("a", 0.5), ("b", 0.6)]
    assert verify_ledger(ledger).successors == {1: 3, 2: 4}


def test_the_same_is_recorded_once(keys: Keys, ledger: Path) -> None:
    a = add(ledger, keys, report("a"))
    new = anew(ledger, keys, a, report("a", 0.5))
    assert anew(ledger, keys, a, report("a", 0.5)) == new
    append(ledger, rescoring((a, new)), keys)
    assert not append(ledger, rescoring((a, new)), keys).new
    assert not append(ledger, sign(report("a"), keys), keys).new  # evaluated again as it was
    assert counting(ledger) == [("a", 0.5)]


def test_one_that_was_scored_anew_is_no_later_one(keys: Keys, ledger: Path) -> None:
    """Else an old submission would come back before the team's newer one of that name."""
    old = add(ledger, keys, report("a"))
    made = report("a", 0.9).document()
    made["provenance"]["submission_sha256"] = "5" * 64
    add(ledger, keys, Report.model_validate(made))
    append(ledger, rescoring((old, anew(ledger, keys, old, report("a", 0.5)))), keys)
    (track,) = make_board(verify_ledger(ledger)).tracks
    assert [row.entry for row in track.rows] == [2]


def test_it_can_be_scored_anew_again_and_back(keys: Keys, ledger: Path) -> None:
    at = add(ledger, keys, report("a"))
    for label, dice in (("native@2", 0.5), ("native@1", 0.8), ("native@2", 0.5)):
        new = anew(ledger, keys, at, report("a", dice, metric_profile=label))
        append(ledger, rescoring((at, new)), keys)
        assert counting(ledger) == [("a", dice)]
        at = new
    verdict = verify_ledger(ledger)
    assert [entry.place for entry in verdict.reports] == [1]
    assert len(make_board(verdict).tracks) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["provenance"].update(trained_here="sha256:1"),
        lambda r: r["provenance"].update(busbench="9.9"),
        lambda r: r["provenance"]["evaluator"].update(infer="another"),
        lambda r: r.update(team="another"),
        lambda r: r.update(method="another"),
        lambda r: r["runtime"]["measured"].update(seconds=1.0),
        lambda r: r["provenance"].update(sealed_labels_sha256="1" * 64),
    ],
)
def test_nothing_else_changes_with_the_scores(keys: Keys, ledger: Path, change: Change) -> None:
    a = add(ledger, keys, report("a"))
    document = report("a", 0.5).document()
    change(document)
    body = Rescored(replaces=a, envelope=sign(Report.model_validate(document), keys))
    assert "it says something else of what was scored than entry 1" in refused(ledger, body, keys)


def test_the_origin_of_a_result_is_kept(keys: Keys, ledger: Path) -> None:
    a = add(ledger, keys, report("a", trained_here="sha256:1"))
    lost = Rescored(replaces=a, envelope=sign(report("a", 0.5), keys))
    assert "something else" in refused(ledger, lost, keys)
    new = anew(ledger, keys, a, report("a", 0.5, trained_here="sha256:1"))
    append(ledger, rescoring((a, new)), keys)
    assert verify_ledger(ledger).reports[0].report.provenance.trained_here == "sha256:1"


def test_no_rescoring_names_what_was_not_made_for_it(keys: Keys, ledger: Path) -> None:
    a, b = (add(ledger, keys, report(name)) for name in "ab")
    of_a = anew(ledger, keys, a, report("a", 0.5))
    assert "entry 2 by what was not made of it" in refused(ledger, rescoring((b, of_a)), keys)
    assert "was not made of it" in refused(ledger, rescoring((a, b)), keys)
    assert "no report that counts" in refused(ledger, rescoring((of_a, of_a)), keys)
    twice = rescoring((a, of_a), (a, of_a))
    assert "no report that counts" in refused(ledger, twice, keys)
    unknown = rescoring((a, of_a), left=("0" * 64,))
    assert "no report that counts" in refused(ledger, unknown, keys)
    append(ledger, Retraction(entry=a, reason="Gone."), keys)
    assert "no report that counts" in refused(ledger, rescoring((a, of_a)), keys)
    assert counting(ledger) == [("b", 0.8)]


def test_what_does_not_count_is_neither_retracted_nor_scored_anew(keys: Keys, ledger: Path) -> None:
    a = add(ledger, keys, report("a"))
    new = anew(ledger, keys, a, report("a", 0.5))
    pending = Retraction(entry=new, reason="Not yet.")
    assert "no report that counts" in refused(ledger, pending, keys)
    append(ledger, rescoring((a, new)), keys)
    assert "no report that counts" in refused(ledger, Retraction(entry=a, reason="No."), keys)
    again = Rescored(replaces=a, envelope=sign(report("a", 0.4), keys))
    assert "no report that counts" in refused(ledger, again, keys)
    append(ledger, Retraction(entry=new, reason="Trained on test images."), keys)
    assert counting(ledger) == []


def test_another_key_scores_nothing_anew(keys: Keys, other_keys: Keys, ledger: Path) -> None:
    a = add(ledger, keys, report("a"))
    with pytest.raises(BusbenchError, match="another key"):
        anew(ledger, other_keys, a, report("a", 0.5))
    body = Rescored(replaces=a, envelope=sign(report("a", 0.5), other_keys))
    state = verify_ledger(ledger)
    line = entry_line(body, Position(state.entries, state.head, state.time), keys)
    with pytest.raises(BusbenchError, match="another key"):
        verify_bytes(ledger.read_bytes() + line, str(ledger))


def test_a_later_key_may_score_anew_what_an_earlier_one_signed(
    keys: Keys, tmp_path: Path, ledger: Path
) -> None:
    a = add(ledger, keys, report("a"))
    later = Keys.new(tmp_path / "later")
    rotate(ledger, keys, later)
    append(ledger, rescoring((a, anew(ledger, later, a, report("a", 0.5)))), later)
    assert counting(ledger) == [("a", 0.5)]


def test_every_byte_of_a_rescoring_is_signed(keys: Keys, ledger: Path) -> None:
    a = add(ledger, keys, report("a"))
    append(ledger, rescoring((a, anew(ledger, keys, a, report("a", 0.5)))), keys)
    data, start = ledger.read_bytes(), ledger.read_bytes()[:-1].rindex(b"\n") + 1
    for place in range(start, len(data) - 1, 61):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(BusbenchError):
            verify_bytes(bytes(changed), "ledger.jsonl")


def test_what_a_rescoring_left_is_in_a_table_of_its_own(keys: Keys, ledger: Path) -> None:
    a, b = (add(ledger, keys, report(name)) for name in "ab")
    new = anew(ledger, keys, a, report("a", metric_profile="native@2"))
    append(ledger, rescoring((a, new), left=(b,)), keys)
    verdict: LedgerVerdict = verify_ledger(ledger)
    tables = {
        track.metric_profile.label: [row.method for row in track.rows]
        for track in make_board(verdict).tracks
    }
    assert tables == {"native@1": ["b"], "native@2": ["a"]} and verdict.left == {b}
    assert {track.sealings for track in make_board(verdict).tracks} == {1}

"""`busbench rank --cases`: ranking of exactly the ledger's reports, from cases that add up."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evaluator.errors import BusbenchError
from harness.challenge import Challenge, RankingRules
from harness.evaluation.stage_output import CASES
from harness.ledger import Ranking, Retraction, append, verify_ledger
from harness.ranking import METRICS, Board, Row, Track, make_board
from harness.ranking.document import read_rankings
from harness.ranking.names import plain
from harness.ranking.record import record_ranking
from harness.ranking.records import to_csv
from harness.ranking.tables import caption, order_note
from harness.sealing.keys import Keys
from harness.website.edition import Edition
from harness.website.pages.past import past_boards
from harness.website.views import View

pytest.importorskip("evaluator.metrics")  # whose component may not be installed

from tests.support.runs import Organiser

SKILLS = {"strong": 0.8, "middling": 0.6, "weak": 0.3}


@pytest.fixture
def organiser(keys: Keys, tmp_path: Path) -> Organiser:
    found = Organiser(tmp_path, keys)
    for method, skill in SKILLS.items():
        found.submit(method, skill)
    return found


def record(organiser: Organiser, track: str | None = None) -> list[str]:
    outcomes = record_ranking(organiser.ledger, [organiser.runs], organiser.keys, track=track)
    return [outcome.state for outcome in outcomes]


def board(organiser: Organiser) -> Board:
    return make_board(verify_ledger(organiser.ledger))


def only_track(organiser: Organiser) -> Track:
    (track,) = board(organiser).tracks
    return track


def rows(track: Track) -> dict[str, Row]:
    return {row.method: row for row in track.rows}


def test_the_board_is_ordered_by_mean_rank_once_rankings_are_there(organiser: Organiser) -> None:
    before = only_track(organiser)
    assert (before.order, before.statistics) == ("aggregate", None)
    assert "no ranking" in order_note(before)
    assert record(organiser) == ["recorded"]
    after = only_track(organiser)
    assert after.order == "mean-rank"
    assert [row.method for row in after.rows] == [*SKILLS]
    assert [row.ranked.group for row in after.rows if row.ranked] == ["A", "B", "C"]
    assert "16 cases" in order_note(after) and "8 patients" in order_note(after)
    document = board(organiser).document()
    assert Board.model_validate(document).document() == document


def test_intervals_of_rankings_are_those_of_the_reports(organiser: Organiser) -> None:
    record(organiser)
    for row in only_track(organiser).rows:
        for metric in METRICS:
            summary = row.groups["all"].metrics[metric.key]
            assert row.ranked is not None
            said = row.ranked.metrics[metric.key]
            assert said.mean == pytest.approx(summary.mean, abs=1e-6)
            assert said.interval == pytest.approx((summary.ci_low, summary.ci_high), abs=1e-6)


def test_no_ranking_by_other_metrics_than_the_challenges_counts(organiser: Organiser) -> None:
    by_iou = Challenge(ranking=RankingRules(metrics=("iou",)))
    verdict = verify_ledger(organiser.ledger)
    (track,) = make_board(verdict, by_iou).tracks
    assert (track.order, track.statistics, track.ranked_by) == ("aggregate", None, ("iou",))
    record_ranking(organiser.ledger, [organiser.runs], organiser.keys, challenge=by_iou)
    (track,) = make_board(verify_ledger(organiser.ledger), by_iou).tracks
    assert track.order == "mean-rank" and track.statistics
    assert track.statistics.metrics == ("iou",)
    assert only_track(organiser).ranked_by == ("dice", "hd95")


def test_the_same_inputs_are_not_recorded_twice(organiser: Organiser) -> None:
    record(organiser)
    data = organiser.ledger.read_bytes()
    assert record(organiser) == ["unchanged"]
    assert organiser.ledger.read_bytes() == data


def test_a_ranking_of_the_older_schema_counts_until_it_is_computed_anew(
    organiser: Organiser, tmp_path: Path
) -> None:
    record(organiser)
    (newest,) = read_rankings(verify_ledger(organiser.ledger))
    lines = organiser.ledger.read_bytes().splitlines(keepends=True)
    organiser.ledger.write_bytes(b"".join(lines[:-1]))
    body = newest.document() | {"schema": "busbench/ranking/v4"}
    del body["statistics"]["significance"]["half_widths"]
    append(organiser.ledger, Ranking(body=body), organiser.keys)
    track = only_track(organiser)
    assert track.order == "mean-rank" and track.statistics
    assert track.statistics.significance.half_widths == {}
    edition = Edition.of(verify_ledger(organiser.ledger), organiser.ledger.read_bytes())
    assert past_boards(edition, edition.views[0])[-1].rows[0].group == "A"
    assert record(organiser) == ["recorded"]
    assert [len(found) for found in halves(organiser)] == [0, 1, 2]


def halves(organiser: Organiser) -> tuple[tuple[float, ...], ...]:
    """Of the intervals of all differences of Dice."""
    statistics = only_track(organiser).statistics
    assert statistics is not None
    return statistics.significance.half_widths["dice"]


def test_two_organisers_with_the_same_cases_record_the_same_rankings(
    organiser: Organiser, tmp_path: Path
) -> None:
    record(organiser)
    other = tmp_path / "other"
    other.mkdir()
    again = other / "ledger.jsonl"
    lines = organiser.ledger.read_bytes().splitlines(keepends=True)
    again.write_bytes(b"".join(lines[:-1]))
    record_ranking(again, [organiser.runs], organiser.keys)
    (one,), (other_one,) = (verify_ledger(path).rankings for path in (again, organiser.ledger))
    assert one.body == other_one.body  # the entries also say when they were recorded


def test_rankings_are_stale_once_a_report_comes(organiser: Organiser) -> None:
    record(organiser)
    organiser.submit("newcomer", 0.7)
    track = only_track(organiser)
    assert (track.order, track.statistics) == ("aggregate", None)
    assert all(row.ranked is None for row in track.rows)
    assert record(organiser) == ["recorded"]
    assert only_track(organiser).order == "mean-rank"
    assert rows(only_track(organiser))["newcomer"].rank == 2


def test_rankings_are_stale_once_a_report_is_retracted(organiser: Organiser) -> None:
    record(organiser)
    gone = verify_ledger(organiser.ledger).reports[0].digest
    append(organiser.ledger, Retraction(entry=gone, reason="wrong weights"), organiser.keys)
    assert only_track(organiser).order == "aggregate"
    assert record(organiser) == ["recorded"]
    assert [row.method for row in only_track(organiser).rows] == ["middling", "weak"]


def test_rankings_do_not_outlive_a_better_result_of_the_same_method(
    organiser: Organiser,
) -> None:
    record(organiser)
    organiser.submit("weak", 0.9)
    assert only_track(organiser).order == "aggregate"
    record(organiser)
    assert rows(only_track(organiser))["weak"].rank == 1


def test_an_incomplete_result_is_in_no_ranking_however_good(organiser: Organiser) -> None:
    organiser.submit("partial", 0.99, status="incomplete")
    record(organiser)
    track = only_track(organiser)
    assert track.order == "mean-rank"
    assert (rows(track)["partial"].rank, rows(track)["partial"].ranked) == (None, None)
    assert track.rows[-1].method == "partial"
    ((found),) = read_rankings(verify_ledger(organiser.ledger))
    assert len(found.submissions) == len(SKILLS)


def test_tracks_have_rankings_of_their_own(organiser: Organiser) -> None:
    organiser.submit("strong", 0.8, track="busi", folds=1)
    assert record(organiser, "busi") == ["recorded"]
    assert [track.order for track in board(organiser).tracks] == ["aggregate", "mean-rank"]
    assert record(organiser) == ["recorded", "unchanged"]
    organiser.submit("newcomer", 0.7)
    assert [track.order for track in board(organiser).tracks] == ["aggregate", "mean-rank"]


def test_few_patients_give_no_ranking(keys: Keys, tmp_path: Path) -> None:
    organiser = Organiser(tmp_path, keys, patients=4)
    organiser.submit("strong", 0.8)
    assert record(organiser) == ["too few patients"]
    assert only_track(organiser).order == "aggregate"


# --- cases that are not the report's --------------------------------------------------------------


Change = Callable[[pd.DataFrame], pd.DataFrame]


def better(cases: pd.DataFrame) -> pd.DataFrame:
    return cases.assign(dice=cases["dice"] + 0.01)


def unknown(cases: pd.DataFrame) -> pd.DataFrame:
    return cases.assign(hd95=cases["hd95"].where(cases.index > 0))


def other_cases(cases: pd.DataFrame) -> pd.DataFrame:
    return cases.assign(case_id=cases["case_id"].str.replace("c", "d"))


CHANGES: dict[str, tuple[Change, str]] = {
    "better": (better, "not the one that the report signs"),
    "unknown": (unknown, "no number"),
    "one fewer": (lambda cases: cases.iloc[1:], "every case of every fold once"),
    "one twice": (lambda cases: cases.assign(case_id="c000"), "every case of every fold once"),
    "one fold": (lambda cases: cases[cases["fold"] == 0], "not the one that the report signs"),
    "a column less": (lambda cases: cases.drop(columns="iou"), "lacks the column iou"),
    "other cases": (other_cases, "not scored on the same cases"),
    "nothing": (lambda cases: cases.iloc[:0], "every case of every fold once"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_cases_that_contradict_a_report_are_refused(organiser: Organiser, change: str) -> None:
    how, why = CHANGES[change]
    path = organiser.submit("tampered", 0.4) / CASES
    how(pd.read_parquet(path)).to_parquet(path)
    data = organiser.ledger.read_bytes()
    with pytest.raises(BusbenchError, match=why) as refused:
        record(organiser)
    assert refused.value.code == "cases-invalid"
    assert organiser.ledger.read_bytes() == data


def test_cases_that_cannot_be_read_are_named_and_nothing_is_recorded(organiser: Organiser) -> None:
    (organiser.submit("lost", 0.4) / CASES).write_bytes(b"PAR1 no more")
    with pytest.raises(BusbenchError, match="lost of reference on busbra") as refused:
        record(organiser)
    assert refused.value.code == "cases-invalid"
    assert [*verify_ledger(organiser.ledger).rankings] == []


def lose(folder: Path, damage: str) -> None:
    shutil.rmtree(folder) if damage == "no run" else (folder / CASES).unlink()


@pytest.mark.parametrize("damage", ["no file", "no run"])
@pytest.mark.parametrize("skill", [0.9, 0.5, 0.1])
def test_no_lost_run_stops_the_ranking_of_the_others(
    organiser: Organiser, skill: float, damage: str
) -> None:
    record(organiser)
    without = {name: row.rank for name, row in rows(only_track(organiser)).items()}
    folder = organiser.submit("lost", skill)
    shutil.copytree(folder, organiser.root / "kept" / "lost")
    lose(folder, damage)
    (outcome,) = record_ranking(organiser.ledger, [organiser.runs], organiser.keys)
    assert (outcome.state, outcome.submissions) == ("recorded", 3)
    assert outcome.lost == ("lost of reference on busbra (entry 5)",)
    track = only_track(organiser)
    assert (track.order, track.lost) == ("mean-rank", 1)
    assert {name: row.rank for name, row in rows(track).items()} == {**without, "lost": None}
    assert "their cases are lost: 1." in order_note(track)
    runs = [organiser.runs, organiser.root / "kept"]  # it is found again
    assert record_ranking(organiser.ledger, runs, organiser.keys)[0].state == "recorded"
    track = only_track(organiser)
    assert track.lost == 0 and rows(track)["lost"].rank


def test_no_track_without_runs_stops_another_track(organiser: Organiser) -> None:
    shutil.rmtree(organiser.submit("alone", 0.4, track="busi"))
    outcomes = record_ranking(organiser.ledger, [organiser.runs], organiser.keys)
    assert {one.track: one.state for one in outcomes} == {
        "busbra": "recorded",
        "busi": "no run is left",
    }
    shutil.rmtree(organiser.runs)
    organiser.runs.mkdir()
    with pytest.raises(BusbenchError, match="nor any other") as refused:
        record(organiser)
    assert refused.value.code == "cases-invalid"


# --- what is compared ------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["sealed_images", "sealed_labels", "labels"])
def test_no_results_of_two_sealings_share_a_table(organiser: Organiser, other: str) -> None:
    sealed: dict[str, Any] = {other: "private"}
    organiser.submit("elsewhere", 0.95, **sealed)
    tracks = board(organiser).tracks
    assert [sorted(rows(track)) for track in tracks if len(track.rows) == 1] == [["elsewhere"]]
    assert {track.sealings for track in tracks} == {2}
    assert len({track.sealing for track in tracks}) == 2
    assert all(row.rank for track in tracks for row in track.rows)
    for track in tracks:
        assert "not ranked together" in order_note(track)
        assert f"sealing {track.sealing[:8]}" in caption(track, plain)
        assert track.sealing in to_csv(board(organiser))
    assert len({View(track, leaks=False).file for track in tracks}) == 2


def test_a_damaged_report_among_the_runs_is_passed_over(organiser: Organiser) -> None:
    for name, data in (("x", b"{"), ("y", b"[]"), ("z", b'{"payload": 3}')):
        (organiser.runs / name).mkdir()
        (organiser.runs / name / "report.dsse.json").write_bytes(data)
    assert record(organiser) == ["recorded"]


def test_the_file_of_cases_is_the_one_that_the_score_stage_writes() -> None:
    score = pytest.importorskip("evaluator.scoring.score")
    assert CASES.name == score.CASES


def test_rankings_of_another_schema_are_passed_over_and_broken_ones_named(
    organiser: Organiser,
) -> None:
    append(organiser.ledger, Ranking(body={"schema": "busbench/ranking/v9"}), organiser.keys)
    assert only_track(organiser).order == "aggregate"
    append(organiser.ledger, Ranking(body={"schema": "busbench/ranking/v5"}), organiser.keys)
    with pytest.raises(BusbenchError, match="entry 5"):
        board(organiser)

"""The board is a pure function of the ledger, and an incomplete result never ranks."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.ledger.report import Report
from harness.ranking import METRICS, Board, Track, to_csv, to_latex, to_markdown
from harness.ranking.assembly import rank
from harness.ranking.names import latex, markdown, plain, spreadsheet
from harness.ranking.tables import order_note
from tests.support.factories import TIME, digest_of, make_report, recorded


def only_track(*reports: Report) -> Track:
    (track,) = rank(recorded(reports))
    return track


def board(*reports: Report) -> Board:
    return Board(
        ledger_key=digest_of("key"),
        ledger_head=digest_of("head"),
        ledger_updated=TIME,
        ledger_reports=len(reports),
        tracks=rank(recorded(reports)),
    )


def ranks(track: Track) -> dict[str, int | None]:
    return {row.method: row.rank for row in track.rows}


def test_a_worked_example() -> None:
    """By Dice and HD95: a 1, 3; b 2, 1; c 3, 2. By IoU a 3, b 2, c 1."""
    reports = recorded(
        [
            make_report(method="a", dice=0.90, iou=0.60, hd95=30.0),
            make_report(method="b", dice=0.80, iou=0.70, hd95=10.0),
            make_report(method="c", dice=0.70, iou=0.75, hd95=20.0),
        ]
    )
    (track,) = rank(reports)
    assert ranks(track) == {"b": 1, "a": 2, "c": 3}
    assert [row.mean_rank for row in track.rows] == [3 / 2, 2.0, 5 / 2]
    (by_overlap,) = rank(reports, ranked=("iou",))
    assert ranks(by_overlap) == {"c": 1, "b": 2, "a": 3}
    assert "means of IoU alone" in order_note(by_overlap)
    (by_all,) = rank(reports, ranked=("dice", "iou", "hd95"))
    assert [row.mean_rank for row in by_all.rows] == [5 / 3, 2.0, 7 / 3]


def test_ties_share_the_smallest_rank_and_the_next_is_skipped() -> None:
    track = only_track(
        make_report(method="a", dice=0.9, iou=0.8, hd95=10),
        make_report(method="b", dice=0.9, iou=0.8, hd95=10),
        make_report(method="c", dice=0.8, iou=0.7, hd95=20),
    )
    assert ranks(track) == {"a": 1, "b": 1, "c": 3}


scores = st.tuples(*[st.sampled_from([0.1, 0.2, 0.5, 0.5000001, 0.9])] * 3)


@given(st.lists(scores, min_size=1, max_size=12), st.randoms())
def test_ranks_agree_with_counting_who_is_better(values: list, chance: Any) -> None:  # type: ignore
    reports = [
        make_report(method=f"m{n:02}", dice=dice, iou=iou, hd95=hd95, folds=1)
        for n, (dice, iou, hd95) in enumerate(values)
    ]
    sums = [
        sum(
            1 + sum((b[k] < a[k]) if k == 2 else (b[k] > a[k]) for b in values)
            for k in (0, 2)  # IoU is shown, not ranked
        )
        for a in values
    ]
    expected = {f"m{n:02}": 1 + sum(other < own for other in sums) for n, own in enumerate(sums)}
    chance.shuffle(reports)
    assert ranks(only_track(*reports)) == expected


def test_an_incomplete_result_never_ranks_however_good() -> None:
    track = only_track(
        make_report(method="honest", dice=0.5, hd95=50),
        make_report(method="perfect but partial", dice=1.0, hd95=0.0, status="incomplete"),
    )
    assert ranks(track) == {"honest": 1, "perfect but partial": None}
    assert [row.method for row in track.unranked] == ["perfect but partial"]


@pytest.mark.parametrize("missing", [metric.key for metric in METRICS])
def test_a_result_that_lacks_a_metric_is_not_ranked_whatever_it_says(missing: str) -> None:
    fields = make_report(method="lacking").document()
    del fields["scores"]["groups"]["all"]["metrics"][missing]
    track = only_track(Report.model_validate(fields), make_report(method="whole", dice=0.1))
    assert ranks(track) == {"whole": 1, "lacking": None}


def test_a_result_without_the_overall_group_is_not_ranked() -> None:
    fields = make_report().document()
    del fields["scores"]["groups"]["all"]
    assert ranks(only_track(Report.model_validate(fields))) == {"cmunext": None}


@pytest.mark.parametrize(
    "other",
    [
        {"track": "busi"},
        {"split_version": "v2"},
        {"metric_profile": "seed"},
        {"units": {"dice": "", "iou": "", "hd95": "mm"}},
    ],
)
def test_what_cannot_be_compared_never_shares_a_table(other: dict[str, str]) -> None:
    tracks = rank(recorded([make_report(), make_report(method="other", **other)]))  # type: ignore
    assert [len(track.rows) for track in tracks] == [1, 1]


def test_a_method_evaluated_again_counts_with_its_latest_result_alone() -> None:
    track = only_track(
        make_report(method="a", dice=0.9),
        make_report(method="b"),
        make_report(method="a", dice=0.5),
    )
    assert [(row.method, row.entry) for row in track.rows] == [("b", 2), ("a", 3)]


def test_two_teams_with_one_method_name_both_stand() -> None:
    assert len(only_track(make_report("one", "unet"), make_report("two", "unet")).rows) == 2


def test_costs_are_the_largest_models_and_unknown_stays_unknown() -> None:
    fields = make_report().document()
    fields["models"][1] |= {"parameters": 999_999, "gmacs": 3.0}
    row = only_track(Report.model_validate(fields)).rows[0]
    assert (row.parameters, row.gmacs, row.models) == (999_999, 3.0, 5)
    fields["models"][2]["gmacs"] = None
    assert only_track(Report.model_validate(fields)).rows[0].gmacs is None


def test_an_empty_ledger_gives_an_empty_board() -> None:
    assert rank([]) == ()
    assert to_markdown(board()) == to_latex(board()) == ""


def test_no_board_that_was_read_is_written_otherwise() -> None:
    whole = board(make_report(), make_report(method="b", status="incomplete", gmacs=None))
    written = whole.document()  # in five digits
    read = Board.model_validate(written)
    assert read.document() == written
    shown = [(row.method, row.rank, row.status) for row in whole.tracks[0].rows]
    assert [(row.method, row.rank, row.status) for row in read.tracks[0].rows] == shown


HOSTILE = [
    "<script>alert(1)</script>",
    "=HYPERLINK()",
    "a|b",
    r"\input{x} & $x_1$ 100%",
    "a\u202eb",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_add_no_column_to_a_table(name: str) -> None:
    text = to_markdown(board(make_report(name, name)))
    line = text.splitlines()[4].replace("\\\\", "").replace(r"\|", "")
    assert line.count("|") == text.splitlines()[2].count("|")
    lines = to_latex(board(make_report(name, name))).splitlines()
    place = lines.index(r"\midrule")
    head, row = lines[place - 1], lines[place + 1]
    assert row.replace(r"\&", "").count("&") == head.count("&")
    records = list(csv.DictReader(io.StringIO(to_csv(board(make_report(name, name))))))
    assert len(records) == 1
    assert not records[0]["team"].startswith("=")


def test_names_become_literal_text() -> None:
    assert markdown("<b>[x](y)|*") == r"\<b\>\[x\](y)\|\*"
    assert latex(r"\x_{1}~^&%$#") == (
        r"\textbackslash{}x\_\{1\}\textasciitilde{}\textasciicircum{}\&\%\$\#"
    )
    assert plain("abc\u202edef\u2066") == "abcdef"
    assert spreadsheet("=1+1") == "'=1+1"
    assert spreadsheet("\u200f=1+1") == "'=1+1"


def test_the_best_of_each_metric_is_bold_and_an_unranked_one_never() -> None:
    text = to_markdown(
        board(
            make_report(method="a", dice=0.9, hd95=30),
            make_report(method="b", dice=0.8, hd95=20),
            make_report(method="c", dice=1.0, hd95=0, status="incomplete"),
        )
    )
    a, b, c = text.splitlines()[4:7]
    assert "**0.900 ± 0.010**" in a
    assert "**20.00 ± 2.00**" in b
    assert "**" not in c
    assert c.startswith("| – |")


def test_csv_holds_numbers_in_full_and_nothing_for_the_missing() -> None:
    text = to_csv(board(make_report(dice=2 / 3, folds=1, half_width=None)))
    (record,) = csv.DictReader(io.StringIO(text))
    assert float(record["all_dice_mean"]) == 2 / 3
    assert record["all_dice_std"] == record["all_dice_ci_low"] == ""
    assert (record["hd95_unit"], record["rank"], record["lesion_cases"]) == ("px", "1", "30")


def test_directions_are_those_of_the_metrics_themselves() -> None:
    metrics = pytest.importorskip("evaluator.metrics")
    for metric in METRICS:
        assert metric.higher_is_better == metrics.METRICS[metric.key].higher_is_better


def test_the_gap_is_shown_beside_the_metrics_and_never_ranked() -> None:
    remembered = make_report("one", "memoriser", dice=0.98, gap=0.52)
    seen = make_report("two", "unet", dice=0.8, gap=0.03)
    track = only_track(remembered, seen, make_report("three", "old", dice=0.7))
    assert [(row.method, row.rank) for row in track.rows] == [
        *(("memoriser", 1), ("unet", 2), ("old", 3))
    ]
    lines = to_markdown(board(remembered, seen)).splitlines()
    assert "Dice gap" in lines[2] and [" 0.520 " in line for line in lines[4:6]] == [True, False]
    (first, second) = csv.DictReader(to_csv(board(remembered, seen)).splitlines())
    assert float(first["dice_gap_mean"]) == pytest.approx(0.52)
    assert float(second["dice_gap_ci_low"]) == pytest.approx(0.01)
    assert track.rows[2].gap is None

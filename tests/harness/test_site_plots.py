"""The plots of a track: each answers its question from the data, and says the answer in words."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import pytest

from harness.ranking import METRICS, Board, Track
from harness.sealing.keys import Keys
from harness.website.edition import Edition
from harness.website.pages import site as pages
from harness.website.pages.site import render
from harness.website.plots import of_track as made
from harness.website.plots.charts import FAILURES, distributions, failures, ranking
from harness.website.plots.drawing import NARROW, WIDE, Drawing, Look, draw
from harness.website.plots.findings import differences, leaders, listed
from harness.website.plots.frontier import Box, Plane, Point, frontier, place, points
from harness.website.plots.matrix import significance
from harness.website.plots.of_track import COMPARED, Plot, plots
from harness.website.plots.scales import log_ticks
from harness.website.plots.shown import MOST, Shown
from tests.support.factories import make_report
from tests.support.simulated import ENTRANTS, simulate
from tests.support.website import HOSTILE, Page, edition_of

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def simulated(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Edition:
    """A ledger with a ranking of nine results."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate(keys, folder / "ledger.jsonl", ENTRANTS, cases=40)
    return edition_of(keys, folder)


@pytest.fixture(scope="module")
def track(simulated: Edition) -> Track:
    (found,) = simulated.board.tracks
    return found


@pytest.fixture(scope="module")
def files(simulated: Edition, drawn: dict[str, Plot]) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "plots", lambda track: iter(drawn.values()))  # drawn once is enough
        return render(simulated)


@pytest.fixture(scope="module")
def page(files: dict[str, bytes]) -> Page:
    return Page.of(next(data for name, data in files.items() if name.startswith("tracks/")))


@pytest.fixture(scope="module")
def drawn(track: Track) -> dict[str, Plot]:
    return {plot.kind.name: plot for plot in plots(track)}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No SVG, where only what plots say is of interest."""
    monkeypatch.setattr(made, "draw", lambda chart, look: Drawing(b"", 1, 1))


def texts(svg: bytes) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def of_rows(track: Track, count: int) -> Track:
    """The track with its first row so many times."""
    row = track.rows[0]
    rows = (row.model_copy(update={"rank": n + 1, "entry": n + 1}) for n in range(count))
    return track.model_copy(update={"rows": tuple(rows)})


def test_the_plots_stand_alone(files: dict[str, bytes]) -> None:
    found = {n: d for n, d in files.items() if n.startswith("plots/")}
    names = {n.rsplit("-", 2)[-2 if n.endswith("-narrow.svg") else -1] for n in found}
    kinds = {"ranking", "ranks", "distributions", "significance", "parts", "cost"}
    assert {name.removesuffix(".svg") for name in names} == kinds
    for data in found.values():
        root = ET.fromstring(data)
        assert root.tag == f"{SVG}svg"
        assert b"url(" not in data and b"<script" not in data and b"<image" not in data
        assert b"prefers-color-scheme:dark" in data
        links = [key for element in root.iter() for key in element.attrib if "href" in key]
        assert links == []


def test_no_plot_is_without_a_question_its_answer_and_the_number_of_images(
    page: Page, drawn: dict[str, Plot], track: Track
) -> None:
    alts = {str(a["alt"]) for tag, a in page.elements if tag == "img"}
    group = track.rows[0].groups["all"]
    for plot in drawn.values():
        assert plot.kind.title.endswith("?")
        assert plot.finding in alts
        assert f"{group.cases} test images of {group.patients} patients." in page.all_text
        assert "darker" not in plot.kind.caption  # which is the reverse where a page is dark
    assert len(alts) == len(drawn)


def test_no_finding_is_that_of_other_data(track: Track, drawn: dict[str, Plot]) -> None:
    """Each says what is computed here in another way, from the rows."""
    rows = list(track.ranked)
    dice = {row.method: row.groups["all"].metrics["dice"].mean for row in rows}
    best, worst = max(dice, key=dice.__getitem__), min(dice, key=dice.__getitem__)
    said = f"Mean Dice: {dice[best]:.3f} ({best}) to {dice[worst]:.3f} ({worst})."
    assert said in drawn["ranking"].finding
    statistics = track.statistics
    assert statistics is not None
    p = statistics.significance.adjusted["dice"]
    real = sum(p[i][j] < 0.05 or p[j][i] < 0.05 for i, j in combinations(range(len(p)), 2))
    assert f"{real} of {len(p) * (len(p) - 1) // 2} pairs" in drawn["significance"].finding
    first = max(rows, key=lambda row: row.ranked.resamples_first if row.ranked else 0)
    assert first.ranked is not None
    share = 100 * first.ranked.resamples_first / statistics.resamples
    assert f"At rank 1 in the draws: {first.method} in {share:.0f}" in drawn["ranks"].finding
    missed = [1 - row.groups["lesion"].metrics["lesion_sensitivity"].mean for row in rows]
    ends = f"{100 * min(missed):.0f}\u00a0% to {100 * max(missed):.0f}\u00a0%"
    assert f"Lesions missed: {ends}." in drawn["distributions"].finding
    parts = ("benign", "malignant", "normal", "Q1", "Q2", "Q3", "Q4")
    means = {
        part: sum(row.groups[part].metrics["dice"].mean for row in rows) / len(rows)
        for part in (*parts, *(name for name in rows[0].groups if name.startswith("device ")))
    }
    assert f", {min(means.values()):.3f}, and highest" in drawn["parts"].finding
    line = unbeaten({row.method: (row.gmacs or 0, dice[row.method]) for row in rows})
    table = drawn["cost"].table
    assert table is not None
    assert {cells[0] for cells in table if cells[-1] == "yes"} == line
    cheapest = min(line, key=lambda method: next(r.gmacs or 0 for r in rows if r.method == method))
    assert f"the Dice of {cheapest} (" in drawn["cost"].finding


def unbeaten(found: dict[str, tuple[float, float]]) -> set[str]:
    """Those that no other equals for as little work, compared pair by pair."""
    return {
        name
        for name, (work, dice) in found.items()
        if not any((w <= work and d >= dice and (w, d) != (work, dice)) for w, d in found.values())
    }


def test_no_point_of_the_pareto_line_is_beaten_at_both() -> None:
    costs = [(1, 0.5), (1, 0.6), (2, 0.6), (3, 0.7), (4, 0.65), (9, 0.9), (8, 0.2), (10, 0.9)]
    found = [Point(str(n), work, dice, True) for n, (work, dice) in enumerate(costs)]
    expected = unbeaten({point.name: (point.gmacs, point.dice) for point in found})
    line = frontier(found)
    assert {point.name for point in line} == expected == {"1", "3", "5"}
    assert [point.gmacs for point in line] == sorted(point.gmacs for point in line)


def test_the_leaders_are_no_larger_a_set_than_need_be(track: Track) -> None:
    assert track.statistics is not None
    tests = track.statistics.significance
    for metric, p in tests.adjusted.items():
        everyone = range(len(p))
        sets = [
            list(inside)
            for size in range(1, len(p))
            for inside in combinations(everyone, size)
            if all(p[i][j] < 0.05 for i in inside for j in everyone if j not in inside)
        ]
        assert leaders(tests, metric) == (sets[0] if sets else [])
    equal = {"dice": tuple(tuple(1.0 for _ in tests.entries) for _ in tests.entries)}
    assert leaders(tests.model_copy(update={"adjusted": equal}), "dice") == []


def test_a_list_of_many_names_ends() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(list("abcdefg")) == "a, b, c, d and 3 more"


@pytest.mark.parametrize("look", [WIDE, NARROW])
def test_no_name_covers_a_dot_or_another_name(look: Look) -> None:
    """Of forty results in a heap, those that are named have space."""
    found = [
        Point(f"method {n}", 1.0 + (n * 7919 % 40) / 4, 0.7 + (n * 104729 % 41) / 400, n % 2 == 0)
        for n in range(40)
    ]
    plane = Plane.of(found, look)
    named = list(place(found, plane, look))
    assert len({point.name for point, _ in named}) == len(named) >= (1 if look.narrow else 5)
    width = look.font / 2  # of a letter, about
    boxes = []
    for point, side in named:
        x, y = plane.at(point)
        long = width * len(point.name)
        near, level = (9, 0) if " " not in side else (4, -16 if "above" in side else 16)
        left = x + near if "right" in side else x - near - long
        middle = y + level
        boxes.append(Box(left, middle - 5, left + long, middle + 5))
    dots = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in map(plane.at, found)]
    for one, other in combinations(boxes, 2):
        assert not one.meets(other)
    assert not any(box.meets(dot) for box in boxes for dot in dots)


def test_results_are_named_not_numbered(drawn: dict[str, Plot], track: Track) -> None:
    names = {row.method for row in track.ranked}
    found = texts(drawn["significance"].wide.svg)
    assert track.statistics is not None
    panels = len(track.statistics.metrics)
    assert all(found.count(name) == panels + 1 for name in names)  # columns of each, rows of one
    shown = {name for name in texts(drawn["cost"].narrow.svg) if not re.search("[0-9]", name)}
    assert shown & names


# --- axes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [(0.0, 300.0), (0.0, 0.9), (21.3, 36.6), (8.0, 52.0), (3.0, 4.1)])
def test_a_logarithmic_scale_is_never_without_ticks(ends: tuple[float, float]) -> None:
    low, high = ends
    ticks = log_ticks(low, high)
    assert len(ticks) >= 2 or high < 1
    assert ticks == sorted({*ticks}) and all(low <= tick <= high for tick in ticks)


def test_distances_are_on_a_logarithmic_scale_that_has_zero_and_ratios_are_not(
    track: Track,
) -> None:
    chart = ranking(Shown(track, track.ranked, 20), WIDE).to_dict()
    scales = [panel["layer"][0]["encoding"]["x"]["scale"] for panel in chart["hconcat"]]
    assert [scale.get("type") for scale in scales] == [None, None, "symlog"]


def test_failures_are_shown_where_the_report_says_them_and_nowhere_else(track: Track) -> None:
    shown = Shown(track, track.ranked, 20)
    chart = distributions(shown, WIDE)
    assert chart is not None and len(chart.to_dict()["hconcat"]) == len(METRICS) + 1
    row = track.ranked[0]
    normal = row.groups["normal"].metrics["dice"].mean  # 1 of a mask that is empty, else 0
    assert failures(row)["normal images marked"] == pytest.approx(1 - normal)
    silent = row.model_copy(update={"groups": {"all": row.groups["all"]}})
    assert failures(silent) == {}
    chart = distributions(Shown(track, (silent,), 20), WIDE)
    assert chart is not None and len(chart.to_dict()["hconcat"]) == len(METRICS)
    assert {*FAILURES} == {*failures(row)}


def test_a_lone_value_has_axes_that_are_true(keys: Keys, tmp_path: Path) -> None:
    report = make_report(folds=1, half_width=None, dice=0.8, gmacs=1.42)
    (track,) = edition_of(keys, tmp_path, report).board.tracks
    drawn = {plot.kind.name: plot for plot in plots(of_rows(track, COMPARED))}
    for name, around in (("ranking", 0.8), ("cost", 1.42)):
        found = texts(drawn[name].wide.svg)
        numbers = [float(text) for text in found if re.fullmatch(r"[0-9.]+", text)]
        assert any(0.5 * around <= number < around for number in numbers), found
        assert any(around < number <= 2 * around for number in numbers), found


def test_no_fold_model_lies_outside_its_plot(keys: Keys, tmp_path: Path) -> None:
    report = make_report(half_width=None)  # the folds spread, and no interval is around them
    (track,) = edition_of(keys, tmp_path, report).board.tracks
    chart = ranking(Shown(track, track.rows, 20), WIDE).to_dict()
    for panel in chart["hconcat"]:
        low, high = panel["layer"][0]["encoding"]["x"]["scale"]["domain"]
        names = {layer["data"]["name"] for layer in panel["layer"]}
        shown = [row["value"] for name in names for row in chart["datasets"][name]]
        assert len(shown) > 5
        assert low < min(shown) and max(shown) < high


# --- few and many ------------------------------------------------------------------------------


def test_two_results_have_no_plot_that_compares_and_three_have(
    keys: Keys, tmp_path: Path, undrawn: None
) -> None:
    (track,) = edition_of(keys, tmp_path, make_report()).board.tracks
    two, three = ({plot.kind.name for plot in plots(of_rows(track, n))} for n in (2, 3))
    assert three - two == {"ranking", "cost"}


def test_one_part_of_the_images_is_not_compared_with_itself(
    keys: Keys, tmp_path: Path, undrawn: None
) -> None:
    (track,) = edition_of(keys, tmp_path, make_report()).board.tracks
    assert {name for row in track.rows for name in row.groups} == {"all", "lesion", "normal"}
    assert "parts" not in {plot.kind.name for plot in plots(track)}


@pytest.mark.parametrize("gmacs", [2e-6, 4e-9])
def test_the_work_of_a_tiny_network_is_not_nothing(
    keys: Keys, tmp_path: Path, gmacs: float
) -> None:
    (track,) = edition_of(keys, tmp_path, make_report(gmacs=gmacs)).board.tracks
    (cost,) = (plot for plot in plots(of_rows(track, COMPARED)) if plot.kind.name == "cost")
    assert "(< 0.001 GMACs" in cost.finding and "0.000 GMACs" not in cost.finding
    found = texts(cost.wide.svg)
    assert any(0.1 * gmacs < float(t) < 10 * gmacs for t in found if re.fullmatch(r"[0-9.e−-]+", t))


def test_a_plot_of_many_says_what_it_leaves_out(keys: Keys, tmp_path: Path, undrawn: None) -> None:
    (track,) = edition_of(keys, tmp_path, make_report()).board.tracks
    drawn = {plot.kind.name: plot for plot in plots(of_rows(track, MOST + 5))}
    assert drawn["ranking"].cut == f"The first {MOST} of {MOST + 5}."
    assert drawn["cost"].cut == ""  # one left out might be on the Pareto line


def test_a_cheap_result_far_down_is_not_left_off_the_pareto_line(
    keys: Keys, tmp_path: Path, undrawn: None
) -> None:
    (track,) = edition_of(keys, tmp_path, make_report(gmacs=5.0)).board.tracks
    many = of_rows(track, MOST + 5)
    last = many.rows[-1].model_copy(update={"gmacs": 0.5, "method": "cheap"})
    many = many.model_copy(update={"rows": (*many.rows[:-1], last)})
    (cost,) = (plot for plot in plots(many) if plot.kind.name == "cost")
    assert "cheap (0.500 GMACs" in cost.finding
    assert cost.table is not None
    assert [line[-1] for line in cost.table if line[0] == "cheap"] == ["yes"]
    assert len(points(Shown(many, many.ranked, 20))) == MOST + 5


def test_of_many_tested_results_some_from_first_to_last_are_drawn(track: Track) -> None:
    assert track.statistics is not None
    many = [f"{number:064x}" for number in range(120)]
    rows = tuple(
        track.rows[0].model_copy(update={"entry_digest": digest, "method": f"m{n}", "rank": n + 1})
        for n, digest in enumerate(many)
    )
    tested = many[::3]
    line = tuple(0.5 for _ in tested)
    adjusted = {metric.key: tuple(line for _ in tested) for metric in METRICS}
    found = track.statistics.significance.model_copy(
        update={"entries": tuple(tested), "adjusted": adjusted}
    )
    statistics = track.statistics.model_copy(update={"significance": found})
    full = track.model_copy(update={"rows": rows, "statistics": statistics})
    chart = significance(Shown(full, full.ranked, 20), WIDE)
    assert chart is not None
    assert {"m0", "m60", "m114"} <= {*texts(draw(chart, WIDE).svg)}
    said = differences(Shown(full, full.ranked, 20))
    assert said.startswith("Among 40 of 120 results, evenly spread over the order: Dice: ")
    assert not differences(Shown(track, track.ranked, 20)).startswith("Among")


def test_fifty_results_are_no_heavy_page_and_no_heavy_board(
    simulated: Edition, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "plots", lambda track: iter(()))  # files of their own, loaded last
    rows = tuple(
        track.ranked[n % 9].model_copy(update={"entry": n, "method": f"a method, number {n}"})
        for n in range(1, 51)
    )
    assert track.statistics is not None
    keys = track.statistics.significance.adjusted
    tests = track.statistics.significance.model_copy(  # of all pairs
        update={
            "adjusted": dict.fromkeys(keys, ((0.123456,) * 50,) * 50),
            "half_widths": dict.fromkeys(keys, tuple((0.012345,) * n for n in range(50))),
        }
    )
    statistics = track.statistics.model_copy(update={"significance": tests})
    many = track.model_copy(update={"rows": rows, "statistics": statistics})
    board = simulated.board.model_copy(update={"tracks": (many,)})
    files = render(dataclasses.replace(simulated, board=board))
    page = next(name for name in files if name.startswith("tracks/"))
    assert sum(len(files[name]) for name in (page, "style.css", *pages.SCRIPTS)) < 300_000
    assert len(files["board.json"]) < 50 * 8000
    read = Board.model_validate_json(files["board.json"]).tracks[0].rows[0]
    assert {"device GE Logiq 7", "Q1", "normal"} <= {*read.brief} == {*rows[0].groups}
    brief, known = read.brief["Q1"].metrics["hd95"], rows[0].groups["Q1"].metrics["hd95"]
    assert brief.mean == pytest.approx(known.mean, abs=1e-5)
    assert brief.ci_high == pytest.approx(known.ci_high, abs=1e-5)
    others = {*rows[0].groups["all"].metrics} - {metric.key for metric in METRICS}
    assert {*read.brief["all"].metrics} == others


# --- names that participants chose -------------------------------------------------------------


def test_hostile_names_neither_break_a_plot_nor_are_taken_for_one_another(
    keys: Keys, tmp_path: Path
) -> None:
    names = [*HOSTILE, HOSTILE[0] + "2", "👨‍👩‍👧‍👦" * 14, "한국어" * 30]
    (track,) = edition_of(keys, tmp_path, *(make_report(n, n) for n in names)).board.tracks
    drawn = {plot.kind.name: plot for plot in plots(track)}
    for plot in drawn.values():
        assert "\u202e" not in "".join((*texts(plot.wide.svg), *texts(plot.narrow.svg)))
        assert "\u202e" not in plot.finding
    found = texts(drawn["ranking"].wide.svg)
    assert sum(text.startswith("<script>alert(1)</script>") for text in found) == 2


# --- what a page says beside its plots -----------------------------------------------------------


def test_a_track_says_how_far_the_orders_agree(track: Track, page: Page) -> None:
    statistics = track.statistics
    assert statistics is not None
    for one, words in zip(
        statistics.agreement,
        ("mean rank and means", "mean rank and tests", "means and tests"),
        strict=True,
    ):
        assert f"{words} {one.tau:.2f}" in page.all_text
    for scheme, words in zip(statistics.stability, ("mean rank", "means"), strict=True):
        assert scheme.interval is not None
        low, high = scheme.interval
        assert f"{words} {scheme.tau:.2f} ({low:.2f} to {high:.2f})" in page.all_text

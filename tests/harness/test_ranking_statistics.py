"""Ranking against a second, naive implementation, and against examples worked by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from benchmarks.coverage import simulate
from evaluator.metrics import METRICS as DEFINED
from evaluator.scoring.intervals import interval, mean_intervals
from harness.challenge import DEFAULT_RANKED
from harness.ranking import METRICS, TrackRanking
from harness.ranking.cases import CaseTable
from harness.ranking.comparison import difference
from harness.ranking.document import MAX_OPPONENTS, rank_groups
from harness.ranking.orders import exact, smallest_ranks
from harness.ranking.rank_sets import ALL_FLIPS, rank_sets, signs
from harness.ranking.resampling import RESAMPLES, SEED, groups, rank_bins, rank_counts
from harness.ranking.significance import LEVEL, better, holm, opponents
from harness.ranking.stability import tau
from harness.ranking.statistics import make_ranking
from tests.support.factories import digest_of, make_report

UP = {metric.key: metric.higher_is_better for metric in METRICS}
RANKED = DEFAULT_RANKED


def make_table(
    names: Sequence[str], patients: Sequence[str], values: dict[str, object]
) -> CaseTable:
    arrays = {key: np.array(value, float) for key, value in values.items()}
    return CaseTable(tuple(digest_of(name) for name in names), tuple(patients), arrays)


def random_table(submissions: int, patients: int, seed: int, levels: int | None = 4) -> CaseTable:
    """Two cases a patient, and one more for the first; with few levels there are many ties."""
    of_case = [f"p{n:03}" for n in range(patients) for _ in range(2)] + ["p000"]
    random = np.random.default_rng(seed)
    shape = (len(of_case), submissions)
    skill = np.linspace(0.0, 0.5, submissions)
    dice = np.clip(random.random(shape) - skill, 0, 1)
    dice = dice if levels is None else np.round(dice * levels) / levels
    hd95 = np.round(random.random(shape) * 8) / 4 + skill
    names = [f"s{n:04}" for n in range(submissions)]
    return make_table(names, of_case, {"dice": dice, "iou": dice / (2 - dice), "hd95": hd95})


def ranking(table: CaseTable) -> TrackRanking:
    return make_ranking(make_report(), table)


# --- the naive implementation ---------------------------------------------------------------------


def naive_ranks(values: Sequence[Fraction | float], up: bool = False) -> list[int]:
    return [1 + sum((b > a) if up else (b < a) for b in values) for a in values]


def whole(table: CaseTable) -> dict[str, list[list[int]]]:
    """The metrics as whole numbers, which Python adds exactly."""
    return {
        key: [[round(float(value) * 2**30) for value in row] for row in rows]
        for key, rows in table.values.items()
    }


def naive_orders(
    values: dict[str, list[list[int]]], cases: Sequence[int]
) -> tuple[list[Fraction], list[int], list[int]]:
    """Mean ranks, the order by them, and aggregate-then-rank, over cases that may repeat."""
    count = len(values["dice"][0])
    sums, aggregate = [0] * count, [0] * count
    for key in RANKED:
        up, rows = UP[key], [values[key][case] for case in cases]
        for row in rows:
            sums = [s + r for s, r in zip(sums, naive_ranks(row, up), strict=True)]
        totals = [sum(column) for column in zip(*rows, strict=True)]
        aggregate = [s + r for s, r in zip(aggregate, naive_ranks(totals, up), strict=True)]
    means = [Fraction(s, len(cases) * len(RANKED)) for s in sums]
    return means, naive_ranks(sums), naive_ranks(aggregate)


def naive_resamples(table: CaseTable) -> list[list[int]]:
    """The cases of each resample: patients drawn with replacement, each with all its cases."""
    names = sorted(set(table.patients))
    cases = {name: [n for n, p in enumerate(table.patients) if p == name] for name in names}
    draws = np.random.default_rng(SEED).integers(len(names), size=(RESAMPLES, len(names)))
    return [[case for place in draw for case in cases[names[place]]] for draw in draws.tolist()]


def naive_wilcoxon(differences: Sequence[Fraction]) -> float:
    """P-value of `above zero`: normal approximation, zeros dropped, variance corrected for ties."""
    left = [d for d in differences if d]
    if not left:
        return 1.0
    sizes = [abs(d) for d in left]
    ranks = [sum(b < a for b in sizes) + (sum(b == a for b in sizes) + 1) / 2 for a in sizes]
    n = len(left)
    ties = sum(sizes.count(a) ** 3 - sizes.count(a) for a in set(sizes))
    variance = n * (n + 1) * (2 * n + 1) / 24 - ties / 48
    above = sum(r for r, d in zip(ranks, left, strict=True) if d > 0)
    return 1 - NormalDist().cdf((above - n * (n + 1) / 4) / math.sqrt(variance))


def naive_holm(p: Sequence[float]) -> list[float]:
    ordered = sorted(range(len(p)), key=lambda n: p[n])
    adjusted = [0.0] * len(p)
    for place, n in enumerate(ordered):
        steps = [(len(p) - k) * p[ordered[k]] for k in range(place + 1)]
        adjusted[n] = min(1.0, max(steps))
    return adjusted


def naive_tau_b(one: Sequence[int], other: Sequence[int]) -> float | None:
    pairs = [(i, j) for i in range(len(one)) for j in range(i)]
    signs = [(np.sign(one[i] - one[j]), np.sign(other[i] - other[j])) for i, j in pairs]
    untied = [sum(bool(sign[k]) for sign in signs) for k in (0, 1)]
    if 0 in untied:
        return None
    return float(sum(a * b for a, b in signs) / math.sqrt(untied[0] * untied[1]))


# --- against it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("submissions", "patients", "seed"), [(4, 6, 1), (3, 9, 2), (1, 5, 3)])
def test_orders_and_resamples_agree_with_counting(
    submissions: int, patients: int, seed: int
) -> None:
    table = random_table(submissions, patients, seed)
    values = whole(table)
    found = {one.entry: one for one in ranking(table).submissions}
    mean_ranks, primary, aggregate = naive_orders(values, range(len(table.patients)))
    resampled = [naive_orders(values, cases) for cases in naive_resamples(table)]
    for n, entry in enumerate(table.entries):
        one = found[entry]
        assert one.mean_rank == pytest.approx(float(mean_ranks[n]), abs=1e-6)
        assert (one.rank, one.rank_aggregate) == (primary[n], aggregate[n])
        drawn = [order[n] for _, order, _ in resampled]
        assert one.resamples_first == drawn.count(1)
        assert one.rank_counts == tuple(drawn.count(rank + 1) for rank in range(submissions))
    taus = [naive_tau_b(primary, order) for _, order, _ in resampled]
    known = [value for value in taus if value is not None]
    (stability, _) = ranking(table).statistics.stability
    assert stability.tau == (pytest.approx(np.mean(known), abs=1e-6) if known else None)


def test_tests_agree_with_the_formula_and_with_naive_holm() -> None:
    table = random_table(5, 12, seed=4)
    said = ranking(table)
    places = [table.entries.index(entry) for entry in said.statistics.significance.entries]
    assert places == [table.entries.index(one.entry) for one in said.submissions]
    values = whole(table)
    cases = {p: [n for n, q in enumerate(table.patients) if q == p] for p in table.patients}
    wins: dict[str, dict[str, int]] = {}
    for key, up in UP.items():
        means = [
            [Fraction(sum(values[key][n][s] for n in of_patient), len(of_patient)) for s in places]
            for of_patient in cases.values()
        ]
        pairs = [(i, j) for i in places for j in places if i != j]
        sign, a = 1 if up else -1, {place: n for n, place in enumerate(places)}
        p = [naive_wilcoxon([sign * (row[a[i]] - row[a[j]]) for row in means]) for i, j in pairs]
        expected = dict(zip(pairs, naive_holm(p), strict=True))
        matrix = said.statistics.significance.adjusted[key]
        for i in places:
            for j in places:
                assert matrix[a[i]][a[j]] == pytest.approx(expected.get((i, j), 1.0), abs=2e-6)
        wins[key] = {
            table.entries[i]: sum(expected[i, j] < LEVEL for j in places if i != j) for i in places
        }
    assert any(count for of_metric in wins.values() for count in of_metric.values())
    sums = [0] * len(places)
    for key, of_metric in wins.items():
        if key in RANKED:
            ranks = naive_ranks([of_metric[one.entry] for one in said.submissions], up=True)
            sums = [s + r for s, r in zip(sums, ranks, strict=True)]
        assert [one.metrics[key].wins for one in said.submissions] == [*of_metric.values()]
    assert [one.rank_test for one in said.submissions] == naive_ranks(sums)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_agrees_with_its_definition(p: list[float]) -> None:
    assert holm(np.array(p)) == pytest.approx(naive_holm(p))


def test_holm_on_a_known_example() -> None:
    """As R's `p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")`."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


orders = st.integers(1, 7).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(1, n), min_size=n, max_size=n)] * 2)
)


@given(orders)
def test_tau_agrees_with_counting_pairs(pair: tuple[list[int], list[int]]) -> None:
    one, other = pair
    expected = naive_tau_b(one, other)
    found = tau(np.array(one), np.array(other))
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


def naive_rank_sets(sums: np.ndarray, joint: bool) -> list[tuple[int, int]]:
    """As the definition says, pair by pair and flip by flip, in Python's numbers."""
    patients, count = sums.shape
    rows = [[int(value) for value in row] for row in sums]
    flips = [[int(sign) for sign in flip] for flip in signs(patients)]
    totals = [sum(row[j] for row in rows) for j in range(count)]
    tested: dict[tuple[int, int], list[float]] = {}
    for j in range(count):
        for k in range(count):
            differences = [row[j] - row[k] for row in rows]
            scale = math.sqrt(sum(d * d for d in differences))
            if scale:
                tested[j, k] = [
                    abs(sum(s * d for s, d in zip(flip, differences, strict=True))) * (1 / scale)
                    for flip in flips
                ]
    significant: set[tuple[int, int]] = set()
    families = [set(tested)] if joint else [{p for p in tested if p[0] == j} for j in range(count)]
    for family in families:
        while left := family - significant:
            largest = [max(tested[pair][flip] for pair in left) for flip in range(len(flips))]
            fresh = {
                pair
                for pair in left
                if sum(value >= tested[pair][0] for value in largest) <= 0.05 * len(flips)
            }
            if not fresh:
                break
            significant |= fresh
    return [
        (
            1 + sum((j, k) in significant and totals[k] < totals[j] for k in range(count)),
            count - sum((j, k) in significant and totals[k] > totals[j] for k in range(count)),
        )
        for j in range(count)
    ]


@pytest.mark.parametrize(("patients", "submissions"), [(6, 3), (8, 4), (ALL_FLIPS + 3, 5)])
def test_sets_of_ranks_agree_with_their_definition(patients: int, submissions: int) -> None:
    separated = False
    for seed in range(6):
        random = np.random.default_rng([seed, patients])
        skill = 3 * np.arange(submissions) * (seed % 3)
        sums = np.round(random.normal(20, 4, (patients, submissions)) + skill)
        sums[:, -1] = sums[:, 0]  # equal on every patient
        found = rank_sets(sums)
        for ends, joint in ((found.own, False), (found.joint, True)):
            expected = naive_rank_sets(sums, joint)
            assert list(zip(*(end.tolist() for end in ends), strict=True)) == expected
        separated = separated or bool((found.own[1] - found.own[0] < submissions - 1).any())
    assert separated


def test_no_set_of_ranks_is_narrow_where_patients_are_too_few() -> None:
    """Of five patients all signs agree in 2 of 32 flips: that is no 5 %."""
    found = rank_sets(np.arange(1, 4) + np.zeros((5, 1)))
    assert found.own[0].tolist() == [1, 1, 1] and found.own[1].tolist() == [3, 3, 3]
    found = rank_sets(np.arange(1, 4) + np.zeros((6, 1)))
    assert found.joint[0].tolist() == found.joint[1].tolist() == [1, 2, 3]


def test_sets_of_ranks_contain_the_rank_and_joint_sets_the_own() -> None:
    random = np.random.default_rng(3)
    sums = np.round(random.normal(50, 10, (20, 12)) + np.arange(12))
    found, ranks = rank_sets(sums), smallest_ranks(sums.sum(axis=0))
    assert (found.joint[0] <= found.own[0]).all() and (found.own[0] <= ranks).all()
    assert (found.joint[1] >= found.own[1]).all() and (found.own[1] >= ranks).all()


def test_groups_do_not_separate_equal_methods_more_often_than_promised() -> None:
    found = simulate(80, methods=8, step=0, patients=10)
    assert found["wrong"] <= 0.10  # 5 %, and what chance adds to 80 challenges
    assert found["everyone"] >= 0.85


def test_sets_and_intervals_of_close_methods_keep_their_promise() -> None:
    found = simulate(60, methods=6, step=0.01, patients=20)
    assert min(found["best"], found["everyone"], found["mean"]) >= 0.85
    assert found["wrong"] <= 0.10
    assert found["right"] > 0


def test_intervals_agree_with_the_formula_worked_by_hand() -> None:
    """Three patients of 1, 1 and 2 cases: t(2) is 4.302653, the mean 0.5."""
    sums, sizes = np.array([[0.2], [0.6], [1.2]]), np.array([1.0, 1.0, 2.0])
    residuals = (-0.3, 0.1, 0.2)
    error = math.sqrt(3 / 2 * sum(r * r for r in residuals)) / 4
    low, high = mean_intervals(sums, sizes)[:, 0]
    assert (low, high) == pytest.approx((0.5 - 4.302653 * error, 0.5 + 4.302653 * error), abs=1e-6)
    assert mean_intervals(sums, sizes, (0.4, 0.6)).ravel().tolist() == [0.4, 0.6]


@pytest.mark.parametrize(("submissions", "needed"), [(2, 5), (10, 14)])
def test_the_matrix_says_how_many_patients_it_takes(submissions: int, needed: int) -> None:
    for patients in (needed - 1, needed):
        table = make_table(
            [f"s{n}" for n in range(submissions)],
            [f"p{n}" for n in range(patients)],
            {
                metric.key: np.arange(submissions) * np.arange(1, patients + 1)[:, None] / 100
                for metric in METRICS
            },
        )
        found = ranking(table).statistics.significance
        assert found.patients_needed == needed
        smallest = min(min(row) for row in found.adjusted["hd95"])
        assert (smallest < LEVEL) == (patients >= needed)


# --- examples worked by hand ----------------------------------------------------------------------

A, B, C = digest_of("a"), digest_of("b"), digest_of("c")


def worked(patients: int = 6) -> TrackRanking:
    """On every case a is best, then b, then c; but c has one very bad HD95 less than b."""
    rows = range(patients)
    hd95 = [[1.0, 2.0, 3.0] for _ in rows]
    hd95[0] = [1.0, 500.0, 400.0]
    same = [[0.9, 0.8, 0.7] for _ in rows]
    names = [f"p{n}" for n in rows]
    return ranking(make_table("abc", names, {"dice": same, "iou": same, "hd95": hd95}))


def test_ranks_are_taken_case_by_case_before_they_are_averaged() -> None:
    """Method c has the smaller mean HD95, for one outlier; b is better on five cases of six."""
    said = worked()
    a, b, c = said.submissions
    assert [one.entry for one in said.submissions] == [A, B, C]
    assert [one.rank for one in said.submissions] == [1, 2, 3]
    assert (a.mean_rank, b.mean_rank) == (1.0, round((2 * 6 + 2 * 5 + 3) / 12, 6))
    assert c.metrics["hd95"].mean < b.metrics["hd95"].mean
    assert b.metrics["hd95"].mean_rank == round(13 / 6, 6)
    assert [one.rank_aggregate for one in said.submissions] == [1, 2, 2]  # ranks 1, 1; 2, 3; 3, 2


def test_the_certain_winner_has_a_group_of_its_own() -> None:
    said = worked()
    a, b, _ = said.submissions
    assert (a.resamples_first, a.rank_low, a.rank_high, a.group) == (RESAMPLES, 1, 1, "A")
    assert b.resamples_first == 0
    assert b.group == "B"
    assert a.rank_counts == (RESAMPLES, 0, 0)


def test_equal_submissions_share_rank_group_and_first_place() -> None:
    table = random_table(3, 8, seed=7, levels=None)
    twice = {key: np.hstack([value, value[:, :1]]) for key, value in table.values.items()}
    said = ranking(CaseTable((*table.entries, digest_of("copy")), table.patients, twice))
    one, copy = (
        next(s for s in said.submissions if s.entry == entry)
        for entry in (table.entries[0], digest_of("copy"))
    )
    assert one.model_copy(update={"entry": copy.entry}) == copy
    matrix = said.statistics.significance
    i, j = (matrix.entries.index(entry) for entry in (one.entry, copy.entry))
    assert all(p[i][j] == p[j][i] == 1.0 for p in matrix.adjusted.values())


# --- properties -----------------------------------------------------------------------------------


def test_more_images_of_the_same_patients_are_no_more_evidence() -> None:
    table = random_table(4, 10, seed=8)
    again = CaseTable(
        table.entries,
        table.patients * 5,
        {key: np.vstack([value] * 5) for key, value in table.values.items()},
    )
    once, often = ranking(table), ranking(again)
    assert often.statistics.cases == 5 * once.statistics.cases
    assert often.statistics.significance == once.statistics.significance
    for one, other in zip(once.submissions, often.submissions, strict=True):
        assert one.mean_rank_interval == pytest.approx(other.mean_rank_interval, abs=1e-6)
        assert (one.rank_counts, one.rank_high) == (other.rank_counts, other.rank_high)


def test_the_order_in_which_submissions_came_changes_nothing() -> None:
    table = random_table(6, 10, seed=9)
    places = np.random.default_rng(0).permutation(6)
    moved = CaseTable(
        tuple(table.entries[place] for place in places),
        table.patients,
        {key: value[:, places] for key, value in table.values.items()},
    )
    by_entry = [
        sorted(ranking(one).submissions, key=lambda ranked: ranked.entry) for one in (table, moved)
    ]
    assert by_entry[0] == by_entry[1]


def test_intervals_are_those_that_reports_give() -> None:
    table = random_table(2, 9, seed=10, levels=None)
    for one in ranking(table).submissions:
        for key, said in one.metrics.items():
            values = table.values[key][:, table.entries.index(one.entry)]
            bounds = DEFINED[key].bounds
            found = interval(values, table.patients, bounds)
            assert said.interval == pytest.approx(found, abs=1e-6)
            assert said.mean == pytest.approx(values.mean(), abs=1e-6)
            assert list(said.quantiles) == sorted(said.quantiles)


def test_no_interval_of_a_difference_is_another_than_that_of_the_pair_alone() -> None:
    table = random_table(5, 9, seed=12, levels=None)
    tests = ranking(table).statistics.significance
    places = [table.entries.index(entry) for entry in tests.entries]
    for metric in METRICS:
        values = table.values[metric.key][:, places]
        for i, row in enumerate(tests.half_widths[metric.key]):
            assert len(row) == i
            for j, half in enumerate(row):
                alone = difference(metric, values[:, [j, i]], table.patients)
                assert alone.interval is not None
                ends = (alone.difference - half, alone.difference + half)
                assert alone.interval == pytest.approx(ends, abs=1e-5)


def test_a_ranking_without_intervals_of_differences_is_read_and_never_passes_for_a_newer_one() -> (
    None
):
    said = ranking(random_table(4, 8, seed=11)).document()
    del said["statistics"]["significance"]["half_widths"]
    with pytest.raises(ValueError, match="half_widths"):
        TrackRanking.model_validate(said)
    older = TrackRanking.model_validate(said | {"schema": "busbench/ranking/v4"})
    assert older.statistics.significance.half_widths == {}
    cut = ranking(random_table(4, 8, seed=11)).document()
    cut["statistics"]["significance"]["half_widths"]["dice"][3].pop()
    with pytest.raises(ValueError, match="half_widths"):
        TrackRanking.model_validate(cut)


def test_the_same_cases_give_the_same_bytes_and_read_back() -> None:
    said = ranking(random_table(4, 8, seed=11))
    assert ranking(random_table(4, 8, seed=11)) == said
    assert TrackRanking.model_validate(said.document()) == said
    assert isinstance(said.document()["submissions"][0]["mean_rank_interval"], list)


intervals = st.integers(1, 12).flatmap(
    lambda n: st.lists(
        st.tuples(st.integers(1, n), st.integers(1, n)).map(sorted),
        min_size=1,
        max_size=n,
    )
)


@given(intervals)
def test_two_share_a_group_exactly_where_their_rank_intervals_overlap(
    spans: list[list[int]],
) -> None:
    low, high = (np.array(ends) for ends in zip(*spans, strict=True))
    first, last = groups(low, high)
    assert (first <= last).all()
    for i in range(len(spans)):
        for j in range(len(spans)):
            overlap = low[i] <= high[j] and low[j] <= high[i]
            assert overlap == (first[i] <= last[j] and first[j] <= last[i])
    members = [
        {n for n in range(len(spans)) if first[n] <= g <= last[n]} for g in range(1, max(last) + 1)
    ]
    assert not any(a <= b for a in members for b in members if a is not b)  # none is needless


def test_letters_go_on_after_z() -> None:
    assert [rank_groups(n, n) for n in (1, 26, 27, 52, 53, 703)] == [
        "A",
        "Z",
        "AA",
        "AZ",
        "BA",
        "AAA",
    ]
    assert rank_groups(1, 2) == "A–B"


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.1 + 2**-40]), min_size=1, max_size=9))
def test_values_closer_than_the_unit_tie(values: list[float]) -> None:
    rounded = [0.1 if value > 0.1 and value < 0.2 else value for value in values]
    assert smallest_ranks(exact(np.array(values))).tolist() == naive_ranks(rounded)


@settings(max_examples=30)
@given(st.integers(1, 200))
def test_histograms_of_ranks_are_bounded_and_complete(submissions: int) -> None:
    bins = rank_bins(submissions)
    assert bins[0] == 1 and len(bins) == min(submissions, 32) and (np.diff(bins) > 0).all()
    ranks = np.random.default_rng(0).integers(1, submissions + 1, size=(20, submissions))
    counts = rank_counts(ranks)
    for n in range(submissions):
        expected = np.histogram(ranks[:, n], [*bins, submissions + 1])[0]
        assert counts[n].tolist() == expected.tolist()


def test_tests_grow_with_submissions_and_not_with_their_pairs() -> None:
    count = 3 * MAX_OPPONENTS
    order = np.random.default_rng(1).permutation(count)
    against = opponents(order)
    assert len(set(against)) == MAX_OPPONENTS
    assert (against[0], against[-1]) == (order[0], order[-1])
    means = np.random.default_rng(2).random((30, count)) + np.linspace(1, 0, count)
    done = better(means, against)
    assert done.adjusted.shape == (count, MAX_OPPONENTS)
    assert set(done.tests.tolist()) == {MAX_OPPONENTS, MAX_OPPONENTS - 1}
    assert done.wins[0] > done.wins[count // 2] > done.wins[-1] == 0


def test_many_submissions_give_a_matrix_of_bounded_size() -> None:
    said = ranking(random_table(MAX_OPPONENTS + 10, 6, seed=12))
    matrix = said.statistics.significance
    assert len(matrix.entries) == MAX_OPPONENTS
    assert all(len(rows) == len(rows[0]) == MAX_OPPONENTS for rows in matrix.adjusted.values())
    assert matrix.entries[0] == said.submissions[0].entry


def test_the_example_in_the_documentation_is_as_it_says() -> None:
    dice = [[0.9, 0.8, 0.7], [0.9, 0.8, 0.7], [0.0, 0.7, 0.75]]
    values = exact(np.array(dice))
    ranks = smallest_ranks(-values)
    assert ranks.mean(axis=0) == pytest.approx([5 / 3, 2, 7 / 3])
    assert smallest_ranks(ranks.sum(axis=0)).tolist() == [1, 2, 3]
    assert smallest_ranks(-values.sum(axis=0)).tolist() == [3, 1, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_no_byte(threads: int) -> None:
    table = random_table(40, 150, seed=13, levels=None)
    with threadpool_limits(threads):
        limited = ranking(table)
    backwards = CaseTable(  # another order of summation
        table.entries,
        table.patients[::-1],
        {key: value[::-1] for key, value in table.values.items()},
    )
    assert limited == ranking(backwards)

"""The scheme that a challenge declares decides order and statistics; gaps against a reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluator.consistency import KEPT_LESION
from harness.challenge import Challenge, RankingRules, Reference, Track
from harness.evaluation.stage_output import CASES
from harness.ledger import verify_ledger
from harness.ranking import make_board, to_markdown
from harness.ranking.cases import CaseTable
from harness.ranking.rank_sets import aggregate_rank_sets, rank_sets
from harness.ranking.record import record_ranking
from harness.ranking.statistics import make_ranking
from harness.sealing.keys import Keys
from tests.support.factories import digest_of, make_report
from tests.support.runs import Organiser


def table(seed: int, submissions: int = 5, patients: int = 12) -> CaseTable:
    """Two cases a patient; the scales of the metrics differ."""
    random = np.random.default_rng(seed)
    shape = (2 * patients, submissions)
    dice = (0.7 + 0.02 * np.arange(submissions) + random.normal(0, 0.1, shape)).clip(0, 1)
    values = {"dice": dice, "iou": dice / (2 - dice), "hd95": random.exponential(20, shape)}
    return CaseTable(
        tuple(digest_of(f"{n}") for n in range(submissions)),
        tuple(f"p{n // 2}" for n in range(2 * patients)),
        values,
    )


@pytest.mark.parametrize("seed", range(5))
def test_means_are_ranked_where_the_challenge_says_so(seed: int) -> None:
    made = table(seed)
    found = make_ranking(make_report(), made, ("dice", "hd95"), scheme="aggregate")
    ranks = pd.DataFrame(
        {
            "dice": pd.Series(made.values["dice"].mean(axis=0)).rank(ascending=False, method="min"),
            "hd95": pd.Series(made.values["hd95"].mean(axis=0)).rank(method="min"),
        }
    ).mean(axis=1)
    expected = ranks.rank(method="min").astype(int).tolist()
    by_entry = {one.entry: one for one in found.submissions}
    ordered = [by_entry[entry] for entry in made.entries]
    assert [one.rank for one in ordered] == expected == [one.rank_aggregate for one in ordered]
    assert [one.mean_rank for one in ordered] == pytest.approx(ranks.tolist())
    assert found.statistics.scheme == "aggregate"
    for one in ordered:
        assert one.mean_rank_interval is None  # it would be of another number
        assert one.rank_low <= one.rank <= one.rank_high
        assert one.resamples_first == one.rank_counts[0]
    plain = make_ranking(make_report(), made, ("dice", "hd95"))
    assert plain.statistics.scheme == "mean-rank"
    assert all(one.mean_rank_interval is not None for one in plain.submissions)


def test_sets_by_one_metric_are_those_of_its_values() -> None:
    made = table(3)
    found = make_ranking(make_report(), made, ("dice",), scheme="aggregate")
    sums = np.rint(-made.values["dice"] / 2.0**-30).reshape(-1, 2, 5).sum(axis=1)
    low, high = rank_sets(sums).own  # larger numbers, so no digit is to be lost
    by_entry = {one.entry: (one.rank_low, one.rank_high) for one in found.submissions}
    assert [by_entry[entry] for entry in made.entries] == [*zip(low, high, strict=True)]


def simulated(random: np.random.Generator, means: np.ndarray, patients: int) -> list[np.ndarray]:
    """Losses by two metrics, of which a patient's effect is shared."""
    shared = random.normal(0, 3, (patients, 1))
    return [
        np.rint(1e6 * (means[metric] + shared + random.normal(0, 1, (patients, len(means[0])))))
        for metric in range(2)
    ]


def test_no_more_than_a_few_test_sets_miss_a_rank_by_means() -> None:
    """All true ranks at once, by two metrics that disagree; and the sets do separate."""
    random = np.random.default_rng(7)
    means = np.array([[0, 0, 0.5, 1.5, 3.0], [0.1, 0, 0.4, 1.0, 2.5]])
    sums = sum((m[:, None] > m).sum(axis=1) for m in means)
    true = 1 + (sums[:, None] > sums).sum(axis=1)
    covered, narrow = [], []
    for _ in range(60):
        low, high = aggregate_rank_sets(simulated(random, means, 20)).joint
        covered.append(bool(((low <= true) & (true <= high)).all()))
        narrow.append(bool(high[0] < 5 and low[4] > 1))
    assert np.mean(covered) >= 0.93 and np.mean(narrow) > 0.9


def test_equal_submissions_are_never_separated_by_means() -> None:
    values = np.repeat(np.random.default_rng(1).normal(0, 1e9, (12, 1)).round(), 4, axis=1)
    low, high = aggregate_rank_sets([values, values]).own
    assert low.tolist() == [1] * 4 and high.tolist() == [4] * 4


# --- on the board --------------------------------------------------------------------------------


@pytest.fixture
def organiser(tmp_path: Path) -> Organiser:
    made = Organiser(tmp_path, Keys.new(tmp_path / "keys"), windows=2)
    for method, skill, loss in (("honest", 0.7, 0.02), ("odd", 0.9, 0.3), ("base", 0.6, 0.04)):
        made.submit(method, skill, loss=loss)
    return made


def declared(scheme: str = "mean-rank", method: str = "base") -> Challenge:
    report = make_report()
    track = Track(
        dataset=report.dataset,
        split_version=report.split_version,
        folds=2,
        labels=report.labels,
        reference=Reference(team=report.team, method=method),
    )
    rules = RankingRules.model_validate({"scheme": scheme})
    return Challenge(tracks={report.track: track}, ranking=rules)


def test_a_ranking_by_another_scheme_orders_nothing(organiser: Organiser) -> None:
    record_ranking(organiser.ledger, [organiser.runs], organiser.keys, challenge=declared())
    (track,) = make_board(verify_ledger(organiser.ledger), declared()).tracks
    assert track.order == "mean-rank" and track.statistics is not None
    other = declared("aggregate")
    (track,) = make_board(verify_ledger(organiser.ledger), other).tracks
    assert track.order == "aggregate" and track.statistics is None
    record_ranking(organiser.ledger, [organiser.runs], organiser.keys, challenge=other)
    board = make_board(verify_ledger(organiser.ledger), other)
    (track,) = board.tracks
    assert track.order == "aggregate" and track.statistics is not None
    assert "the mean of the ranks by means over" in to_markdown(board)
    assert "alone" not in to_markdown(board).split("95 %")[0]


def naive_excess(one: Path, other: Path) -> float:
    """From the files of cases, case by case and fold by fold."""
    gaps = []
    for folder in (one, other):
        found: dict[str, list[float]] = {}
        for row in pd.read_parquet(folder / CASES).to_dict("records"):
            kept = [
                row[f"{prefix}dice"]
                for prefix in ("transformed_", "transformed_2_")
                if row[f"{prefix}lesion_px"] >= KEPT_LESION * row["lesion_px"] > 0
            ]
            if kept:
                found.setdefault(row["case_id"], []).append(row["dice"] - float(np.mean(kept)))
        gaps.append({case_id: np.mean(values) for case_id, values in found.items()})
    both = gaps[0].keys() & gaps[1].keys()
    return float(np.mean([gaps[0][case_id] - gaps[1][case_id] for case_id in sorted(both)]))


def test_gaps_stand_against_the_reference_on_the_same_windows(organiser: Organiser) -> None:
    challenge = declared()
    record_ranking(organiser.ledger, [organiser.runs], organiser.keys, challenge=challenge)
    board = make_board(verify_ledger(organiser.ledger), challenge)
    (track,) = board.tracks
    folders = {
        row.method: next(
            f.parent.parent
            for f in organiser.runs.glob("*/score/cases.parquet")
            if np.isclose(pd.read_parquet(f)["dice"].mean(), row.groups["all"].metrics["dice"].mean)
        )
        for row in track.rows
    }
    for row in track.rows:
        assert row.ranked is not None
        found = row.ranked.gap_excess
        if row.method == "base":
            assert found is None and row.entry == track.reference
            continue
        assert found is not None and found.interval is not None
        expected = naive_excess(folders[row.method], folders["base"])
        assert found.mean == pytest.approx(expected, abs=1e-6)
        assert found.interval.low < expected < found.interval.high
        assert (found.interval.low > 0) is (row.method == "odd")
    assert "Dice gap over the reference's" in to_markdown(board)


def test_without_a_reference_no_gap_is_compared(organiser: Organiser) -> None:
    challenge = declared(method="nobody")
    record_ranking(organiser.ledger, [organiser.runs], organiser.keys, challenge=challenge)
    board = make_board(verify_ledger(organiser.ledger), challenge)
    assert board.tracks[0].reference is None
    assert "over the reference" not in to_markdown(board)

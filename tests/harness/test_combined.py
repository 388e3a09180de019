"""The ranking over several tracks: mean of mean ranks, each track weighing the same."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from evaluator.documents.scores import Ranked
from evaluator.errors import BusbenchError
from harness.challenge import Challenge, Track, load_challenge
from harness.cli.selection import without_external_data
from harness.ledger import Retraction, append, verify_ledger
from harness.ranking import Board, make_board
from harness.ranking.across import blocks
from harness.ranking.cases import CaseTable
from harness.ranking.combined import CombinedBoard, make_combined, read_combined
from harness.ranking.names import plain
from harness.ranking.record import record_ranking
from harness.rescoring.record import record as record_rescoring
from harness.sealing.keys import Keys
from tests.support.factories import digest_of
from tests.support.runs import Organiser

RANKED: tuple[Ranked, ...] = ("dice", "hd95")
DECLARED = {name: Track(dataset=name, split_version="v1") for name in ("busbra", "busi")}
CHALLENGE = Challenge(tracks=DECLARED, combined=("busi", "busbra"))
WHERE = {"a": {"busbra": 0.8, "busi": 0.4}, "b": {"busbra": 0.6, "busi": 0.7}, "c": {"busi": 0.9}}


@pytest.fixture
def organiser(keys: Keys, tmp_path: Path) -> Organiser:
    found = Organiser(tmp_path, keys)
    for method, skills in WHERE.items():
        for track, skill in skills.items():
            found.submit(method, skill, folds=5, track=track, dataset=track)
    return found


def board(organiser: Organiser, challenge: Challenge = CHALLENGE) -> Board:
    return make_board(verify_ledger(organiser.ledger), challenge)


def combined(organiser: Organiser) -> CombinedBoard:
    found = board(organiser).combined
    assert found is not None
    return found


def record(organiser: Organiser, track: str | None = None) -> dict[str, str]:
    outcomes = record_ranking(
        organiser.ledger, [organiser.runs], organiser.keys, challenge=CHALLENGE, track=track
    )
    return {one.track: one.state for one in outcomes}


def table(name: str, cases: int, patients: int, methods: int, seed: int) -> CaseTable:
    random = np.random.default_rng(seed)
    values = {
        "dice": random.random((cases, methods)).round(1),
        "iou": random.random((cases, methods)),
        "hd95": random.integers(0, 9, (cases, methods)).astype(float),
    }
    entries = tuple(digest_of(f"{name}/{n}") for n in range(methods))
    return CaseTable(entries, tuple(f"p{n % patients}" for n in range(cases)), values)


def by_pandas(tables: dict[str, CaseTable]) -> tuple[NDArray[np.float64], list[pd.DataFrame]]:
    """Mean rank of each method, and the ranks of each patient as a share of the track's cases."""
    means, sums = [], []
    for one in tables.values():
        ranks = sum(
            pd.DataFrame(one.values[key] * sign).rank(axis=1, method="min")
            for key, sign in (("dice", -1), ("hd95", 1))
        )
        assert isinstance(ranks, pd.DataFrame)
        means.append(ranks.mean().to_numpy() / 2)
        sums.append(ranks.groupby([*one.patients]).sum() / len(ranks))
    return np.mean(means, axis=0), sums


def naive_sets(sums: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Each method's confidence set by all sign flips, pair by pair, stepping down."""
    flips = np.array(list(itertools.product((1, -1), repeat=len(sums))))
    methods, found = range(sums.shape[1]), []
    for own in methods:
        active, better, worse = {other for other in methods if other != own}, set(), set()
        while active:
            differences = {other: sums[:, other] - sums[:, own] for other in active}
            scaled = {o: d / np.sqrt((d**2).sum()) for o, d in differences.items() if (d**2).sum()}
            largest = np.max([np.abs(flips @ d) for d in scaled.values()], axis=0)
            bound = np.sort(largest)[::-1][int(0.05 * len(flips))]
            fresh = {o for o, d in scaled.items() if abs(d.sum()) > bound + 1e-12}
            if not fresh:
                break
            better |= {o for o in fresh if differences[o].sum() < 0}
            worse |= {o for o in fresh if differences[o].sum() > 0}
            active -= fresh
        found.append((1 + len(better), len(methods) - len(worse)))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_ranks_and_sets_are_those_of_a_naive_second_implementation(seed: int) -> None:
    tables = {"one": table("one", 18, 6, 4, seed), "two": table("two", 10, 5, 4, seed + 50)}
    for one in tables.values():  # the first is better than all others, everywhere
        one.values["dice"][:, 0], one.values["hd95"][:, 0] = 1.0, -1.0
    found = make_combined(tables, RANKED)
    means, sums = by_pandas(tables)
    by_entry = {one.entries["one"]: one for one in found.submissions}
    rows = [by_entry[entry] for entry in tables["one"].entries]
    assert [row.mean_rank for row in rows] == pytest.approx(means, abs=1e-6)
    assert [row.rank for row in rows] == list(pd.Series(means.round(9)).rank(method="min"))
    stacked = np.vstack([frame.to_numpy() for frame in sums])
    assert [(row.rank_low, row.rank_high) for row in rows] == naive_sets(stacked)
    assert (rows[0].rank_low, rows[0].rank_high, found.patients) == (1, 1, 11)


def test_a_large_track_weighs_no_more_than_a_small_one() -> None:
    small, large = table("small", 4, 4, 2, 0), table("large", 40, 20, 2, 1)
    for one, winner in ((small, 0), (large, 1)):
        for key, best, worst in (("dice", 0.9, 0.1), ("hd95", 1.0, 9.0)):
            one.values[key][:, winner], one.values[key][:, 1 - winner] = best, worst
    found = make_combined({"small": small, "large": large}, RANKED)
    assert [(one.rank, one.mean_rank) for one in found.submissions] == [(1, 1.5), (1, 1.5)]


def test_a_method_that_lacks_a_track_is_listed_and_never_ranked(organiser: Organiser) -> None:
    found = combined(organiser)
    assert {row.method for row in found.rows} == {"a", "b"}
    assert [(one.method, one.tracks) for one in found.lacking] == [("c", ("busbra",))]
    assert [row.mean_ranks for row in found.rows] == [
        {"busi": 2.0, "busbra": 1.0},
        {"busi": 1.0, "busbra": 2.0},
    ]  # c, who is first on busi, is not counted
    (block,) = blocks(board(organiser), plain)
    assert block.cells[-1][:3] == ["–", "c", "reference"] and "listed, not ranked" in block.note


def test_the_recorded_ranking_holds_for_exactly_its_results(organiser: Organiser) -> None:
    assert combined(organiser).order == "aggregate"
    assert record(organiser) == {"busbra": "recorded", "busi": "recorded", "combined": "recorded"}
    found = combined(organiser)
    assert (found.order, found.patients) == ("mean-rank", 16)
    assert all(row.rank_low is not None for row in found.rows)
    before = organiser.ledger.read_bytes()
    assert set(record(organiser).values()) == {"unchanged"}
    assert organiser.ledger.read_bytes() == before
    organiser.submit("b", 0.65, folds=5, track="busi", dataset="busi")  # supersedes
    assert combined(organiser).order == "aggregate"
    assert record(organiser)["combined"] == "recorded"
    assert combined(organiser).order == "mean-rank"


def test_the_combined_ranking_follows_a_rescoring(organiser: Organiser) -> None:
    def follow() -> dict[str, str]:
        done = record_rescoring(
            organiser.ledger,
            (),
            (),
            keys=organiser.keys,
            reason="None.",
            runs=[organiser.runs],
            challenge=CHALLENGE,
        )
        assert done.unranked is None
        return {one.track: one.state for one in done.rankings}

    assert follow() == {}  # there was none
    record(organiser)
    organiser.submit("b", 0.65, folds=5, track="busi", dataset="busi")  # another entry counts
    assert combined(organiser).order == "aggregate"
    assert follow() == {"busbra": "unchanged", "busi": "recorded", "combined": "recorded"}
    assert combined(organiser).order == "mean-rank"


def test_a_retracted_result_takes_its_method_out(organiser: Organiser) -> None:
    record(organiser)
    (row,) = [row for row in combined(organiser).rows if row.method == "a"]
    entry = next(
        one
        for one in verify_ledger(organiser.ledger).reports
        if one.number == row.entries["busbra"]
    )
    append(organiser.ledger, Retraction(entry=entry.digest, reason="Wrong."), organiser.keys)
    found = combined(organiser)
    assert [row.method for row in found.rows] == ["b"] and found.order == "aggregate"


def test_one_track_alone_records_no_combined_ranking(organiser: Organiser) -> None:
    assert record(organiser, track="busi") == {"busi": "recorded"}
    assert read_combined(verify_ledger(organiser.ledger)) == []


def test_nothing_is_combined_that_challenge_yaml_does_not_name(organiser: Organiser) -> None:
    assert board(organiser, Challenge(tracks=DECLARED)).combined is None


def test_no_method_over_tracks_passes_for_trained_without_external_data(
    organiser: Organiser,
) -> None:
    found = board(organiser)
    assert found.combined is not None and found.combined.rows and found.combined.lacking
    left = without_external_data(found).combined
    assert left is not None and (left.rows, left.lacking) == ((), ())


def test_a_track_without_results_leaves_nobody_ranked(organiser: Organiser) -> None:
    tracks = {**DECLARED, "bus-uc": Track(dataset="bus-uc", split_version="v1")}
    found = board(organiser, Challenge(tracks=tracks, combined=("busi", "busbra", "bus-uc")))
    assert found.combined is not None and found.combined.rows == ()
    assert {one.method for one in found.combined.lacking} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("combined", "words"),
    [
        ("[busi]", "two tracks or more"),
        ("[busi, busi]", "each once"),
        ("[busi, x]", "no declared track"),
    ],
)
def test_what_cannot_be_combined_is_refused(tmp_path: Path, combined: str, words: str) -> None:
    path = tmp_path / "challenge.yaml"
    tracks = "tracks: {busi: {dataset: busi, split_version: v1}}\n"
    path.write_text(f"{tracks}combined: {combined}\n")
    with pytest.raises(BusbenchError, match=words):
        load_challenge(path)

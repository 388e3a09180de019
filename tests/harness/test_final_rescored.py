"""A challenge whose metric changes before its final and again after it, with a visiting method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from evaluator.documents.base import write
from harness.audit.across import JoinedStores, audit_across
from harness.challenge import Challenge, Generalisation, Track
from harness.evaluation.evaluate import REPORT
from harness.evaluation.stage_output import CASES
from harness.ledger import RecordedReport, verify_ledger
from harness.ranking.runs import run_folders
from harness.store import CaseStore, write_store
from tests.support.final_challenge import OPEN, OVER, PHASES, Ended, FinalChallenge
from tests.support.two_tracks import OTHER, others

PROCESS = ("--runner", "process")
BOTH_KEYS = ("--keys", "keys", "--final-keys", "final-keys")
BUNDLES = ("--bundle", "bundles", "--bundle", "others")


def measure_by(profile: str, challenge: FinalChallenge) -> None:
    """Declare the version of the metric profile of both tracks."""
    tracks = {
        name: Track(dataset=name, split_version="v1", metric_profile=profile)
        for name in ("phantom", OTHER)
    }
    twins = Generalisation(twins=(Path("cross-audit.json"),))
    challenge.declare(Challenge(tracks=tracks, phases=PHASES, generalisation=twins))


def well(ended: Ended) -> Ended:
    assert ended.code is None, ended.said
    return ended


@pytest.fixture
def challenge(tmp_path: Path) -> FinalChallenge:
    """Two tracks with a final part each; what is trained for one may be tested on the other."""
    made = FinalChallenge.make(tmp_path)
    measure_by("native@1", made)
    store = write_store(tmp_path / "other", OTHER, others())
    frozen = ("--version", "v1", "--test-fraction", "0.5", "--final", "0.5")
    well(made.run("freeze", "other", "--out", "split-other", *frozen))
    sealed = ("seal", "other", "--split", "split-other", "--out", "others", "--windows", "1")
    well(made.run(*sealed, *BOTH_KEYS))
    joined = JoinedStores([CaseStore.open(tmp_path / "store"), store])
    found, _ = audit_across(joined, near=False)
    write(found.model_copy(update={"near": True}), tmp_path / "cross-audit.json")  # noise has none
    return made


def counting(challenge: FinalChallenge) -> dict[tuple[str, str], RecordedReport]:
    """The results that count, by team and by what they were scored on."""
    found = verify_ledger(challenge.root / "l.jsonl", anew=True).reports
    named = {(one.report.team, one.report.part): one for one in found if one.report.home is None}
    visits = {(one.report.team, "visit"): one for one in found if one.report.home is not None}
    assert len(named) + len(visits) == len(found)
    return named | visits


def rescored(challenge: FinalChallenge, profile: str) -> Any:
    """Go over to a version of the profile, and score all that counts anew."""
    measure_by(profile, challenge)
    before = counting(challenge)
    words = ("rescore", "l.jsonl", "--runs", "runs", *BUNDLES, *BOTH_KEYS, *PROCESS)
    done = well(challenge.run(*words, day=OVER, json=True)).json
    after = counting(challenge)
    assert after.keys() == before.keys() and len(done["changes"]) == len(after)
    for name, new in after.items():
        old = before[name]
        assert new.report.scores.metric_profile.label == profile
        assert (new.replaces, new.report.origin()) == (old.number, old.report.origin())
    return done["recorded"]


@pytest.mark.slow
def test_neither_a_final_nor_a_visitor_is_lost_doubled_or_mixed_when_metrics_change(
    challenge: FinalChallenge,
) -> None:
    root = challenge.root
    well(challenge.evaluate(challenge.submission("a", "one", bias=-2.0)))
    visit = ("--on", OTHER, "--splits", "split", "--splits", "split-other", "--keys", "keys")
    words = ("evaluate", "a-one", "--bundle", "others", *visit, "--ledger", "l.jsonl", *PROCESS)
    well(challenge.run(*words))
    left_out = counting(challenge)["a", "visit"].report.home.left_out  # type: ignore[union-attr]
    assert left_out
    rescored(challenge, "native@2")

    # those enter whose results on the test part were scored anew, with the files of their runs
    done = well(challenge.finalise("--bundle", "others")).json
    assert [(one["team"], one["why"]) for one in done["finalists"]] == [("a", "best")]
    assert [one["new"] for one in done["recorded"]] == [True]
    assert counting(challenge)["a", "final"].report.scores.metric_profile.label == "native@2"
    well(challenge.run("rank", "l.jsonl", "--cases", "runs", "--keys", "keys", day=OVER))
    recorded = rescored(challenge, "native@1")
    assert recorded["unranked"] is None
    assert [one["state"] for one in recorded["rankings"]] == ["recorded", "recorded"]

    # the log, and what is ready for the final, follow; the same again changes nothing
    reports = counting(challenge)
    logged = {one["report"] for one in challenge.log()}
    assert logged == {one.report.identity() for one in reports.values()}
    before = (root / "l.jsonl").read_bytes()
    again = well(challenge.finalise("--bundle", "others")).json
    assert [one["new"] for one in again["recorded"]] == [False]
    assert (root / "l.jsonl").read_bytes() == before

    # what teams may read is of the numbers that count
    well(challenge.run("feedback", "runs", "--ledger", "l.jsonl", day=OPEN))
    folders = run_folders([root / "runs"])
    for one in reports.values():
        scored = folders[one.report.identity()]
        assert scored.parent.name == "rescored"
        cases = pd.read_parquet(scored / CASES)
        shown = pd.read_parquet(scored.parents[1] / "feedback" / CASES.name)
        pd.testing.assert_frame_equal(shown, cases[shown.columns])
        if one.report.home is not None:
            assert {*left_out}.isdisjoint(cases["case_id"])
    assert len(list((root / "runs").glob(f"*/{REPORT}"))) == len(reports) == 3

    # and anybody finds the same
    checks = ("--splits", ".", "--store", "store", "--store", "other", *BUNDLES, *BOTH_KEYS)
    well(challenge.run("verify", "l.jsonl", "--rescore", "runs", *checks, *PROCESS))
    files = ("--submission", "a-one", "--split", "split-other", "--store", "other", *PROCESS)
    well(challenge.run("reproduce", "l.jsonl", reports["a", "visit"].number, *files))
    well(challenge.run("publish", "l.jsonl", "--out", "site", day=OPEN))
    board = json.loads((root / "site" / "board.json").read_bytes())
    tables = {
        (track["track"], track["part"]): (len(track["rows"]), len(track["visitors"]))
        for track in board["tracks"]
    }
    own, visited = {("phantom", part): (1, 0) for part in ("test", "final")}, (OTHER, "test")
    assert tables == {**own, visited: (0, 1)}

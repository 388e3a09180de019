"""Rescoring: all at once, by name, and nothing of a result's origin is lost or made up."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from evaluator.metrics import profile_version
from harness.challenge import Challenge, Phase
from harness.execution import ExecutionEnvironment, run_job
from harness.ledger import LedgerVerdict, RecordedReport, append, sign, verify_ledger
from harness.ledger.provenance import ProvenanceAttestation, trained_here, write_provenance
from harness.quotas import SubmissionLog
from harness.quotas.recording import LedgerRecorder
from harness.rescoring.plan import make_plan
from harness.submission import read_entry
from tests.support.command_line import Shown, busbench_in
from tests.support.small_challenge import SmallChallenge, make_submission

pytestmark = pytest.mark.usefixtures("forked_stages")

DAY = date(2026, 3, 1)
CLOSED = Phase(
    name="past", closes=date(2026, 3, 31), steps={"dice": 0.1}, results_open=date(2026, 4, 1)
)


@dataclass(frozen=True)
class World:
    """An organiser's folder after the challenge: two results, one trained here, a ranking."""

    challenge: SmallChallenge
    root: Path
    capture: pytest.CaptureFixture[str] | None = None

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def verdict(self) -> LedgerVerdict:
        return verify_ledger(self.ledger, anew=True)

    def declare(self, profile: str) -> Path:
        document = {
            "tracks": {
                "phantom": {
                    "dataset": "phantom",
                    "split_version": "v1",
                    "metric_profile": profile,
                }
            },
            "phases": [CLOSED.document()],
            "ranking": {"metrics": ["dice"]},
        }
        path = self.root / "challenge.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    def busbench(self, *words: object) -> Shown:
        assert self.capture is not None
        return busbench_in(self.capture, *words)

    def rescore(self, *words: object, profile: str = "native@2", status: int = 0) -> Any:
        """Rescore as challenge.yaml declares it, and what `--json` prints."""
        shown = self.busbench(
            *("rescore", self.ledger, "--runs", self.runs, "--keys", self.challenge.keys.path),
            *("--bundle", self.challenge.root / "bundles", "--runner", "process", "--json"),
            *("--challenge", self.declare(profile), *words),
        )
        assert shown.status == status, shown.err
        return json.loads(shown.out)

    def board(self, profile: str) -> Any:
        declared = ("--challenge", self.declare(profile))
        shown = self.busbench("rank", self.ledger, "--json", *declared)
        assert shown.status == 0, shown.err
        (track,) = json.loads(shown.out)["tracks"]
        return track


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Made once: evaluation runs a network."""
    root = tmp_path_factory.mktemp("rescore")
    world = World(SmallChallenge.make(root), root)
    settings = world.challenge.settings.model_copy(update={"phases": (CLOSED,)})
    for method, bias in (("bright", -2.0), ("dim", 1.0)):
        submission = make_submission(root / method, method=method, bias=bias)
        if method == "bright":
            facts, sealed = read_entry(submission), world.challenge.bundles.sealed
            attestation = ProvenanceAttestation(
                image="sha256:abc",
                submission_sha256=facts.digest,
                split_digest=sealed.split_digest,
            )
            write_provenance(attestation, submission, world.challenge.keys)
        recorder = LedgerRecorder(world.challenge.keys, world.ledger, settings, day=DAY)
        run_job(world.challenge.job(submission, world.runs), recorder=recorder)
    environment = ExecutionEnvironment("process", Challenge(), world.challenge.keys.path)
    for label in ("native@1", "native@2"):  # once for all tests: what is done is not done again
        plan = make_plan(
            *(world.verdict, [world.runs], [(world.challenge.bundles, world.challenge.keys)]),
            environment=environment,
            profile=label,
        )
        for job in plan.jobs.values():
            run_job(job)
    return world


@pytest.fixture
def world(first: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> World:
    """A copy of the organiser's folder."""
    shutil.copytree(first.runs, tmp_path / "runs")
    shutil.copy(first.ledger, tmp_path / "ledger.jsonl")
    shutil.copy(SubmissionLog.beside(first.ledger).path, tmp_path / "ledger.jsonl.log.json")
    return World(first.challenge, tmp_path, capsys)


def facts(entry: RecordedReport) -> dict[str, object]:
    """What a report says beside its numbers."""
    document = entry.report.document()
    del document["scores"], document["provenance"]["evaluator"]["score"]
    return document


def test_a_closed_phase_does_not_hinder_it_and_nothing_but_numbers_changes(world: World) -> None:
    before = {entry.report.method: entry for entry in world.verdict.reports}
    found = world.rescore()
    after = {entry.report.method: entry for entry in world.verdict.reports}
    assert before.keys() == after.keys() == {"bright", "dim"}
    for method, old in before.items():
        new = after[method]
        assert facts(new) == facts(old)
        assert new.number != old.number == new.replaces == new.place
        assert new.report.scores.metric_profile == profile_version("native@2").identity
    assert after["bright"].report.provenance.trained_here == "sha256:abc"
    (entry,) = world.verdict.rescorings
    assert found["recorded"]["entry"] == entry.number == 5
    assert {one["entry"] for one in found["changes"]} == {1, 2}
    for replaced, change in zip(entry.body.replaced, found["changes"], strict=True):
        assert {name: list(pair) for name, pair in replaced.means.items()} == change["means"]
        assert list(replaced.ranks) == change["ranks"] == [change["ranks"][0]] * 2


def test_recall_is_of_lesions_alone_by_native_2_and_the_ranked_metrics_are_as_before(
    world: World,
) -> None:
    before = {entry.number: entry.report.scores.groups for entry in world.verdict.reports}
    world.rescore()
    for entry in world.verdict.reports:
        groups, old = entry.report.scores.groups, before[entry.place]
        assert "recall" in old["normal"].metrics and "recall" not in groups["normal"].metrics
        assert groups["all"].metrics["recall"].mean == old["lesion"].metrics["recall"].mean
        assert groups["lesion"].metrics["recall"] == old["lesion"].metrics["recall"]
        for name in ("dice", "iou", "hd95"):
            assert groups["all"].metrics[name] == old["all"].metrics[name]


def test_two_profiles_never_share_a_table_and_the_board_says_which(world: World) -> None:
    assert world.board("native@1")["metric_profile"]["version"] == 1
    refused = world.busbench("rank", world.ledger, "--challenge", world.declare("native@2"))
    assert refused.status == 20 and "native@1" in refused.err and "native@2" in refused.err
    world.rescore()
    track = world.board("native@2")
    assert [row["rescores"] for row in track["rows"]] in ([1, 2], [2, 1])
    assert track["metric_profile"] == profile_version("native@2").identity.document()
    for words in (("rank",), ("table",), ("table", "--format", "latex")):
        shown = world.busbench(
            words[0], world.ledger, *words[1:], "--challenge", world.declare("native@2")
        )
        assert f"profile native@2 ({track['metric_profile']['digest'][:8]})" in shown.out


def test_a_dry_run_prints_the_difference_and_records_nothing(world: World) -> None:
    before = world.ledger.read_bytes()
    found = world.rescore("--dry-run")
    assert len(found["changes"]) == 2 and found["recorded"] is None
    assert world.ledger.read_bytes() == before
    assert world.rescore()["changes"] == found["changes"]


def test_a_second_time_changes_nothing(world: World) -> None:
    world.rescore()
    before = world.ledger.read_bytes()
    again = world.rescore()
    assert again["changes"] == [] and again["recorded"]["entry"] is None
    assert world.ledger.read_bytes() == before


@pytest.mark.parametrize("lines", [4, 5])
def test_a_kill_in_the_middle_leaves_the_ledger_saying_what_it_said(
    world: World, lines: int
) -> None:
    """The reports alone were written, or one of them: the entry that makes them count was not."""
    world.rescore()
    whole = world.ledger.read_bytes().splitlines(keepends=True)
    world.ledger.write_bytes(b"".join(whole[:lines]))
    assert [entry.number for entry in world.verdict.reports] == [1, 2]
    assert world.board("native@1")["metric_profile"]["version"] == 1
    shown = world.busbench("ledger", "entries", world.ledger)
    assert shown.out.count("not counted: run `busbench rescore` again") == lines - 3
    found = world.rescore()
    assert found["recorded"]["entry"] == 5
    assert [entry.number for entry in world.verdict.reports] == [3, 4]
    assert len(world.ledger.read_bytes().splitlines()) == 6  # none was written twice


def test_a_missing_run_is_named_and_left_only_on_request_in_a_table_of_its_own(
    world: World,
) -> None:
    gone = next(e for e in world.verdict.reports if e.report.method == "dim")
    for file in world.runs.glob("*/infer/predictions.json"):
        if json.loads(file.read_text())["submission_sha256"] in repr(gone.report):
            shutil.rmtree(file.parents[1])
    before = world.ledger.read_bytes()
    refused = world.rescore(status=20)
    assert "dim of team on phantom (entry 2)" in refused["error"]["message"]
    assert world.ledger.read_bytes() == before
    found = world.rescore("--partial")
    assert found["left"] == [2] and [one["entry"] for one in found["changes"]] == [1]
    board = world.busbench("rank", world.ledger, "--json", "--challenge", world.declare("native@2"))
    tracks = json.loads(board.out)["tracks"]
    rows = {track["metric_profile"]["version"]: track["rows"] for track in tracks}
    assert {version: [row["method"] for row in rows[version]] for version in rows} == {
        1: ["dim"],
        2: ["bright"],
    }


def test_a_profile_that_challenge_yaml_does_not_declare_is_refused(world: World) -> None:
    refused = world.rescore("--profile", "native@2", profile="native@1", status=20)
    assert "by native@1, not by native@2" in refused["error"]["message"]
    for name in ("native@99", "awesome-bus-2025", "nothing"):
        assert name in world.rescore("--profile", name, status=2)["error"]["message"]


def test_teams_are_shown_the_numbers_that_count_by_the_same_policy(world: World) -> None:
    log = SubmissionLog.beside(world.ledger)
    before = [one.report for one in log.submissions]
    found = world.rescore()
    counting = {entry.report.identity() for entry in world.verdict.reports}
    assert found["recorded"]["answers"] == 2
    assert {one.report for one in log.submissions} == counting and not counting & {*before}
    shown = world.busbench(
        *("feedback", world.runs, "--ledger", world.ledger, "--json"),
        *("--challenge", world.declare("native@2")),
    )
    given = json.loads(shown.out)["feedback"]
    assert shown.status == 0 and len(given) == 2
    for one in given:  # results are open since April: the cases are those of the new scores
        assert one["feedback"]["cases_open"]
        folder = Path(one["folder"])
        given_cases = pd.read_parquet(folder / "cases.parquet")
        assert given_cases["recall"].isna().any()


@pytest.mark.slow
def test_verify_and_reproduce_know_the_new_entries(world: World) -> None:
    world.rescore()
    verified = world.busbench(
        *("verify", world.ledger, "--key", world.challenge.keys.path / "report.pub", "--json"),
        *("--rescore", world.runs, "--bundle", world.challenge.root / "bundles"),
        *("--keys", world.challenge.keys.path, "--runner", "process"),
        *("--challenge", world.declare("native@2")),
    )
    said = json.loads(verified.out)
    assert verified.status == 0, said
    assert (said["reports"], said["rescorings"], said["rescored"]) == (2, 1, 2)
    root = world.challenge.root
    again = world.busbench(
        *("reproduce", world.ledger, 3, "--submission", root / "bright", "--json"),
        *("--split", root / "splits" / "v1", "--store", root / "store", "--runner", "process"),
    )
    assert again.status == 0, again.out
    assert json.loads(again.out)["scores"]["metric_profile"]["version"] == 2


def test_the_entries_are_listed_and_a_superseded_one_is_not_retracted(world: World) -> None:
    world.rescore("--reason", "Recall is of lesions alone.")
    listed = json.loads(world.busbench("ledger", "entries", world.ledger, "--json").out)
    assert [row["kind"] for row in listed] == [
        *("report", "report", "rescored", "rescored", "rescoring"),
    ]
    assert listed[-1]["about"] == "2 in the place of earlier ones: Recall is of lesions alone."
    refused = world.busbench(
        *("ledger", "retract", world.ledger, 1, "--reason", "no"),
        *("--keys", world.challenge.keys.path),
    )
    assert refused.status == 2 and "Retract entry 3" in refused.err


def test_a_broken_scorer_is_corrected_and_who_moved_is_said(world: World) -> None:
    """Its numbers had been exchanged in the reports, by the same profile as now."""
    ledger, runs, keys = world.root / "broken.jsonl", world.runs, world.challenge.keys
    entries = world.verdict.reports
    scores = [entry.report.scores for entry in entries]
    right = {e.report.method: e.report.scores.means["all"]["dice"] for e in entries}
    for entry, wrong in zip(entries, reversed(scores), strict=True):
        own = {"predictions_sha256": entry.report.scores.predictions_sha256}
        broken = entry.report.model_copy(update={"scores": wrong.model_copy(update=own)})
        append(ledger, sign(broken, keys), keys)
    found = World(world.challenge, world.root, world.capture)
    ledger.replace(found.ledger)
    (found.root / "ledger.jsonl.log.json").unlink()
    shown = found.rescore(profile="native@1")
    better = max(right, key=lambda name: right[name])
    assert runs.is_dir() and len(shown["changes"]) == 2
    for change in shown["changes"]:
        assert change["means"]["dice"] == [
            next(dice for name, dice in right.items() if name != change["method"]),
            right[change["method"]],
        ]
        assert change["ranks"] == ([2, 1] if change["method"] == better else [1, 2])
    assert found.board("native@1")["rows"][0]["method"] == better


@pytest.mark.parametrize("verb", ["rescore", "verify"])
def test_no_keys_of_a_final_part_are_without_effect_in_silence(world: World, verb: str) -> None:
    runs = {"rescore": "--runs", "verify": "--rescore"}[verb]
    keys = world.challenge.keys.path
    shown = world.busbench(
        *(verb, world.ledger, runs, world.runs, "--bundle", world.challenge.root / "bundles"),
        *("--keys", keys, "--final-keys", keys, "--runner", "process"),
        *("--challenge", world.declare("native@1")),
    )
    assert shown.status == 2 and "--final-keys would have no effect here" in shown.err


def test_masks_that_were_changed_since_are_not_scored(world: World) -> None:
    file = sorted(world.runs.glob("*/infer/*.bits"))[0]
    file.write_bytes(bytes(len(file.read_bytes())))
    for folder in world.runs.glob("*/rescored"):
        shutil.rmtree(folder)
    before = world.ledger.read_bytes()
    shown = world.busbench(
        *("rescore", world.ledger, "--runs", world.runs, "--keys", world.challenge.keys.path),
        *("--bundle", world.challenge.root / "bundles", "--runner", "process"),
        *("--challenge", world.declare("native@2"), "--partial"),
    )
    assert shown.status == 20 and "cases-invalid" in shown.err
    assert world.ledger.read_bytes() == before


# --- evaluating a kept copy ----------------------------------------------------------------------


def evaluate(world: World, submission: Path) -> Shown:
    return world.busbench(
        *("evaluate", submission, "--bundle", world.challenge.root / "bundles"),
        *("--keys", world.challenge.keys.path, "--out", world.root / "again"),
        *("--ledger", world.ledger, "--received", DAY, "--runner", "process"),
        *("--challenge", world.declare("native@1")),
    )


def kept_copy(world: World) -> Path:
    (found,) = world.runs.glob("*/submission.provenance.json")
    return found.with_name("submission")


def test_a_kept_copy_has_the_attestation_beside_it(world: World) -> None:
    facts = read_entry(kept_copy(world))
    split = world.challenge.bundles.sealed.split_digest
    keys = world.challenge.keys
    assert trained_here(kept_copy(world), facts, split, keys=keys) == "sha256:abc"


def test_a_copy_without_it_does_not_lose_where_it_was_trained_in_silence(world: World) -> None:
    copy = Path(shutil.copytree(kept_copy(world), world.root / "copy"))
    before = world.ledger.read_bytes()
    shown = evaluate(world, copy)
    assert shown.status == 20 and "provenance-invalid" in shown.err
    assert "Entry 1 of" in shown.err and "busbench rescore" in shown.err
    assert world.ledger.read_bytes() == before

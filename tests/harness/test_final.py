"""A final is decided on a part that nothing was scored on, and is recorded whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evaluator.documents.base import read
from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from harness.challenge import Challenge
from harness.evaluation.evaluate import REPORT, EvaluateSubmission
from harness.evaluation.review import Evidence, rescore, review_splits
from harness.execution import ExecutionEnvironment
from harness.ledger import append, verify_ledger
from harness.ledger.provenance import ProvenanceAttestation, write_provenance
from harness.ledger.report import Report
from harness.quotas import finals
from harness.rescoring.plan import make_plan
from harness.sandbox import ProcessRunner
from harness.sandbox.cached import Context
from harness.sealing.bundle import open_each
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit, Reveal
from harness.submission import read_submission
from tests.support.final_challenge import (
    IN_DEVELOPMENT,
    IN_FINAL,
    OPEN,
    OVER,
    Ended,
    FinalChallenge,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_stages")]

IMAGE = "sha256:" + "5" * 64
NO_ENGINE = BusbenchError(Code.ENGINE_UNAVAILABLE, "No engine answers.", "Start it.")
BROKEN = BusbenchError(Code.MODEL_FAILED, "The model failed.", "Correct it.")


class PowerCutError(BaseException):
    """The machine dies; nothing catches this."""


@contextmanager
def ending(**teams: BusbenchError) -> Iterator[list[str]]:
    """Evaluations on the final part of some teams end badly; gives the teams that were run."""
    ran: list[str] = []
    honest = EvaluateSubmission.run

    def run(job: EvaluateSubmission, progress: Progress) -> None:
        ran.append(job.facts.team)
        if job.facts.team in teams:
            raise teams[job.facts.team]
        honest(job, progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EvaluateSubmission, "run", run)
        yield ran


@contextmanager
def killed_after(entries: int) -> Iterator[None]:
    """The machine dies when so many results of the final are in the ledger."""
    left = [entries]

    def dying(*words: Any) -> Any:
        if not left[0]:
            raise PowerCutError
        left[0] -= 1
        return append(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finals, "append", dying)
        yield


def trained(challenge: FinalChallenge, submission: Path) -> None:
    """Attest that a submission was trained here."""
    split = FrozenSplit.open(challenge.root / "split").lock.digest
    made = ProvenanceAttestation(
        image=IMAGE, submission_sha256=read_submission(submission).digest, split_digest=split
    )
    write_provenance(made, submission, Keys.open(challenge.root / "keys"))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> FinalChallenge:
    """Both phases are over: `a` has two methods, `b` and `d` one, and `c` came for the final."""
    challenge = FinalChallenge.make(tmp_path_factory.mktemp("played"))
    best = challenge.submission("a", "one", bias=-2.0)
    trained(challenge, best)
    for submission in (
        best,
        challenge.submission("a", "two", bias=9.0),
        challenge.submission("b", "only", bias=-2.5),
        challenge.submission("d", "fails", bias=-1.5),
    ):
        assert challenge.evaluate(submission).code is None
    late = challenge.submission("c", "late", bias=-2.2)
    refused = challenge.evaluate(late, day=IN_FINAL)
    assert refused.code == "keys-invalid"  # those of the test part
    ended = challenge.evaluate(late, keys="final-keys", day=IN_FINAL)
    assert ended.code is None and "to be recorded" in ended.said and "dice" not in ended.said
    return challenge


@pytest.fixture
def own(played: FinalChallenge, tmp_path: Path) -> FinalChallenge:
    """A copy, which a test may change."""
    return FinalChallenge(Path(shutil.copytree(played.root, tmp_path / "challenge")))


@pytest.fixture(scope="module")
def ended(played: FinalChallenge, tmp_path_factory: pytest.TempPathFactory) -> FinalChallenge:
    """The final was recorded; `d` failed on it by its own fault."""
    root = tmp_path_factory.mktemp("ended") / "challenge"
    challenge = FinalChallenge(Path(shutil.copytree(played.root, root)))
    with ending(d=BROKEN):
        done = challenge.finalise()
    assert done.code == "status 10"
    assert [one["report"]["team"] for one in done.json["recorded"]] == ["a", "b", "c"]
    assert [failure["code"] for failure in done.json["failed"]] == ["model-failed"]
    return challenge


def reports(challenge: FinalChallenge, part: str) -> dict[tuple[str, str], Report]:
    found = (entry.report for entry in verify_ledger(challenge.root / "l.jsonl").reports)
    return {(one.team, one.method): one for one in found if one.part == part}


def bytes_of(challenge: FinalChallenge, *names: str) -> list[bytes]:
    return [(challenge.root / name).read_bytes() for name in names]


def test_nothing_of_a_final_is_recorded_or_shown_before_its_phase_is_over(
    own: FinalChallenge,
) -> None:
    before = bytes_of(own, "l.jsonl", "l.jsonl.log.json")
    assert not reports(own, "final")
    refused = own.finalise(day=IN_FINAL)
    assert refused.code == "results-closed" and "until 2026-04-20" in refused.said
    listed = own.finalise("--dry-run", day=IN_FINAL).json
    found = {one["team"]: (one["method"], one["why"]) for one in listed["finalists"]}
    assert found == {
        "a": ("one", "best"),
        "b": ("only", "best"),
        "c": ("late", "entered"),
        "d": ("fails", "best"),
    }
    assert bytes_of(own, "l.jsonl", "l.jsonl.log.json") == before
    (run,) = (Path(one["run"]) for one in listed["finalists"] if one["team"] == "c")
    feedback = json.loads((own.root / run / "feedback" / "feedback.json").read_text())
    assert feedback["scores"] == {} and not feedback["cases_open"]
    assert not (own.root / run / "feedback" / "cases.parquet").exists()
    late = own.root / "c-late"
    again = own.run(
        *("evaluate", late, "--bundle", "bundles", "--keys", "final-keys", "--runner", "process"),
        *("--ledger", "l.jsonl"),
        day=IN_FINAL,
        json=True,
    )
    (report,) = again.json["reports"]
    assert report["part"] == "final" and "scores" not in report


def test_each_result_is_of_the_final_cases_alone(ended: FinalChallenge) -> None:
    split = FrozenSplit.open(ended.root / "split")
    final, test = reports(ended, "final"), reports(ended, "test")
    assert final.keys() == {("a", "one"), ("b", "only"), ("c", "late")}
    assert test.keys() == {("a", "one"), ("a", "two"), ("b", "only"), ("d", "fails")}
    for part, found in (("final", final), ("test", test)):
        for report in found.values():
            assert report.scores.groups["all"].cases == len(split.hidden(part))  # type: ignore[arg-type]
    ours, theirs = final["a", "one"].provenance, test["a", "one"].provenance
    assert ours.submission_sha256 == theirs.submission_sha256
    assert ours.sealed_labels_sha256 != theirs.sealed_labels_sha256


def test_what_trained_here_has_trained_here_in_the_final(ended: FinalChallenge) -> None:
    final = reports(ended, "final")
    assert final["a", "one"].provenance.trained_here == IMAGE
    assert final["b", "only"].provenance.trained_here is None


def test_a_final_never_changes_the_ranking_of_the_development(
    played: FinalChallenge, ended: FinalChallenge
) -> None:
    def tables(challenge: FinalChallenge) -> dict[str, list[tuple[int | None, str]]]:
        board = challenge.run("rank", "l.jsonl", json=True).json
        return {t["part"]: [(r["rank"], r["method"]) for r in t["rows"]] for t in board["tracks"]}

    before, after = tables(played), tables(ended)
    assert before == {"test": after["test"]}
    assert {method for _, method in after["final"]} == {"one", "only", "late"}


def test_a_submission_that_fails_is_noted_and_holds_up_no_other(ended: FinalChallenge) -> None:
    of_d = [one for one in ended.log() if (one["team"], one["phase"]) == ("d", "final")]
    assert [one["code"] for one in of_d] == ["model-failed"]
    in_final = [one for one in ended.log() if one["phase"] == "final" and one["report"]]
    recorded = {report.identity() for report in reports(ended, "final").values()}
    assert {one["report"] for one in in_final} == recorded
    assert all(one["shown"] == {} for one in in_final)


def test_a_final_that_was_recorded_is_not_recorded_again(ended: FinalChallenge) -> None:
    before = bytes_of(ended, "l.jsonl")
    with ending(d=BROKEN) as ran:
        done = ended.finalise()
    assert ran == ["d"]
    assert [one["new"] for one in done.json["recorded"]] == [False, False, False]
    assert bytes_of(ended, "l.jsonl") == before


def test_a_fault_that_is_no_submissions_holds_up_the_record_of_all(own: FinalChallenge) -> None:
    before = bytes_of(own, "l.jsonl", "l.jsonl.log.json")
    with ending(b=NO_ENGINE, d=BROKEN) as ran:
        done = own.finalise()
    assert ran == ["a", "b", "d"] and done.code == "status 30"
    assert done.json["recorded"] == [] and len(done.json["failed"]) == 2
    assert bytes_of(own, "l.jsonl", "l.jsonl.log.json") == before
    with ending(d=BROKEN) as ran, killed_after(1), pytest.raises(PowerCutError):
        own.finalise()
    assert ran == ["b", "d"]  # the run of `a` is kept
    assert len(reports(own, "final")) == 1
    half = own.run("publish", "l.jsonl", "--out", "site", day=OPEN)
    assert half.code == "results-closed" and "not in the ledger yet" in half.said
    assert not (own.root / "site").exists()
    with ending(d=BROKEN) as ran:
        own.finalise()
    assert ran == ["d"] and len(reports(own, "final")) == 3


def test_no_lost_run_is_left_out_in_silence(own: FinalChallenge) -> None:
    (run,) = (
        path.parent
        for path in (own.root / "runs").glob(f"*/{REPORT}")
        if read_submission(path.parent / "submission").team == "b"
    )
    shutil.rmtree(run)
    with ending(a=BROKEN, d=BROKEN):
        done = own.finalise()
    assert done.json["recorded"] == [] and done.code == "status 20"
    assert "only of b on phantom" in str(done.json["failed"])


def test_a_chosen_submission_is_run_instead_of_the_best(own: FinalChallenge) -> None:
    (own.root / "chosen.csv").write_text("team,method\na,two\n")
    listed = own.finalise("--dry-run", "--choose", "chosen.csv").json
    (of_a,) = (one for one in listed["finalists"] if one["team"] == "a")
    assert (of_a["method"], of_a["why"]) == ("two", "chosen")


def test_no_evaluation_of_another_part_than_the_phases_is_recorded(own: FinalChallenge) -> None:
    submission = own.submission("e", "new", bias=-1.0)
    before = bytes_of(own, "l.jsonl")
    for part, keys, day in (
        ("test", "keys", IN_FINAL),
        ("final", "final-keys", IN_DEVELOPMENT),
    ):
        refused = own.evaluate(submission, "--part", part, keys=keys, day=day)
        assert refused.code == "usage" and "scores the part" in refused.said
    assert bytes_of(own, "l.jsonl") == before


def test_the_same_files_of_the_development_are_no_entry_of_the_final_by_themselves(
    own: FinalChallenge,
) -> None:
    """They keep their phase; a stated day makes them an entry of the final, and no new result."""
    ended = own.evaluate(own.root / "b-only", day=IN_FINAL)
    assert ended.code is None and "in the phase development" in ended.said
    listed = own.finalise("--dry-run").json["finalists"]
    assert {one["why"] for one in listed if one["team"] == "b"} == {"best"}


def test_a_final_is_verified_with_its_own_keys_and_reproduced_from_its_own_cases(
    ended: FinalChallenge,
) -> None:
    words = ("verify", "l.jsonl", "--splits", "split", "--store", "store")
    again = ("--rescore", "runs", "--bundle", "bundles", "--keys", "keys", "--runner", "process")
    assert ended.run(*words, *again, "--final-keys", "final-keys").code is None
    entry = next(
        one.number
        for one in verify_ledger(ended.root / "l.jsonl").reports
        if (one.report.part, one.report.team) == ("final", "b")
    )
    files = ("--submission", "b-only", "--split", "split", "--store", "store")
    done = ended.run("reproduce", "l.jsonl", entry, *files, "--runner", "process", json=True)
    assert done.code is None and done.json["compared"] > 50 and done.json["differences"] == []


def test_no_result_of_a_final_is_verified_without_its_keys(ended: FinalChallenge) -> None:
    named = {method: report for (_, method), report in reports(ended, "final").items()}
    found = rescore(named, ended.root / "runs", [], context=Context(ProcessRunner(), Challenge()))
    assert len(found) == 3 and all("take --final-keys" in line for line in found)


def test_a_final_is_scored_anew_with_its_own_keys_alone(ended: FinalChallenge) -> None:
    verdict = verify_ledger(ended.root / "l.jsonl")
    keys, final_keys = ended.root / "keys", ended.root / "final-keys"
    environment = ExecutionEnvironment("process", ended.declared, keys)
    runs, folders = [ended.root / "runs"], [ended.root / "bundles"]
    both = open_each(folders, keys, final_keys)
    plan = make_plan(verdict, runs, both, environment=environment)
    assert len(plan.jobs) == 7 and not plan.missing
    for job in plan.jobs.values():
        part = job.report.part
        own = keys if part == "test" else final_keys
        assert (job.label_keys, job.bundles.sealed.part) == (own, part)
    with pytest.raises(BusbenchError, match="those of a final part take --final-keys"):
        make_plan(verdict, runs, open_each(folders, keys), environment=environment)


def test_what_was_scored_anew_enters_with_the_files_of_its_run(tmp_path: Path) -> None:
    for folder in (tmp_path / "run", tmp_path / "run" / "rescored" / "0123456789abcdef"):
        assert finals.run_of(folder) == tmp_path / "run"


def test_a_reveal_opens_the_labels_of_each_part_and_of_no_other(ended: FinalChallenge) -> None:
    to = ended.root / "reveal.json"
    done = ended.run("splits", "reveal", "split", "--store", "store", "--out", to)
    assert done.code is None and "24 test and final cases" in done.said
    words = ("verify", "l.jsonl", "--splits", "split", "--reveal", to)
    assert ended.run(*words).code is None
    final = reports(ended, "final")["a", "one"]
    evidence = Evidence(reveals=[read(Reveal, to, Code.SPLIT_INVALID, remedy="")])
    moved = {"moved": final.model_copy(update={"part": "test"})}
    (line,) = review_splits(moved, ended.root / "split", evidence)
    assert "moved: the classes or masks that it was scored with are not those of" in line


@pytest.fixture(scope="module")
def site(ended: FinalChallenge) -> Path:
    ranked = ended.run("rank", "l.jsonl", "--cases", "runs", "--keys", "keys", day=OPEN)
    assert ranked.code is None and "final part: 3 submissions, recorded" in ranked.said
    done: Ended = ended.run("publish", "l.jsonl", "--out", "site", "--splits", "split", day=OPEN)
    assert done.code is None, done
    return ended.root / "site"


def test_the_site_shows_the_final_as_a_table_of_its_own(site: Path) -> None:
    board = json.loads((site / "board.json").read_text())
    assert [track["part"] for track in board["tracks"]] == ["final", "test"]
    assert [track["sealings"] for track in board["tracks"]] == [1, 1]
    pages = {page.read_text() for page in (site / "tracks").glob("*.html")}
    assert sum("<strong>The final:</strong>" in page for page in pages) == 1 and len(pages) == 2
    assert "phantom, final" in (site / "index.html").read_text()
    (split,) = (site / "splits").glob("phantom-*.html")
    assert "Of these, for the final" in split.read_text()


def test_feedback_opens_with_the_results_of_the_final(ended: FinalChallenge, site: Path) -> None:
    closed = ended.run("feedback", "runs", "--ledger", "l.jsonl", day=OVER, json=True).json
    opened = ended.run("feedback", "runs", "--ledger", "l.jsonl", day=OPEN, json=True).json
    for found, is_open in ((closed, False), (opened, True)):
        of_final = [f["feedback"] for f in found["feedback"] if f["feedback"]["phase"] == "final"]
        assert len(of_final) == 3
        assert {one["cases_open"] for one in of_final} == {is_open}

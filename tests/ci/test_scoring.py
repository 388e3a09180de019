"""From an approved pull request to the board: only what was approved is run, once, by our code."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest

from ci import after_merge, score_pr
from ci.after_merge import record_merged
from ci.comment import COARSE, refusal, result
from ci.git import parse_pointer
from ci.placement import BASELINE_TEAM, Placement, find_place, place
from ci.score_pr import score_approved
from ci.state import State
from evaluator.documents.scores import Ranked
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes
from harness.challenge import Challenge, Phase, Track
from harness.ledger import verify_ledger
from harness.ledger.report import Report
from harness.quotas import Feedback, SubmissionLog
from harness.quotas.policy import Submitted, failure
from reference_models.__main__ import TEAM
from tests.support.factories import make_report, recorded
from tests.support.forge import Forge, git, hand_in, make_forge
from tests.support.image_submissions import debian
from tests.support.small_challenge import model_bytes

pytestmark = pytest.mark.slow

PHASE = Phase(name="now", quota=2, steps={"dice": 0.1}, results_open=date(2020, 1, 1))


@dataclass(frozen=True)
class Journey:
    """Two pull requests, scored at once and then merged one after the other."""

    forge: Forge
    comments: dict[str, str]
    texts: list[str]


def score(forge: Forge, head: str, reference: str, author: str = "alice") -> Path:
    """Score as the workflow does; the folder of the comment."""
    out = forge.root / f"out-{head}"
    base = git(forge.clone, "rev-parse", "HEAD")
    score_approved(
        forge.machine, base, head, reference=reference, remote="origin", author=author, out=out
    )
    return out


def refused(forge: Forge, head: str, reference: str, author: str = "alice") -> tuple[str, str]:
    """The error's code, and the comment that tells it."""
    with pytest.raises(BusbenchError) as caught:
        score(forge, head, reference, author)
    return caught.value.code, (forge.root / f"out-{head}" / "comment.md").read_text()


@pytest.fixture(scope="module")
def journey(organiser: Path, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    root = tmp_path_factory.mktemp("forge")
    state = State(Path(shutil.copytree(organiser, root / "state")))
    forge = make_forge(root, state, (PHASE,))
    pulls = {}
    for team, author, bias in (("alpha", "alice", -2.0), ("beta", "bob", -1.5)):
        work = forge.checkout(author)  # each a fork of its own
        manifest = hand_in(work, team, bias=bias)
        if team == "beta":  # by reference alone: the file was uploaded
            file = manifest.parent / "bright" / "all.onnx"
            (state.path / "uploads").mkdir()
            file.rename(state.path / "uploads" / sha256_bytes(model_bytes(bias)))
        pulls[author] = forge.propose(work)
    with ThreadPoolExecutor(2) as pool:
        started = {who: pool.submit(score, forge, *pull, who) for who, pull in pulls.items()}
        outs = {who: one.result() for who, one in started.items()}
    assert not state.ledger.exists()  # nothing is recorded before the merge
    texts = [record_merged(forge.machine, *forge.merge(pulls[who][1])) for who in pulls]
    comments = {who: (out / "comment.md").read_text() for who, out in outs.items()}
    return Journey(forge, comments, texts)


def test_two_pull_requests_at_once_both_reach_the_ledger_and_the_site(journey: Journey) -> None:
    state = journey.forge.machine.state
    reports = [entry.report for entry in verify_ledger(state.ledger).reports]
    assert [(r.team, r.method) for r in reports] == [
        ("Team Alpha", "bright"),
        ("Team Beta", "bright"),
    ]
    assert "recorded as entry 1" in journey.texts[0] and "recorded as entry 2" in journey.texts[1]
    table = (state.site / "board.csv").read_text()
    assert "Team Alpha" in table and "Team Beta" in table


def test_a_comment_tells_rounded_numbers_and_the_quota(journey: Journey) -> None:
    exact = verify_ledger(journey.forge.machine.state.ledger).reports[0].report.scores
    dice = exact.groups["all"].metrics["dice"].mean
    assert f"| all | {round(dice, 1):g} |" in journey.comments["alice"]
    for comment in journey.comments.values():
        assert f"{dice:.4f}" not in comment and f"{dice:.3f}" not in comment
        assert "rank 1" not in comment and "±" not in comment and COARSE in comment
    assert "Submissions left: 1 in this phase." in journey.comments["alice"]


def test_recording_a_merge_again_changes_nothing(journey: Journey) -> None:
    forge = journey.forge
    before = forge.machine.state.ledger.read_bytes()
    first = git(forge.clone, "rev-list", "--max-parents=0", "HEAD")
    assert "is already entry 1" in record_merged(forge.machine, first, forge.base)
    assert forge.machine.state.ledger.read_bytes() == before


def test_bundles_of_another_split_than_declared_take_no_quota_and_are_not_scored(
    organiser: Path, tmp_path: Path
) -> None:
    state = State(Path(shutil.copytree(organiser, tmp_path / "state")))
    forge = make_forge(tmp_path, state, (PHASE,))
    track = Track(dataset="phantom", split_version="v2")
    declared = forge.machine.challenge.model_copy(update={"tracks": {"phantom": track}})
    environment = replace(forge.machine.environment, challenge=declared)
    forge.machine = replace(forge.machine, environment=environment)
    work = forge.checkout("alice")
    hand_in(work)
    code, comment = refused(forge, *forge.propose(work))
    assert code == "challenge-invalid"
    assert "This is the organiser's fault; nothing was counted." in comment
    assert not state.runs.exists() and not SubmissionLog.beside(state.ledger).submissions


def test_a_push_after_the_approval_is_not_run(journey: Journey) -> None:
    forge = journey.forge
    work = forge.checkout("pushed")
    hand_in(work, method="pushed")
    approved, reference = forge.propose(work)
    (work / "submissions/alpha/pushed/all.onnx").write_bytes(model_bytes(9.0))
    git(work, "add", "-A")
    git(work, "commit", "-q", "--amend", "-m", "Something else")
    forge.push(work, number=int(reference.split("/")[2]))
    code, comment = refused(forge, approved, reference)
    assert code == "pull-request-refused" and "moved to" in comment
    assert not (forge.machine.state.path / "submissions").joinpath(approved).exists()
    assert all(one.method != "pushed" for one in submissions(forge))


def submissions(forge: Forge) -> tuple[Submitted, ...]:
    return SubmissionLog.beside(forge.machine.state.ledger).submissions


def test_a_pull_request_that_edits_the_scorer_is_not_run(journey: Journey) -> None:
    forge = journey.forge
    work = forge.checkout("scorer")
    hand_in(work, method="scorer")
    (work / "harness" / "score.py").write_text("print('dice 1.0')\n")
    code, comment = refused(forge, *forge.propose(work))
    assert code == "pull-request-refused" and "harness/score.py" in comment
    assert all(one.method != "scorer" for one in submissions(forge))


def test_only_the_base_branchs_code_scores(journey: Journey) -> None:
    forge = journey.forge
    work = forge.checkout("code")
    hand_in(work, method="code")
    pull = forge.propose(work)
    scorer = forge.clone / "harness" / "score.py"
    before = scorer.read_text()
    scorer.write_text("print('dice 1.0')\n")
    try:
        assert refused(forge, *pull)[0] == "usage"
    finally:
        scorer.write_text(before)
    git(forge.clone, "checkout", "-q", "HEAD~1")
    try:
        with pytest.raises(BusbenchError, match="newest commit"):
            score_approved(
                forge.machine,
                forge.base,
                pull[0],
                reference=pull[1],
                remote="origin",
                author="alice",
                out=forge.root / "out-old",
            )
    finally:
        git(forge.clone, "checkout", "-q", "main")


def test_what_was_merged_without_a_scoring_does_not_enter_the_ledger(
    organiser: Path, tmp_path: Path
) -> None:
    forge = make_forge(tmp_path, State(organiser), ())
    work = forge.checkout("alice")
    hand_in(work, method="unscored")
    _, reference = forge.propose(work)
    with pytest.raises(BusbenchError, match="never scored"):
        record_merged(forge.machine, *forge.merge(reference))
    assert not forge.machine.state.ledger.exists()


def test_a_file_that_is_nowhere_is_named(journey: Journey) -> None:
    forge = journey.forge
    work = forge.checkout("nowhere")
    (hand_in(work, method="nowhere", bias=-0.5).parent / "nowhere" / "all.onnx").unlink()
    code, comment = refused(forge, *forge.propose(work))
    assert code == "pull-request-refused"
    assert "neither in the pull request nor uploaded" in comment


@pytest.fixture
def git_lfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's Git LFS, on the path of participants and of the organiser."""
    folder = debian("git-lfs", "usr/bin/git-lfs").parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def use_lfs(work: Path, method: str) -> None:
    """As docs/pull-requests.md tells a participant."""
    git(work, "lfs", "install", "--local")
    rule = f"submissions/alpha/{method}/*.onnx filter=lfs -text\n"
    (work / ".git" / "info" / "attributes").write_text(rule)


@pytest.mark.usefixtures("git_lfs")
def test_a_file_in_git_lfs_is_fetched_by_its_digest(journey: Journey) -> None:
    forge = journey.forge
    work = forge.checkout("lfs")
    use_lfs(work, "lfs")
    hand_in(work, method="lfs")
    pull = forge.propose(work)  # the hook of Git LFS pushes the object, too
    committed = git(work, "show", "HEAD:submissions/alpha/lfs/all.onnx")
    assert parse_pointer(committed.encode() + b"\n") is not None
    assert not (forge.clone / ".git" / "lfs" / "objects").exists()
    score(forge, *pull)  # the team's second and last submission
    assert (submissions(forge)[-1].method, submissions(forge)[-1].code) == ("lfs", None)
    hand_in(work, method="third", bias=-1.0)
    git(work, "rm", "-q", "-r", "submissions/alpha/lfs", "submissions/alpha/lfs.yaml")
    code, comment = refused(forge, *forge.propose(work))
    assert code == "quota-exceeded" and "has used its 2 submissions" in comment


@pytest.mark.usefixtures("git_lfs")
def test_a_pointer_without_its_object_is_refused_and_takes_no_quota(journey: Journey) -> None:
    forge, before = journey.forge, submissions(journey.forge)
    work = forge.checkout("pointer")
    use_lfs(work, "pointer")
    git(work, "config", "core.hooksPath", os.devnull)  # no hook pushes the object
    hand_in(work, method="pointer", bias=-3.0)
    code, comment = refused(forge, *forge.propose(work))
    assert code == "pull-request-refused" and submissions(forge) == before
    assert "all.onnx is a Git LFS pointer, and its object was never pushed" in comment
    assert str(forge.root) not in comment


def test_a_machine_without_git_lfs_is_not_the_participants_fault(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge = journey.forge
    work = forge.checkout("without")
    file = hand_in(work, method="without", bias=-4.0).parent / "without" / "all.onnx"
    sha256 = sha256_bytes(file.read_bytes())
    file.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize 200\n")
    pull = forge.propose(work)
    monkeypatch.setattr("ci.git.shutil.which", lambda _: None)
    code, comment = refused(forge, *pull)
    assert code == "extra-missing" and "nothing was counted" in comment


def test_a_failure_shows_no_word_of_the_stage(journey: Journey) -> None:
    own = submissions(journey.forge)[0]
    error = BusbenchError(Code.MODEL_FAILED, "case_017 made it fail at /srv/secret.", "Look there.")
    texts = refusal(error, failure([own], own, PHASE, day=date(2026, 3, 1), error=error), "f" * 40)
    assert "model-failed" in texts and "case_017" not in texts and "/srv" not in texts


def test_a_fault_of_ours_shows_no_path_of_ours() -> None:
    error = BusbenchError(
        Code.KEYS_INVALID, "/srv/keys/report.key is missing.", "Restore /srv/keys."
    )
    texts = refusal(error, None, "f" * 40)
    assert "keys-invalid" in texts and "/srv" not in texts


def shown(**changes: object) -> Feedback:
    fields = {
        "team": "Team Alpha",
        "method": "bright",
        "track": "busbra",
        "phase": "open",
        "submission_sha256": "0" * 64,
        "status": "complete",
        "counted": True,
        "left_today": None,
        "left": None,
        "cases_open": True,
    }
    return Feedback.model_validate(fields | changes)


def placed(*reports: Report, challenge: Challenge | None = None) -> Placement:
    """The last of some reports among all."""
    *before, new = reports
    return find_place(recorded(before), new, challenge or Challenge())


@pytest.mark.parametrize(("metric", "place"), [("dice", 2), ("hd95", 1)])
def test_no_rank_is_by_other_metrics_than_the_challenges(metric: Ranked, place: int) -> None:
    new = make_report("Team Alpha", "m", dice=0.8, hd95=5.0)
    other = make_report("Team Beta", "m", dice=0.9, hd95=9.0)
    challenge = Challenge.model_validate({"ranking": {"metrics": [metric]}})
    assert placed(other, new, challenge=challenge).own.rank == place


def test_no_comment_tells_of_a_ledger_whose_results_are_closed(journey: Journey) -> None:
    machine = journey.forge.machine
    (entry, *_) = verify_ledger(machine.state.ledger).reports
    assert place(entry.report, machine.state.ledger, machine.challenge) is not None
    closed = PHASE.model_copy(update={"results_open": None})
    challenge = machine.challenge.model_copy(update={"phases": (closed,)})
    assert place(entry.report, machine.state.ledger, challenge) is None


def test_no_comment_is_without_what_its_numbers_are_worth() -> None:
    report = make_report("Team Alpha", "bright", dice=0.85, iou=0.75, hd95=9.5)
    reference = make_report(BASELINE_TEAM, "unext", dice=0.8, iou=0.7, hd95=12.0)
    better = make_report("Team Beta", "@all|x", dice=0.9, iou=0.8, hd95=8.0)
    text = result(shown(), "f" * 40, placed(reference, better, report))
    first = text.splitlines()[2]
    assert all(word in first for word in ("Dice ↑ 0.850 ±", "IoU ↑ 0.750 ±", "HD95 [px] ↓ 9.50 ±"))
    assert first.endswith("n = 40 · rank 2 of 3**")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert rows[0][1] == "n" and len({len(row) for row in rows[:5]}) == 1
    assert [row[0] for row in rows[2:5]] == [
        "| **this submission**",
        "| baseline, `unext`",
        "| best so far, `＠all¦x`",
    ]
    assert [row[-1] for row in rows[2:5]] == ["2 |", "3 |", "1 |"]


@pytest.mark.parametrize("others", [(), ("Team Beta",), (BASELINE_TEAM,)])
def test_no_comment_compares_a_submission_with_itself(others: tuple[str, ...]) -> None:
    reports = [make_report(team, "m") for team in (*others, "Team Alpha")]
    text = result(shown(), "f" * 40, placed(*reports))
    assert ("No other reference network" in text) is (BASELINE_TEAM not in others)
    assert ("best so far" in text) is ("Team Beta" in others)
    incomplete = make_report("Team Alpha", "m", status="incomplete")
    text = result(shown(status="incomplete"), "f" * 40, placed(*reports[:-1], incomplete))
    assert "not ranked**" in text


def test_the_baseline_is_the_team_that_our_networks_say_they_are() -> None:
    assert BASELINE_TEAM == TEAM


def test_names_in_a_comment_call_nobody_and_mark_nothing_up() -> None:
    feedback = Feedback(
        team="@everyone <img src=x> | [a](https://example.org)",
        method="**m**",
        track="phantom",
        phase="now",
        submission_sha256="0" * 64,
        status="complete",
        scores={"all": {"dice": 0.5}},
        counted=True,
        left_today=None,
        left=None,
        cases_open=False,
    )
    text = result(feedback, "f" * 40)
    assert "@" not in text and "<img" not in text.replace("\\<img", "") and "://" not in text
    assert "`**m**`" in text


def test_the_scripts_run_from_the_shell(
    journey: Journey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the workflows call, with an already scored pull request."""
    forge = journey.forge
    state = forge.machine.state.path
    declared = tmp_path / "challenge.yaml"
    declared.write_text(json.dumps(forge.machine.challenge.document()))
    common = ["--repository", str(forge.clone), "--challenge", str(declared)]
    common += ["--state", str(state), "--runner", "process"]
    head = git(forge.bare, "rev-parse", "refs/pull/1/head")
    where = ["--base", "main", "--head", head, "--reference", "refs/pull/1/head"]
    again = [*where, "--author", "alice", "--out", str(tmp_path / "out"), "--pad-minutes", "0"]
    # it is merged by now, so it changes nothing any more
    assert score_pr.main([*common, *again]) == 10
    assert "0 submissions" in (tmp_path / "out" / "comment.md").read_text()
    first = git(forge.clone, "rev-list", "--max-parents=0", "HEAD")
    assert after_merge.main([*common, "--before", first, "--after", "HEAD"]) == 0
    assert "is already entry 1" in capsys.readouterr().out

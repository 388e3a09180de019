"""The feedback policy: what a team may ask, and how little it learns of hidden labels."""

from __future__ import annotations

import multiprocessing
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge, Phase
from harness.ledger.report import Report
from harness.quotas import SubmissionLog, phase_on, require_open
from harness.quotas.policy import Submitted, rounded, show
from tests.support.factories import digest_of, make_report
from tests.support.studies.hill_climbing import (
    ATTACKS,
    POLICIES,
    bits_sent,
    bits_used,
    leaked,
    table,
)

DAY, NEXT_DAY = date(2026, 3, 1), date(2026, 3, 2)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "feedback.md"
SILENT = "nothing shown, 30 in all"
STRICT = Phase(name="test", steps={"dice": 0.01, "hd95": 1.0}, quota_per_day=2, quota=3)
DECLARED = Challenge(phases=(STRICT,))


def make(number: int = 0, team: str = "team", track: str = "busbra") -> Submission:
    return Submission(
        team=team,
        method="m",
        track=track,
        input=InputSpec(height=32, width=32, resize="letterbox"),
        output=OutputSpec(),
        opset=17,
        models=(ModelFile(file="a.onnx", sha256=digest_of(f"{team} {number}")),),
    )


@pytest.fixture
def log(tmp_path: Path) -> SubmissionLog:
    return SubmissionLog.beside(tmp_path / "ledger.jsonl")


def hand_in(
    log: SubmissionLog, number: int, day: date = DAY, report: Report | None = None, **how: str
) -> Any:
    own = log.open(make(number, **how), DECLARED, day)
    return log.close(own, STRICT, day, report=report or make_report())


def refused(log: SubmissionLog, number: int, day: date = DAY, **how: str) -> str:
    with pytest.raises(BusbenchError) as caught:
        log.open(make(number, **how), DECLARED, day)
    assert caught.value.code == "quota-exceeded"
    return caught.value.remedy


# --- quota -------------------------------------------------------------------------------------


def test_no_team_hands_in_more_than_its_quota(log: SubmissionLog) -> None:
    left = [(f.left_today, f.left) for f in (hand_in(log, 0), hand_in(log, 1))]
    assert left == [(1, 2), (0, 1)]
    assert "tomorrow" in refused(log, 2)
    assert hand_in(log, 2, NEXT_DAY).left == 0
    assert "next phase" in refused(log, 3, NEXT_DAY)
    assert hand_in(log, 0, team="another").left == 2
    assert hand_in(log, 0, track="busi").left == 2


@pytest.mark.parametrize(
    "spelling", ["TEAM", " team ", "te\u200aam".replace("\u200a", "a"[:0]), "ｔｅａｍ"]
)
def test_another_spelling_is_no_new_team(log: SubmissionLog, spelling: str) -> None:
    for number in (0, 1):
        hand_in(log, number)
    refused(log, 2, team=spelling)


def test_the_same_files_take_no_quota_again_and_teach_nothing_new(log: SubmissionLog) -> None:
    first = hand_in(log, 0, report=make_report(dice=0.80))
    again = hand_in(log, 0, report=make_report(dice=0.99))
    assert first == again
    assert len(log.submissions) == 1


@pytest.mark.parametrize(
    "code, counts",
    [
        (Code.MODEL_FAILED, True),
        (Code.LIMIT_TIME, True),
        (Code.GATE_REFUSED, True),
        (Code.ENGINE_UNAVAILABLE, False),
        (Code.DISK_FULL, False),
        (Code.STAGE_CRASHED, False),
        (Code.BUNDLE_INVALID, False),
        (Code.LEDGER_INVALID, False),
        (Code.USAGE, False),
    ],
)
def test_only_the_submissions_own_failures_take_quota(
    log: SubmissionLog, code: Code, counts: bool
) -> None:
    own = log.open(make(), DECLARED, DAY)
    error = BusbenchError(code, "case_017 has a lesion of 431 pixels.", "Look at /srv/labels.")
    stated = log.fail(own, STRICT, DAY, error=error)
    assert stated.counted is counts
    assert [one.counts for one in log.submissions] == [counts]
    assert stated.error is not None
    assert (stated.status, stated.error.code, stated.scores) == ("failed", code, None)
    assert "case_017" not in stated.model_dump_json() and "/srv" not in stated.model_dump_json()


def test_a_failure_of_ours_later_gives_back_no_place_that_was_taken_by_their_own(
    log: SubmissionLog,
) -> None:
    own = log.open(make(), DECLARED, DAY)
    log.fail(own, STRICT, DAY, error=BusbenchError(Code.MODEL_FAILED, "x", "y"))
    again = log.open(make(), DECLARED, DAY)
    assert log.fail(again, STRICT, DAY, error=BusbenchError(Code.DISK_FULL, "x", "y")).counted
    hand_in(log, 1)
    refused(log, 2)


def test_a_killed_evaluation_keeps_its_place_and_resumes_it(log: SubmissionLog) -> None:
    first = log.open(make(), DECLARED, DAY)  # and then the machine dies
    assert log.open(make(), DECLARED, NEXT_DAY) == first
    assert len(log.submissions) == 1


def _take(path: Path, team: str, number: int, taken: object) -> None:
    try:
        SubmissionLog(path).open(make(number, team=team), DECLARED, DAY)
    except BusbenchError:
        return
    taken.put(team)  # type: ignore[attr-defined]


def test_submissions_at_once_never_share_the_last_place(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    taken = fork.Queue()
    path = tmp_path / "log.json"
    racers = [
        fork.Process(target=_take, args=(path, team, number, taken))
        for team in ("a", "b")
        for number in range(6)
    ]
    for racer in racers:
        racer.start()
    won = sorted(taken.get(timeout=600) for _ in range(4))
    for racer in racers:
        racer.join()
        assert racer.exitcode == 0
    assert won == ["a", "a", "b", "b"] and taken.empty()
    assert len(SubmissionLog(path).submissions) == 4


def test_a_damaged_submission_log_allows_nothing(log: SubmissionLog) -> None:
    log.path.write_text("{}x")
    with pytest.raises(BusbenchError) as caught:
        log.open(make(), DECLARED, DAY)
    assert caught.value.code == "feedback-invalid"


def test_the_submission_log_is_for_the_organiser_alone(log: SubmissionLog) -> None:
    hand_in(log, 0)
    assert log.path.stat().st_mode & 0o077 == 0


# --- what is shown -----------------------------------------------------------------------------


def test_only_declared_numbers_are_shown_and_rounded(log: SubmissionLog) -> None:
    stated = hand_in(log, 0, report=make_report(dice=0.81234, hd95=20.49))
    assert stated.scores == {"all": {"dice": 0.81, "hd95": 20.0}}
    assert not stated.cases_open


def test_the_ladder_shows_nothing_but_a_step_forward(log: SubmissionLog) -> None:
    steps = [(0.800, 20.0), (0.809, 19.2), (0.5, 90.0), (0.8111, 18.9)]
    phase = STRICT.model_copy(update={"quota": None, "quota_per_day": None})
    shown = []
    for number, (dice, hd95) in enumerate(steps):
        own = log.open(make(number), Challenge(phases=(phase,)), DAY)
        stated = log.close(own, phase, DAY, report=make_report(dice=dice, hd95=hd95))
        assert stated.scores is not None
        shown.append((stated.scores["all"]["dice"], stated.scores["all"]["hd95"]))
    assert shown == [(0.8, 20.0), (0.8, 20.0), (0.8, 20.0), (0.81, 19.0)]


def test_another_teams_best_is_nobodys_ladder(log: SubmissionLog) -> None:
    hand_in(log, 0, team="strong", report=make_report(dice=0.9))
    assert hand_in(log, 0, report=make_report(dice=0.7)).scores["all"]["dice"] == 0.7


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    step=st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.1]),
)
def test_what_a_ladder_shows_follows_from_its_definition(scores: list[float], step: float) -> None:
    """Against the loop of Blum & Hardt's figure 1, written for a score where more is better."""
    phase = Phase(name="p", steps={"dice": step})
    log: list[Submitted] = []
    best: float | None = None
    for number, score in enumerate(scores):
        own = Submitted.now(make(number), phase, DAY)
        shown = show(log, own, make_report(dice=score), phase=phase)
        log.append(own.model_copy(update={"shown": shown}))
        best = rounded(score, step) if best is None or score > best + step else best
        # a score at the very edge of a step may fall on either side
        if abs(abs(score - best) - step) > 1e-9:
            assert shown["all"]["dice"] == best
        best = shown["all"]["dice"]


@given(st.floats(-1000, 1000), st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.25, 0.3, 1.0, 5.0]))
def test_a_rounded_number_is_a_near_multiple_of_its_step(value: float, step: float) -> None:
    shown = rounded(value, step)
    assert abs(shown - value) <= step / 2 + 1e-9
    assert abs(shown / step - round(shown / step)) < 1e-6
    assert len(repr(shown)) <= 12


def test_without_a_policy_everything_is_shown(log: SubmissionLog) -> None:
    phase = phase_on(Challenge(), DAY)
    stated = log.close(
        log.open(make(), Challenge(), DAY), phase, DAY, report=make_report(dice=0.81234)
    )
    assert stated.scores is not None and stated.cases_open
    assert stated.scores["all"]["dice"] == 0.81234 and "lesion" in stated.scores
    assert (stated.left, stated.left_today) == (None, None)


# --- phases ------------------------------------------------------------------------------------


PHASES = Challenge(
    phases=(
        Phase(name="development", closes=date(2026, 3, 31), steps={"dice": 0.01}),
        Phase(
            name="final",
            opens=date(2026, 4, 10),
            closes=date(2026, 4, 20),
            steps={"dice": 0.01},
            results_open=date(2026, 5, 1),
        ),
    )
)


@pytest.mark.parametrize(
    "day, name",
    [("2020-01-01", "development"), ("2026-03-31", "development"), ("2026-04-10", "final")],
)
def test_each_day_belongs_to_its_phase(day: str, name: str) -> None:
    assert phase_on(PHASES, date.fromisoformat(day)).name == name


@pytest.mark.parametrize("day, tells", [("2026-04-01", "2026-04-10"), ("2026-04-21", "is over")])
def test_between_and_after_phases_nothing_is_taken(day: str, tells: str) -> None:
    with pytest.raises(BusbenchError, match=tells) as caught:
        phase_on(PHASES, date.fromisoformat(day))
    assert caught.value.code == "phase-closed"


@pytest.mark.parametrize(
    "phases",
    [
        [{"name": "a"}, {"name": "b"}],
        [{"name": "a", "closes": "2026-01-02"}, {"name": "b", "opens": "2026-01-02"}],
        [{"name": "a", "closes": "2026-01-02"}, {"name": "a", "opens": "2026-01-03"}],
        [{"name": "a", "opens": "2026-01-02", "closes": "2026-01-01"}],
        [{"name": "a", "steps": {"dice": 0}}],
        [{"name": "a", "steps": {"secret": 0.1}}],
        [{"name": "a", "quota": 0}],
    ],
)
def test_phases_that_contradict_themselves_are_refused(phases: list[dict[str, object]]) -> None:
    with pytest.raises(ValidationError):
        Challenge.model_validate({"phases": phases})


@pytest.mark.parametrize(
    "day, is_open",
    [(date(2026, 4, 20), False), (date(2026, 4, 30), False), (date(2026, 5, 1), True)],
)
def test_exact_results_stay_closed_until_their_day(
    log: SubmissionLog, day: date, is_open: bool
) -> None:
    phase = PHASES.phases[1]
    own = log.open(make(), PHASES, date(2026, 4, 15))
    assert log.close(own, phase, day, report=make_report()).cases_open is is_open
    if is_open:
        return require_open(log.submissions, PHASES, day)
    with pytest.raises(BusbenchError, match="final") as caught:
        require_open(log.submissions, PHASES, day)
    assert caught.value.code == "results-closed"
    return None


def test_the_pages_own_declaration_is_valid() -> None:
    text = re.search(r"^```yaml\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert text is not None
    names = [phase.name for phase in Challenge.model_validate(yaml.safe_load(text[1])).phases]
    assert names == ["development", "final"]


def test_a_phase_that_was_renamed_opens_nothing(log: SubmissionLog) -> None:
    hand_in(log, 0)
    with pytest.raises(BusbenchError, match="test of earlier submissions"):
        require_open(log.submissions, Challenge(), DAY)


# --- the attack --------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_policy_leaks_more_or_less_than_the_page_says() -> None:
    found = table()
    page = PAGE.read_text("utf-8")
    for policy, numbers in found.items():
        cells = re.search(rf"^\| {re.escape(policy)} \|(.*)\|$", page, re.MULTILINE)
        assert cells, policy
        assert [float(cell) for cell in cells[1].split("|")] == numbers, policy
    gains = {policy: max(numbers[: len(ATTACKS)]) for policy, numbers in found.items()}
    assert gains["no policy"] == pytest.approx(0.15)  # every label
    assert [policy for policy, gain in gains.items() if gain < 0.005] == [SILENT]
    assert set(found[SILENT]) == {0.0}  # gains and bits


@pytest.mark.parametrize("policy", POLICIES)
def test_no_attack_uses_more_bits_than_are_sent(policy: str) -> None:
    """The staircase, in a few runs: answers that could not tell so much would be a fault in it."""
    used = bits_used(leaked("by staircase", policy, repeats=2), POLICIES[policy])
    assert used <= bits_sent(POLICIES[policy])


def test_a_phase_without_steps_for_a_number_shows_none(log: SubmissionLog) -> None:
    phase = POLICIES[SILENT]
    answers = [
        log.close(
            log.open(make(n), Challenge(phases=(phase,)), DAY),
            phase,
            DAY,
            report=make_report(dice=dice),
        ).scores
        for n, dice in enumerate([0.1, 0.9])
    ]
    assert answers == [{}, {}]

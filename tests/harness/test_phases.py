"""A submission's phase is that of the day on which it came, whenever it is run or run again."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from harness.challenge import Challenge, Phase
from harness.cli import app
from harness.evaluation.evaluate import EvaluateSubmission
from harness.execution import Chain, Serial, run_chains
from harness.ledger import verify_ledger
from harness.quotas import SubmissionLog
from harness.quotas.recording import LedgerRecorder
from tests.support.factories import Entrant, digest_of
from tests.support.small_challenge import Evaluated

DEVELOPMENT = Phase(
    name="development",
    opens=date(2026, 3, 1),
    closes=date(2026, 3, 31),
    quota=1,
    steps={"dice": 0.1},
    results_open=date(2026, 5, 1),
)
FINAL = Phase(
    name="final",
    opens=date(2026, 4, 10),
    closes=date(2026, 4, 20),
    quota=1,
    steps={"dice": 0.1},
    results_open=date(2026, 5, 1),
)
PHASES = (DEVELOPMENT, FINAL)
DECLARED = Challenge(phases=PHASES)
# The day before each boundary, the boundary, and the day after it.
BOUNDARIES = [date(2026, 3, 1), date(2026, 3, 31), *(date(2026, 4, d) for d in (10, 20))]
DAYS = sorted({day + timedelta(n) for day in (*BOUNDARIES, date(2026, 5, 1)) for n in (-1, 0, 1)})
LATER = [date(2026, 4, 1), *BOUNDARIES[2:], date(2026, 4, 21), date(2026, 4, 30), date(2026, 5, 1)]


def phase_of_day(day: date) -> str | None:
    """The phase of a day, by the calendar alone."""
    months = {3: "development", 4: "final" if 10 <= day.day <= 20 else None}
    return months.get(day.month)


@pytest.fixture
def own(evaluated: Evaluated, tmp_path: Path) -> Evaluated:
    """The small challenge with runs of its own and no ledger yet."""
    runs = Path(shutil.copytree(evaluated.runs, tmp_path / "runs"))
    return Evaluated(evaluated.challenge, runs, tmp_path / "ledger.jsonl", evaluated.report)


class PowerCutError(BaseException):
    """The machine dies; nothing catches this."""


@dataclass(frozen=True)
class Ending(EvaluateSubmission):
    """An evaluation that was never done, and ends in this way when it is run."""

    end: BaseException | None = None

    def run(self, progress: Progress) -> None:
        assert self.end is not None
        raise self.end


@dataclass
class Organiser:
    """Runs the one submission on any day."""

    own: Evaluated
    monkeypatch: pytest.MonkeyPatch

    def job(self, end: BaseException | None = None) -> EvaluateSubmission:
        """The finished evaluation, or one that is still to be run and ends with `end`."""
        job = self.own.challenge.job(self.own.challenge.root / "submission", self.own.runs)
        if end is None:
            return job
        fields = {f.name: getattr(job, f.name) for f in dataclasses.fields(job)}
        return Ending(**{**fields, "runs": self.own.runs.parent / "none"}, end=end)

    def run(
        self, day: date, *jobs: EvaluateSubmission, received: date | None = None
    ) -> LedgerRecorder:
        """One command on that day."""
        self.monkeypatch.setattr("harness.quotas.recording.today", lambda: day)
        settings = self.own.challenge.settings.model_copy(update={"phases": PHASES})
        recorder = LedgerRecorder(
            self.own.challenge.keys, self.own.ledger, settings, received=received
        )
        chains = [Chain((job,)) for job in jobs or (self.job(),)]
        for end in run_chains(chains, Serial(), recorder).failed:
            assert end.error is not None
            raise end.error
        return recorder

    @property
    def log(self) -> SubmissionLog:
        return SubmissionLog.beside(self.own.ledger)

    def counted(self) -> list[str]:
        """The phases in which something of the team counts."""
        return [one.phase for one in self.log.submissions if one.counts]


@pytest.fixture
def organiser(own: Evaluated, monkeypatch: pytest.MonkeyPatch) -> Organiser:
    return Organiser(own, monkeypatch)


def new(organiser: Organiser, day: date) -> None:
    """Nothing came before."""


def answered(organiser: Organiser, day: date) -> None:
    organiser.run(day)


def killed(organiser: Organiser, day: date) -> None:
    with pytest.raises(PowerCutError):
        organiser.run(day, organiser.job(PowerCutError()))


def failed(organiser: Organiser, day: date) -> None:
    broken = BusbenchError(Code.ENGINE_UNAVAILABLE, "No engine answers.", "Start it.")
    with pytest.raises(BusbenchError):
        organiser.run(day, organiser.job(broken))


def queued(organiser: Organiser, day: date) -> None:
    """Another team's submission was first, and the machine died in it."""
    first = organiser.job(PowerCutError())
    facts = first.facts.model_copy(update={"team": "another team"})
    with pytest.raises(PowerCutError):
        organiser.run(day, dataclasses.replace(first, facts=facts), organiser.job())


STATES: list[Callable[[Organiser, date], None]] = [new, answered, killed, failed, queued]


def histories() -> Iterator[tuple[Callable[[Organiser, date], None], date, date]]:
    for state, first, second in itertools.product(STATES[1:], BOUNDARIES[1:], DAYS):
        if second == first or first < second in LATER:
            yield state, first, second
    yield from ((new, day, day) for day in DAYS)


@pytest.mark.parametrize("state, first, second", list(histories()))
def test_no_day_changes_the_phase_of_what_has_come(
    organiser: Organiser,
    state: Callable[[Organiser, date], None],
    first: date,
    second: date,
) -> None:
    state(organiser, first)
    phase = phase_of_day(first)
    if phase is None:
        with pytest.raises(BusbenchError) as closed:
            organiser.run(second)
        assert closed.value.code == "phase-closed" and not organiser.log.path.exists()
        return
    (accepted,) = organiser.run(second).accepted.values()
    assert (accepted.feedback.phase, accepted.own.day) == (phase, first)
    is_open = second >= date(2026, 5, 1)
    assert accepted.feedback.cases_open is is_open
    assert (accepted.folder / "cases.parquet").exists() is is_open
    assert accepted.feedback.left == 0
    others = [phase] if state is queued else []  # the other team's, which was killed
    assert sorted(organiser.counted()) == sorted([phase, *others])
    assert len(verify_ledger(organiser.own.ledger).reports) == 1
    if phase_of_day(second) == "final" and phase == "development":  # its place is still there
        organiser.log.open(Entrant("team", digest_of("2"), track="phantom"), DECLARED, second)


def test_no_stated_day_is_lost_or_to_come_or_outside_the_phases(organiser: Organiser) -> None:
    after = date(2026, 4, 21)
    for stated, code in ((date(2026, 4, 22), "usage"), (date(2026, 2, 28), "phase-closed")):
        with pytest.raises(BusbenchError) as refused:
            organiser.run(after, received=stated)
        assert refused.value.code == code
    (accepted,) = organiser.run(after, received=FINAL.closes).accepted.values()
    assert accepted.feedback.phase == "final"
    (one,) = organiser.log.submissions
    assert (one.day, one.stated, one.counts) == (FINAL.closes, after, True)
    organiser.run(after, received=FINAL.closes)  # again
    assert organiser.log.submissions == (one,)
    with pytest.raises(BusbenchError, match="received on 2026-04-20") as contradicts:
        organiser.run(after, received=FINAL.opens)
    assert contradicts.value.code == "usage"


def test_a_stated_day_of_another_phase_is_a_submission_of_that_phase(organiser: Organiser) -> None:
    answered(organiser, date(2026, 3, 31))
    organiser.run(date(2026, 4, 10), received=date(2026, 4, 10))
    assert organiser.counted() == ["development", "final"]


def test_no_wait_makes_a_team_go_over_its_quota(organiser: Organiser) -> None:
    last = date(2026, 3, 31)
    failed(organiser, last)
    organiser.log.open(Entrant("team", digest_of("2"), track="phantom"), DECLARED, last)
    with pytest.raises(BusbenchError) as refused:
        organiser.run(last)
    assert refused.value.code == "quota-exceeded"


def test_a_log_without_days_of_receipt_is_read(organiser: Organiser) -> None:
    """As version 1 wrote it."""
    answered(organiser, date(2026, 3, 31))
    page = json.loads(organiser.log.path.read_bytes())
    page["schema"] = "busbench/submission-log/v1"
    for one in page["submissions"]:
        for name in ("stated", "counts", "report"):
            del one[name]
    organiser.log.path.write_text(json.dumps(page))
    (accepted,) = organiser.run(date(2026, 5, 1)).accepted.values()
    assert accepted.feedback.phase == "development"


# --- the verbs -------------------------------------------------------------------------------


@pytest.fixture
def here(own: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The organiser's folder, with challenge.yaml in it, on the last day of development."""
    monkeypatch.setattr("harness.quotas.recording.today", lambda: DEVELOPMENT.closes)
    settings = own.challenge.settings.model_copy(update={"phases": PHASES})
    (tmp_path / "challenge.yaml").write_text(yaml.safe_dump(settings.document()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def code_of(*words: str | Path) -> tuple[str | None, str]:
    """The code of a command's error, None where it did well, and its standard error."""
    done = CliRunner().invoke(app, [*map(str, words)])
    error = done.exception
    assert error is None or isinstance(error, BusbenchError), error
    return (error.code if error else None), done.stderr


def evaluate(own: Evaluated, *more: str | Path) -> tuple[str | None, str]:
    folder = own.challenge.root
    keys = ("--keys", own.challenge.keys.path, "--out", own.runs, "--runner", "process")
    return code_of("evaluate", folder / "submission", "--bundle", folder / "bundles", *keys, *more)


def evaluated_here(own: Evaluated, *more: str | Path) -> tuple[str | None, str]:
    return evaluate(own, "--ledger", own.ledger, *more)


def test_no_other_folder_makes_phases_vanish(
    own: Evaluated, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = evaluated_here(own)
    assert code is None and str(here / "challenge.yaml") in said
    log = SubmissionLog.beside(own.ledger).submissions
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    site = ("publish", own.ledger, "--out", here / "site")
    feedback = ("feedback", own.runs, "--ledger", own.ledger)
    for attempt in (lambda: evaluated_here(own), lambda: code_of(*feedback)):
        code, said = attempt()
        assert code == "challenge-invalid" and "the defaults" in said
    assert code_of(*site)[0] == "results-closed"
    assert SubmissionLog.beside(own.ledger).submissions == log
    assert not list(own.runs.glob("*/feedback/cases.parquet")) and not (here / "site").exists()
    assert evaluated_here(own, "--challenge", here / "challenge.yaml")[0] is None


@pytest.mark.parametrize("with_phases", [True, False])
def test_no_ledger_without_its_submission_log_starts_quotas_again(
    own: Evaluated, here: Path, with_phases: bool
) -> None:
    assert evaluated_here(own)[0] is None
    copied = dataclasses.replace(own, ledger=here / "copy.jsonl")
    shutil.copy(own.ledger, copied.ledger)
    if not with_phases:
        (here / "challenge.yaml").unlink()
    for attempt in (
        lambda: evaluated_here(copied),
        lambda: code_of("feedback", own.runs, "--ledger", copied.ledger),
    ):
        assert attempt()[0] == "feedback-invalid"
    site = code_of("publish", copied.ledger, "--out", here / "site")[0]
    assert site == ("feedback-invalid" if with_phases else None)  # which a reviewer may do
    assert not SubmissionLog.beside(copied.ledger).path.exists()


def test_what_came_before_there_were_phases_is_no_reason_to_refuse(
    own: Evaluated, here: Path
) -> None:
    with_phases = (here / "challenge.yaml").rename(here / "later.yaml")
    assert evaluated_here(own)[0] is None
    assert list(own.runs.glob("*/feedback/cases.parquet"))
    log = SubmissionLog.beside(own.ledger).submissions
    with_phases.rename(here / "challenge.yaml")
    assert evaluated_here(own)[0] is None
    assert SubmissionLog.beside(own.ledger).submissions == log  # and no place was taken
    assert not list(own.runs.glob("*/feedback/cases.parquet"))  # the phases in force hide them


def test_no_phase_has_the_name_of_no_phase() -> None:
    with pytest.raises(ValueError, match="open not at all"):
        Challenge(phases=(Phase(name="open"),))


def test_feedback_that_is_due_takes_nothing_and_runs_nothing(
    own: Evaluated, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluated_here(own)[0] is None
    log = SubmissionLog.beside(own.ledger)
    before = log.path.read_bytes()
    due = ("feedback", own.runs, "--ledger", own.ledger)
    for day in LATER:
        monkeypatch.setattr("harness.quotas.recording.today", lambda day=day: day)
        assert code_of(*due)[0] is None
        is_open = day >= date(2026, 5, 1)
        assert bool([*own.runs.glob("*/feedback/cases.parquet")]) is is_open
        assert log.path.read_bytes() == before


def test_no_stated_day_is_taken_without_a_ledger(own: Evaluated, here: Path) -> None:
    assert evaluate(own, "--received", "2026-03-01")[0] == "usage"
    val = ("--part", "val", "--received", "2026-03-01", "--bundle", own.challenge.root / "bundles")
    assert code_of("evaluate", own.challenge.root / "submission", *val)[0] == "usage"
    assert evaluated_here(own, "--received", "2026-04-01")[0] == "usage"
    assert evaluated_here(own, "--received", "2026-03-01")[0] is None


@pytest.mark.parametrize("verb", ["rank", "table", "publish", "feedback", "evaluate"])
def test_no_verb_hides_which_challenge_is_in_force(own: Evaluated, here: Path, verb: str) -> None:
    assert evaluated_here(own)[0] is None
    commands: dict[str, tuple[str | Path, ...]] = {
        "rank": ("rank", own.ledger),
        "table": ("table", own.ledger),
        "publish": ("publish", own.ledger, "--out", here / "site"),
        "feedback": ("feedback", own.runs, "--ledger", own.ledger),
    }
    for place in (here / "challenge.yaml", here / "other.yaml"):
        if not place.exists():
            (here / "challenge.yaml").rename(place)
        more = ("--challenge", place)
        if verb == "evaluate":
            said = evaluated_here(own, *more)[1]
        else:
            said = code_of(*commands[verb], *more)[1]
        assert str(place) in said.replace("\n", "")

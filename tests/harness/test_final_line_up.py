"""Each team enters the final with one submission, and the rule that chose it is stated."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from evaluator.errors import BusbenchError
from harness.challenge import Challenge
from harness.ledger import append, sign, verify_ledger
from harness.ledger.report import Report
from harness.quotas import Submitted
from harness.quotas.finalists import Choice, LineUp, Record, line_up, read_choices
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys
from tests.support.factories import digest_of, make_report
from tests.support.final_challenge import IN_FINAL, PHASES, FinalChallenge


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FinalChallenge:
    return FinalChallenge.make(tmp_path_factory.mktemp("challenge"))


@dataclass
class Season:
    """What came so far, as reports, entries of the log and runs."""

    made: FinalChallenge
    ledger: Path
    reports: list[Report] = field(default_factory=list)
    log: list[Submitted] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)  # identities of reports without a run

    @property
    def bundles(self) -> Bundles:
        return Bundles.open(self.made.root / "bundles", "final")

    def on_test(self, team: str, method: str, dice: float = 0.5, **changes: Any) -> Report:
        """A result of the development phase, with a worse HD95 where Dice is worse."""
        changes = {"hd95": 100 * (1 - dice), "sealed": True, "lost": False, **changes}
        sealed, lost = changes.pop("sealed"), changes.pop("lost")
        report = make_report(team, method, dice=dice, track="phantom", dataset="phantom", **changes)
        test = Bundles.open(self.bundles.path).sealed
        provenance = {
            "split_digest": test.split_digest,
            "sealed_images_sha256": test.images_sha256 if sealed else digest_of("before"),
            "sealed_labels_sha256": test.labels_sha256,
            "submission_sha256": digest_of(f"{team}/{method}/{dice}"),
        }
        report = report.model_copy(
            update={"provenance": report.provenance.model_copy(update=provenance)}
        )
        keys = Keys.open(self.made.root / "keys")
        append(self.ledger, sign(report, keys), keys)
        self.reports.append(report)
        if lost:
            self.lost.add(report.identity())
        return report

    def handed_in(self, team: str, method: str, **changes: Any) -> None:
        """An entry of the final phase; answered, unless `changes` say otherwise."""
        report = digest_of(f"final of {team}/{method}")
        own = Submitted(
            submission_sha256=digest_of(f"{team}/{method}"),
            team=team,
            method=method,
            track="phantom",
            phase="final",
            day=IN_FINAL,
            **{"shown": {}, "report": report, **changes},
        )
        self.log.append(own)

    def line_up(self, choices: Sequence[Choice] = ()) -> LineUp:
        known = [*(r.identity() for r in self.reports), *(one.report for one in self.log)]
        runs = {i: Path(f"runs/{i[:8]}") for i in known if i is not None and i not in self.lost}
        record = Record(verify_ledger(self.ledger), tuple(self.log), runs)
        return line_up(record, self.made.declared, [self.bundles], choices=choices)

    def entered(self, *choices: Choice) -> dict[str, tuple[str, str]]:
        """Team -> what enters the final, and why."""
        return {one.team: (one.method, one.why) for one in self.line_up(choices).finalists}


@pytest.fixture
def season(made: FinalChallenge, tmp_path: Path) -> Season:
    return Season(made, tmp_path / "l.jsonl")


def test_no_team_enters_with_less_than_its_best(season: Season) -> None:
    dices = {"a": [0.3, 0.7, 0.5], "b": [0.9], "c": [0.2, 0.1]}
    for team, values in dices.items():
        for number, dice in enumerate(values):
            season.on_test(team, f"m{number}", dice)
    best = {t: f"m{max(range(len(v)), key=v.__getitem__)}" for t, v in dices.items()}
    assert season.entered() == {team: (method, "best") for team, method in best.items()}


def test_the_challenges_ranking_decides_what_is_best(season: Season) -> None:
    season.on_test("a", "overlap", 0.8, hd95=90.0)
    season.on_test("a", "boundary", 0.7, hd95=5.0)
    by_dice = Challenge.model_validate(
        {**season.made.declared.document(), "ranking": {"metrics": ["dice"]}}
    )
    by_hd95 = by_dice.model_copy(
        update={"ranking": by_dice.ranking.model_copy(update={"metrics": ("hd95",)})}
    )
    for declared, method in ((by_dice, "overlap"), (by_hd95, "boundary")):
        one = dataclasses.replace(season, made=dataclasses.replace(season.made, declared=declared))
        assert one.entered() == {"a": (method, "best")}


def test_a_newer_entry_of_a_method_takes_the_place_of_the_older(season: Season) -> None:
    season.on_test("a", "m", 0.9)
    newer = season.on_test("a", "m", 0.4)
    (only,) = season.line_up().finalists
    assert only.submission_sha256 == newer.provenance.submission_sha256


def test_what_is_handed_in_for_the_final_never_loses_to_an_older_best(season: Season) -> None:
    season.on_test("a", "best", 0.9)
    season.handed_in("a", "first")
    season.handed_in("a", "second")
    season.handed_in("b", "new")  # which has nothing on the test part
    assert season.entered() == {"a": ("second", "entered"), "b": ("new", "entered")}


def test_a_failure_in_the_final_phase_leaves_a_team_its_best(season: Season) -> None:
    season.on_test("a", "best", 0.9)
    season.handed_in("a", "broken", shown=None, report=None, code="model-failed")
    season.handed_in("b", "broken", shown=None, report=None, code="model-failed")
    lined = season.line_up()
    assert {one.team: one.why for one in lined.finalists} == {"a": "best"}
    assert lined.left_out == ("b on phantom: it has no complete result",)


def test_what_was_not_evaluated_yet_holds_everything_up(season: Season) -> None:
    season.on_test("a", "best", 0.9)
    season.handed_in("a", "waits", shown=None, report=None, counts=False)
    lined = season.line_up()
    assert not lined.finalists
    (missing,) = lined.missing
    assert "waits of a came in the phase final" in missing.message


def test_a_team_whose_run_is_lost_is_named(season: Season) -> None:
    season.on_test("a", "best", 0.9, lost=True)
    (missing,) = season.line_up().missing
    assert "best of a on phantom" in missing.message and int(missing.fault) == 20


def test_a_choice_of_the_team_beats_its_best(season: Season) -> None:
    season.on_test("a", "best", 0.9)
    season.on_test("a", "careful", 0.5, status="incomplete")
    assert season.entered(Choice("a", "careful", None)) == {"a": ("careful", "chosen")}
    assert season.entered(Choice("Ａ", "careful", "phantom")) == {"a": ("careful", "chosen")}


@pytest.mark.parametrize(
    "choice",
    [Choice("a", "unknown", None), Choice("b", "best", None), Choice("a", "best", "elsewhere")],
)
def test_no_choice_is_without_effect_in_silence(season: Season, choice: Choice) -> None:
    season.on_test("a", "best", 0.9)
    with pytest.raises(BusbenchError, match="has no result on the test part") as refused:
        season.entered(choice)
    assert refused.value.code == "usage"


def test_no_choice_contradicts_what_was_handed_in(season: Season) -> None:
    season.on_test("a", "best", 0.9)
    season.handed_in("a", "late")
    with pytest.raises(BusbenchError, match="handed in late"):
        season.entered(Choice("a", "best", None))


def test_an_incomplete_result_or_one_of_another_sealing_enters_no_final(season: Season) -> None:
    season.on_test("a", "half", 0.9, status="incomplete")
    season.on_test("b", "before", 0.9, sealed=False)
    lined = season.line_up()
    assert not lined.finalists
    assert lined.left_out == ("a on phantom: it has no complete result",)


def test_a_team_that_a_rescoring_left_in_a_table_of_its_own_is_not_dropped(season: Season) -> None:
    """Its run is missing, or it would have been scored anew, too: so it is to be found first."""
    season.on_test("a", "left", 0.9, lost=True)
    season.on_test("b", "older", 0.9)
    season.on_test("b", "newer", 0.2, metric_profile="native@2")
    season.on_test("c", "newer", 0.3, metric_profile="native@2")
    lined = season.line_up()
    found = {one.team: (one.method, one.why) for one in lined.finalists}
    assert found == {"a": ("left", "best"), "b": ("newer", "best"), "c": ("newer", "best")}
    (missing,) = lined.missing
    assert "left of a on phantom" in missing.message
    assert season.entered(Choice("b", "older", None))["b"] == ("older", "chosen")


def test_another_spelling_of_a_team_is_no_second_team(season: Season) -> None:
    season.on_test("a", "one", 0.4)
    season.on_test("Ａ", "two", 0.9)
    (only,) = season.line_up().finalists
    assert only.method == "two"


def test_no_challenge_without_a_final_phase_is_ended_so(season: Season) -> None:
    season.on_test("a", "best", 0.9)
    declared = season.made.declared.model_copy(update={"phases": PHASES[:1]})
    season.made = dataclasses.replace(season.made, declared=declared)
    with pytest.raises(BusbenchError, match="no phase that scores the final part") as refused:
        season.line_up()
    assert refused.value.code == "challenge-invalid"


def test_a_table_of_choices_is_read_with_and_without_tracks(tmp_path: Path) -> None:
    (tmp_path / "chosen.csv").write_text("team,method,track\na,one,phantom\nb,two,\n")
    assert read_choices(tmp_path / "chosen.csv") == (
        Choice("a", "one", "phantom"),
        Choice("b", "two", None),
    )

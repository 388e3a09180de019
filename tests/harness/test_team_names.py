"""Names of teams: no spelling that a reader takes for another team's gets a quota or a row."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import icu
import pytest
import yaml
from pydantic import ValidationError

from evaluator.errors import BusbenchError
from harness.challenge import Challenge, Phase
from harness.ledger import append, sign, verify_ledger
from harness.proposal import Teams
from harness.quotas import SubmissionLog
from harness.quotas.policy import Submitted, admit
from harness.ranking import make_board
from harness.sealing.keys import Keys
from harness.submission import read_submission
from harness.team_names import check_visible, find_same, one_spelling
from tests.support.factories import Entrant, digest_of, make_report
from tests.support.small_challenge import make_submission

DAY = date(2026, 3, 1)
DECLARED = Challenge(phases=(Phase(name="p", steps={"dice": 0.01}, quota=2),))
# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt.
IGNORABLE_RANGES = """00AD 034F 061C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F
    3164 FE00-FE0F FEFF FFA0 FFF0-FFF8 1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"""
UNDRAWN = "\u2800\u3000\u00a0\u1680\u2007\u202f\u205f\u303f\ufffc\U0001d159\U00013441\U00013442"
LETTERS = [
    chr(code)
    for code in range(0x110000)
    if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")
]


def ignorable() -> Iterator[str]:
    for part in IGNORABLE_RANGES.split():
        first, _, last = part.partition("-")
        yield from map(chr, range(int(first, 16), int(last or first, 16) + 1))


IGNORABLE = list(ignorable())


def submitted(team: str, number: int = 0) -> Submitted:
    return Submitted(
        submission_sha256=digest_of(f"{team!a} {number}"),
        team=team,
        method="m",
        track="busbra",
        phase="p",
        day=DAY,
    )


def gets_a_quota(team: str, beside: str) -> bool:
    """Whether `team` may hand in, with a quota of its own, where `beside` has handed in."""
    log = [submitted(beside, 0)]
    try:
        return admit(log, Entrant(team, digest_of(f"{team!a} 1")), DECLARED, day=DAY) not in log
    except BusbenchError as error:
        assert error.code == "submission-invalid"
        assert error.message.isascii()  # else the two names would look the same in it
        return False


def test_no_ignorable_character_makes_a_new_team() -> None:
    assert len(IGNORABLE) == 4174
    assert set(IGNORABLE) == set(icu.UnicodeSet("[:DI:]"))
    for character in IGNORABLE:
        for name in (f"{character}team", f"te{character}am", f"team{character * 3}"):
            assert not gets_a_quota(name, "team"), ascii(name)
            assert one_spelling(name) == one_spelling("team")


@pytest.mark.parametrize("undrawn", UNDRAWN, ids=ascii)
def test_no_undrawn_character_makes_a_new_team(undrawn: str) -> None:
    for name in (f"{undrawn}team", f"te{undrawn}am", f"team{undrawn}", f"te {undrawn} am"):
        assert not gets_a_quota(name, "team"), ascii(name)


def test_no_lookalike_makes_a_new_team() -> None:
    """Every character that Unicode says can be confused with another, in either's place."""
    tables = icu.SpoofChecker()
    found = 0
    for character in LETTERS:
        twin = tables.getSkeleton(0, character)
        if twin != unicodedata.normalize("NFD", character):
            found += 1
            mine, theirs = f"lab {character}x", f"lab {twin}x"
            assert one_spelling(mine) == one_spelling(theirs), ascii(mine)
            assert find_same(mine, [theirs]) and find_same(theirs, [mine]), ascii(mine)
    assert found > 6000


def test_no_case_makes_a_new_team() -> None:
    for character in LETTERS:
        for other in {character.lower(), character.upper(), character.casefold()} - {character}:
            assert find_same(f"a{other}b", [f"a{character}b"]), ascii(character)


@pytest.mark.parametrize(
    "spelling",
    [
        "TEAM I",
        "team l",
        "ｔｅａｍ １",
        "tearn 1",
        "ТЕАМ І",
        "𝕥𝕖𝕒𝕞 𝟙",
        "t\u200be\u00ada\u2060m\ufe0f1",
    ],
)
def test_no_mixture_of_tricks_makes_a_new_team(spelling: str) -> None:
    assert not gets_a_quota(spelling, "Team 1")


def test_folding_a_name_twice_changes_nothing_more() -> None:
    for character in LETTERS:
        folded = one_spelling(character)
        assert one_spelling(folded) == folded, ascii(character)


@pytest.mark.parametrize(
    "names",
    [
        ["Team A", "Team B", "Team 2", "Team 3", "Équipe", "Equipe", "Müller", "Möller", "Muller"],
        ["超音波", "超音液", "Команда", "Ομάδα", "فريق", "צוות", "टीम", "ทีม", "팀", "チーム"],
        ["deepbus", "deep-bus-2", "lesion.ai", "lesion.io", "a", "b", "4", "U of X", "U of Y"],
    ],
)
def test_honest_names_stay_apart(names: list[str]) -> None:
    for number, name in enumerate(names):
        assert check_visible(name) is None
        assert find_same(name, names[:number]) is None, name


@pytest.mark.parametrize("count", [1, 5])
def test_no_name_without_a_visible_letter_or_digit_is_taken(count: int) -> None:
    marks = [c for c in LETTERS if unicodedata.category(c)[0] in "MPSZ"]
    compatible = (c for c in marks if unicodedata.normalize("NFKC", c).strip() == c)
    for character in [*IGNORABLE, *UNDRAWN, *compatible, "\ue000", "ʼ", "ˈ", "\U0001f98a"]:
        assert check_visible(character * count), ascii(character)
        with pytest.raises(BusbenchError, match="letter or digit") as caught:
            admit([], Entrant(character * count, digest_of("1")), DECLARED, day=DAY)
        assert caught.value.code == "submission-invalid"


def test_a_team_keeps_the_spelling_that_it_began_with(tmp_path: Path) -> None:
    log = SubmissionLog(tmp_path / "log.json")
    log.open(Entrant("Team A", digest_of("1")), DECLARED, DAY)
    with pytest.raises(BusbenchError, match=r"'Team A', which came first") as caught:
        log.open(Entrant("TEAM A", digest_of("2")), DECLARED, DAY)
    assert "Write 'Team A'" in caught.value.remedy
    log.open(Entrant("Team A", digest_of("2")), DECLARED, DAY)
    assert {one.team for one in log.submissions} == {"Team A"}


def test_no_other_phase_or_track_registers_a_name_again() -> None:
    log = [submitted("Team A").model_copy(update={"phase": "before", "track": "busi"})]
    with pytest.raises(BusbenchError, match="came first"):
        admit(log, Entrant("ТEАM А", digest_of("1")), DECLARED, day=DAY)


# --- the list of teams, the submission, the board -------------------------------------------------


def teams(*names: str) -> dict[str, object]:
    found = {f"t{number}": {"name": name, "accounts": ["a"]} for number, name in enumerate(names)}
    return {"schema": "busbench/teams/v1", "teams": found}


@pytest.mark.parametrize(
    "twin",
    ["team", "TEAM ", "te am", "tеam", "tearn", "team\u2800", "te\u3164am", "\U000e0041team"],
    ids=ascii,
)
def test_no_two_registered_teams_read_alike(twin: str) -> None:
    with pytest.raises(ValidationError, match="same name"):
        Teams.model_validate(teams("Team", "Other", twin))


@pytest.mark.parametrize("name", ["\u3164", "\u2800\u2800", "🦊", "---", "\u0301"], ids=ascii)
def test_no_unseen_team_is_registered_or_hands_in(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="letter or digit"):
        Teams.model_validate(teams("Team", name))
    document = make_submission(tmp_path) / "submission.yaml"
    document.write_text(yaml.safe_dump(yaml.safe_load(document.read_text()) | {"team": name}))
    with pytest.raises(BusbenchError, match="letter or digit") as caught:
        read_submission(tmp_path)
    assert caught.value.code == "submission-invalid"


@pytest.mark.parametrize("twin", ["TEAM", "tеam", "te\u200bam"], ids=ascii)
def test_no_team_has_two_rows_by_two_spellings(twin: str, keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for team, dice in (("team", 0.9), (twin, 0.7)):
        append(ledger, sign(make_report(team=team, method="m", dice=dice), keys), keys)
    (track,) = make_board(verify_ledger(ledger)).tracks
    assert [row.team for row in track.rows] == [twin]  # the newest counts

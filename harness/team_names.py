"""Names of teams: which are the same to a reader, and which no reader could tell or call.

Two names are one where they differ in case, width, spaces, invisible characters, or characters
that look alike (UTS #39). ICU, which carries Unicode's own tables, does the folding.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import icu

from evaluator.errors import BusbenchError, Code

# Ignorable, unassigned and private characters, spaces; then what is drawn as nothing all the same.
_UNSEEN = icu.UnicodeSet(
    r"[[:DI:][:C:][:Z:][:White_Space:]"
    r"\u034F\u2800\u303F\uFFFC\u1039\u17D2\u2D7F\U00010A3F\U0001107F\U00011A47\U00011A99"
    r"\U00013440-\U00013442\U00016FE4\U0001D159\U0001DA7F\U0001DA80]"
)
_READABLE = icu.UnicodeSet("[[[:L:][:N:]] - [:Lm:]]")
_ROUNDS = 3  # after which folding changes nothing more; a test tries every character
_lookalikes = icu.SpoofChecker()
_caseless = icu.Normalizer2.getNFKCCasefoldInstance()


@lru_cache(maxsize=4096)  # a submission log is read name by name, again and again
def one_spelling(team: str) -> str:
    """A team's name such that case, width, spaces, unseen and similar characters change nothing.

    Of capital letters it takes what they look like before what they are: `I` is `l`, and so is `i`.
    """
    folded = _skeleton(team)
    for _ in range(_ROUNDS):
        folded = _skeleton(_caseless.normalize(folded))
    return folded.replace("i", "l")


def find_same(team: str, others: Iterable[str]) -> str | None:
    """The first of `others` that a reader could take for `team`, itself included.

    Letters of some alphabets look like another one as capitals and as small letters, so a name is
    compared as it is written and in small letters.
    """
    own = _spellings(team)
    return next((other for other in others if own & _spellings(other)), None)


def check_visible(team: str) -> str | None:
    """What is wrong with a name of which no letter or digit can be seen; None where one can."""
    if any(character in _READABLE for character in _seen(unicodedata.normalize("NFKC", team))):
        return None
    return f"the team's name {team!a} has no letter or digit that can be seen"


def require_single(team: str, registered: Iterable[str]) -> None:
    """Refuse a name that cannot be seen, or that looks like another one of `registered`.

    Raises:
        BusbenchError: `submission-invalid`, naming the spelling that is known.
    """
    problem = check_visible(team)
    if problem is not None:
        remedy = "Choose another name."
        raise BusbenchError(Code.SUBMISSION_INVALID, f"submission.yaml: {problem}.", remedy)
    known = set(registered)
    same = None if team in known else find_same(team, sorted(known))
    if same is not None:
        message = f"submission.yaml: the team {team!a} reads like {same!a}, which came first."
        remedy = f"Write {same!a} if that is you, or choose another name."
        raise BusbenchError(Code.SUBMISSION_INVALID, message, remedy)


def _spellings(team: str) -> set[str]:
    return {one_spelling(team), one_spelling(_caseless.normalize(team))}


def _skeleton(text: str) -> str:
    return str(_lookalikes.getSkeleton(0, _seen(text)))


def _seen(text: str) -> str:
    return "".join(character for character in text if character not in _UNSEEN)

"""Harmless text: what somebody else wrote, such that it steers nothing where it is shown.

Names, keys of YAML, names of files, lines of logs and messages of libraries come from participants.
Terminals, logs of CI systems, tables and comments take only `Harmless`, which `harmless` alone
makes: a `str`, and so whatever an f-string gives, fails the type check there.
"""

from __future__ import annotations

import re
import unicodedata

LIMIT = 4000  # characters: a path fits, and sixteen fit into the comment of a forge
MARKS = 4  # combining characters on a letter: languages need fewer, and towers hide other lines
# Unicode's Default_Ignorable_Code_Point outside category Cf: invisible, but letters or marks by
# their category (DerivedCoreProperties.txt, Unicode 16).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
# What CI systems take for a command: `::name` begins a line, `##[name]` and `##vso[` are anywhere.
_COMMAND = re.compile(r"##(?=\w*\[)|^\s*:(?=:)")
# By category: dropped, blank, or a character that no font may be asked for.
_BY_CATEGORY = {"Cf": "", "Cc": " ", "Zl": " ", "Zp": " ", "Zs": " "}
_BY_CATEGORY |= dict.fromkeys(("Cs", "Co", "Cn"), "\ufffd")


class Harmless(str):
    """One line without characters that steer a terminal or a reader's eye; `harmless` makes it."""

    __slots__ = ()


def harmless(text: object, limit: int = LIMIT) -> Harmless:
    """`text` as one line of at most `limit` characters, which contains visible characters alone.

    Controls (C0, C1, ends of lines) become spaces; direction marks and all else that is invisible
    is dropped; surrogates, private and unassigned characters become U+FFFD. What a CI system
    would take for a command is broken by a space. Markup stays: whoever writes a format with
    markup escapes it, see `harness.ranking.names`.
    """
    if isinstance(text, Harmless) and len(text) <= limit:
        return text
    raw = str(text)
    seen = raw[: 8 * limit]
    if not (seen.isascii() and seen.isprintable()):
        seen = _visible(seen)
    seen = _COMMAND.sub(r"\g<0> ", seen)
    if len(seen) > limit or len(raw) > 8 * limit:
        seen = f"{seen[: limit - 1]}…"
    return Harmless(seen)


def _visible(text: str) -> str:
    kept, marks = [], 0
    for character in _INVISIBLE.sub("", text):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= MARKS:
            kept.append(_BY_CATEGORY.get(category, character))
    return "".join(kept)

"""Names that participants chose as literal text, which steers nothing around it.

A title has no control characters (the contract refuses them), but it may have direction marks,
markup of any format, or what a spreadsheet takes for a formula.
"""

from __future__ import annotations

import re
from html import escape

# They reorder the text that follows, so that a row could seem to say something else.
_DIRECTION_MARKS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~&#!])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": "`{}",
    "–": "--",
    "—": "---",
    "’": "'",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    **{character: f"\\{character}" for character in "{}$&#_%"},
}
# Letters that LaTeX's own input encoding knows in any font; others go through a macro.
_LATEX_LETTERS = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")
LATEX_MACRO = "boardchar"


def plain(name: str) -> str:
    """A name for the terminal: without direction marks."""
    return _DIRECTION_MARKS.sub("", name)


def xml(name: str) -> str:
    """A name for XML, without the characters that no document may contain; not yet escaped."""
    return _NOT_XML.sub("", plain(name))


def markdown(name: str) -> str:
    """A name as literal text in a Markdown table."""
    return _MARKDOWN.sub(r"\\\1", plain(name))


def latex(name: str) -> str:
    r"""A name as literal text in LaTeX; what it may not know becomes `\boardchar{<code point>}`."""
    return "".join(map(_latex_character, plain(name)))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii() or character in _LATEX_LETTERS:
        return character
    return rf"\{LATEX_MACRO}{{{ord(character):X}}}"


def html(name: str) -> str:
    """A name as literal text in HTML, in a direction of its own."""
    return f"<bdi>{escape(plain(name))}</bdi>"


def spreadsheet(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    text = plain(name)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


_FORMULA = tuple("=+-@＝＋－＠")

"""How do names that participants chose appear in text, without steering what is around them?

A title holds no control characters (the contract refuses them), but it may hold direction marks,
markup of any format, or what a spreadsheet takes for a formula. HTML is escaped by the templates.
"""

from __future__ import annotations

import re

# They reorder the text that follows, so that a row could seem to say something else.
_DIRECTION_MARKS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~&#!])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "{}$&#_%"},
}


def plain(name: str) -> str:
    """A name for the terminal: without direction marks."""
    return _DIRECTION_MARKS.sub("", name)


def xml(name: str) -> str:
    """A name for XML, without the signs that no document of it may hold; not yet escaped."""
    return _NOT_XML.sub("", plain(name))


def markdown(name: str) -> str:
    """A name as literal text in a Markdown table."""
    return _MARKDOWN.sub(r"\\\1", plain(name))


def latex(name: str) -> str:
    """A name as literal text in LaTeX."""
    return "".join(_LATEX.get(character, character) for character in plain(name))


def spreadsheet(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    text = plain(name)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text

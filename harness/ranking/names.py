"""Names that participants chose, in the formats with markup: literal text, which steers nothing.

Each begins with `harmless`, and marks the text up or escapes what the format takes for markup.
"""

from __future__ import annotations

import re
from html import escape
from typing import NewType

from evaluator.harmless import Harmless, harmless

# Text in a format with markup of our own. An f-string is none: only what is written out as such is.
Markup = NewType("Markup", str)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~&#!])")
# What forges make a mention or a link of in text that they have unescaped already.
_LINKED = re.compile(r"@|:/|www\.|\bgh-\d|\b[0-9a-f]{7,}", re.IGNORECASE)
# The first would end a code span, the second a table's cell. The others mean nothing in a span, but
# a comment is sent by mail, too.
_CODE = str.maketrans({"`": "'", "|": "¦", "<": "‹", ">": "›", "@": "＠"})
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


def code(text: object, limit: int = 1000) -> Markup:
    """Any text as a code span of Markdown, where nobody is called and nothing is linked."""
    shown = harmless(text, limit).translate(_CODE).replace("://", ": //").strip()
    return Markup(f"`{shown or '–'}`")


def markdown(name: str) -> Markup:
    """A name as literal text in a Markdown table; one that no escape keeps literal as a span."""
    text = harmless(name)
    return code(text) if _LINKED.search(text) else Markup(_MARKDOWN.sub(r"\\\1", text))


def latex(name: str) -> Markup:
    r"""A name as literal text in LaTeX; what it may not know becomes `\boardchar{<code point>}`."""
    return Markup("".join(map(_latex_character, harmless(name))))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii() or character in _LATEX_LETTERS:
        return character
    return rf"\{LATEX_MACRO}{{{ord(character):X}}}"


def html(name: str) -> Markup:
    """A name as literal text in HTML, in a direction of its own."""
    return Markup(f"<bdi>{escape(harmless(name))}</bdi>")


def plain(name: str) -> Markup:
    """A name for a terminal, which has no markup."""
    return Markup(harmless(name))


def spreadsheet(name: str) -> Harmless:
    """A name that no spreadsheet takes for a formula."""
    text = harmless(name)
    return harmless(f"'{text}") if text.lstrip().startswith(_FORMULA) else text


_FORMULA = tuple("=+-@＝＋－＠")

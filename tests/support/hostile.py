"""Hostile words of participants, and what no text that leaves may contain whatever they were."""

from __future__ import annotations

import re
import unicodedata

# What a title may contain: its contract refuses control characters.
TITLES = {
    "a closing tag of markup": "[/b]",
    "a link of markup": "[link=http://evil.example]click[/link]",
    "a style of markup": "[bold red on white]x",
    "an emoji's code": ":pile_of_poo: :warning:",
    "a command of a CI system": "::set-output name=x::y",
    "a command after a space": " ::add-mask::x",
    "an old command": "a ##[set-env name=PATH]x",
    "another CI system's command": "##vso[task.setvariable variable=x]y",
    "bidi overrides": "a\u202ecba\u202c\u2066x\u2069\u200f\u061c",
    "tags and joiners": "a\u200b\u200c\u200d\u2060\ufeff\U000e0041\U000e007fb",
    "letters that are invisible": "a\u115f\u1160\u3164\uffa0\u034f\ufe0f\U000e0100b",
    "a tower of marks": "a" + "\u0301\u0489" * 40,
    "a comment": "<!-- x --> <img src=http://evil.example>",
    "an entity": "&#64;team &commat;all",
    "a mention": "@team @everyone",
    "a link": "[x](http://evil.example) https://evil.example www.evil.example",
    "a code span": "`` ` ``` @team `x",
    "a table": "a | b || c \\| d \\",
    "a heading": "### Scored: 1.0",
    "a formula": "=cmd|'/C calc'!A0",
    "a wide formula": "＝1+1",
    "private and unassigned characters": "\ue000\U000f0000\u0378\uffff",
    "the longest": "x" * 100,
}
# What else names of files, keys of YAML and lines of logs may contain.
WORDS = TITLES | {
    "a hyperlink of a terminal": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "a reset of a terminal": "\x1bc\x1b[2J\x1b[H",
    "a control sequence in one character": "\x9b2J\x9d0;title\x9c",
    "a returning line": "good\rerror [usage] bad",
    "another line": "good\n::set-output name=x::y\n# heading",
    "lines by other names": "a\u2028::error::b\u2029c\x85d\x0be\x0cf",
    "a bell and deletions": "\x07\x08\x08\x7f",
    "nothing else": "\x1b[8m\u200b",
    "a long one": "@team " * 5000,
}
BYTES = {"bytes that are no text": b"\xff\xfe[/b]\x1b[2J".decode("utf-8", "surrogateescape")}
_IGNORABLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0]")


def steers(text: str) -> list[str]:
    """What in a text of several lines steers a terminal, a CI system or a reader's eye."""
    found = [
        f"U+{ord(character):04X}"
        for character in text
        if character != "\n"
        and (unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
    ]
    found += _IGNORABLE.findall(text)
    found += re.findall(r"[\U000e0000-\U000e0fff]", text)
    found += re.findall(r"^\s*::.*", text, re.MULTILINE) + re.findall(r"##\w*\[", text)
    found += ["Traceback"] if "Traceback" in text else []
    return found + (["a long line"] if max(map(len, text.splitlines()), default=0) > 13_000 else [])


def outside_of_spans(comment: str) -> str:
    """A comment without its code spans; raises where one is left open."""
    for line in comment.splitlines():
        assert line.count("`") % 2 == 0, line
    return re.sub(r"`[^`\n]*`", "", comment)

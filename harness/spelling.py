"""Words that are nearly spelled as a known one."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A question about the nearest known word, and a space; empty where none is near."""
    near = get_close_matches(word, known, 1)
    return f"Did you mean '{near[0]}'? " if near else ""

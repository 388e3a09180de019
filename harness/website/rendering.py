"""Templates and their filters: everything is escaped, and nothing undefined passes for empty."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evaluator.harmless import harmless
from harness.ledger import Instant
from harness.ranking import METRICS
from harness.ranking.marks import GAP_UNLIKE, marks_of
from harness.ranking.metrics import GAP, MISSING, NOT_COUNTED

# Its own style sheet, script and images; no other host, no inline code, no form, no frame.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)


@cache
def environment() -> Environment:
    """The one environment of all templates."""
    made = Environment(
        loader=PackageLoader("harness.website"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        count=count,
        day=day,
        plain=harmless,
        plain_lines=plain_lines,
        short=short,
        millions=millions,
        gmacs=gmacs,
        group_title=group_title,
        heading=heading,
        in_order=in_order,
        data=_data,
        link=link,
        xml=harmless,
    )
    made.globals.update(
        metrics=METRICS,
        gap=GAP,
        gap_unlike=GAP_UNLIKE,
        marks_of=marks_of,
        missing=MISSING,
        policy=POLICY,
    )
    return made


def source(name: str) -> str:
    """A file beside the templates, as it is."""
    loader = environment().loader
    if loader is None:
        raise ValueError("the environment has no templates")
    return loader.get_source(environment(), name)[0]


def plain_lines(text: str) -> str:
    """A text of several lines with nothing in it that steers a display."""
    return "\n".join(map(harmless, text.splitlines()))


def link(text: str) -> str | None:
    """Where a text leads that is nothing but a URL of the web, a DOI or an address for mail."""
    if re.fullmatch(r"doi:10\.\d{4,9}/[\w.()/:;-]+", text):
        return f"https://doi.org/{text.removeprefix('doi:')}"
    if re.fullmatch(r"https?://[^\s<>\"']+", text):
        return text
    return f"mailto:{text}" if re.fullmatch(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", text) else None


def _data(values: Mapping[str, object]) -> Markup:
    """`data-` attributes of an element; what is None has none."""
    return Markup("").join(
        Markup(' data-{}="{}"').format(key, value)
        for key, value in values.items()
        if value is not None
    )


# --- numbers, groups of cases and counts, as people read them ------------------------------------

Value = TypeVar("Value")

GROUPS = {
    "all": "All images",
    "lesion": "Lesion images",
    "normal": "Normal images",
    "benign": "Benign",
    "malignant": "Malignant",
    "Q1": "Q1, smallest",
    "Q2": "Q2",
    "Q3": "Q3",
    "Q4": "Q4, largest",
}

ORDER = (*GROUPS, "train", "test", "final")


def in_order(named: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """Groups of cases, or parts of a split, as people would list them; others follow by name."""
    known = {name: place for place, name in enumerate(ORDER)}
    return sorted(named.items(), key=lambda item: (known.get(item[0], len(known)), item[0]))


def group_title(name: str) -> str:
    """How a group of `evaluator.scoring.groups` is called."""
    return GROUPS.get(name) or name.removeprefix("device ").replace("birads ", "BI-RADS ", 1)


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", " ")


def heading(title: str) -> str:
    """A column's heading, its arrow never alone on a line."""
    return re.sub(" ([↑↓])", "\u00a0\\1", title)


def day(instant: Instant) -> str:
    """The day, UTC, of a time in the ledger."""
    return instant[: len("2026-01-31")]


def millions(number: int | None) -> str:
    """Parameters, in millions."""
    return NOT_COUNTED if number is None else f"{number / 1e6:.2f} M"


def gmacs(value: float | None) -> str:
    """GMACs, to three digits."""
    if value is None:
        return NOT_COUNTED
    if 0 < value < 0.0005:
        return "< 0.001"
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def short(value: float) -> str:
    """A number of any size, to four digits or so."""
    digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:.{digits}f}"

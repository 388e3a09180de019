"""Templates and their filters: everything is escaped, and nothing undefined passes for empty."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.ranking import METRICS
from harness.ranking.metrics import GAP, MISSING
from harness.ranking.names import plain, xml
from harness.website.words import (
    count,
    day,
    gflops,
    group_title,
    heading,
    in_order,
    millions,
    short,
)

# Its own style sheet, script and pictures; no other host, no inline code, no form, no frame.
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
        plain=plain,
        short=short,
        millions=millions,
        gflops=gflops,
        group_title=group_title,
        heading=heading,
        in_order=in_order,
        data=_data,
        link=link,
        xml=xml,
    )
    made.globals.update(metrics=METRICS, gap=GAP, missing=MISSING, policy=POLICY)
    return made


def source(name: str) -> str:
    """A file beside the templates, as it stands."""
    loader = environment().loader
    if loader is None:
        raise ValueError("the environment has no templates")
    return loader.get_source(environment(), name)[0]


def link(text: str) -> str | None:
    """Where a text leads that is nothing but a URL of the web or an address for mail."""
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

"""What stands in each file of the site? A pure function of the board: no clock, no chance.

Names that participants chose are escaped by the templates and kept in a direction of their own
(`<bdi>`). A content-security policy in the page allows its one style sheet, known by its digest,
and nothing else: no script, no image, no request to any host.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evaluator.files import pretty_json
from harness.ranking import METRICS, Board, Track, to_csv
from harness.ranking.metrics import GAP, MISSING
from harness.ranking.names import plain
from harness.site.plot import SHOWN, Panel, panel

GROUPS = {
    "lesion": "Images with a lesion",
    "benign": "Benign lesions",
    "malignant": "Malignant lesions",
    "normal": "Normal images",
}
PART_METRICS = ("dice", "hd95")  # on one image IoU says what Dice says; board.csv has it, too


def index_html(board: Board) -> bytes:
    """The one page: an overview of the tracks, and each track's table and plots."""
    environment = _environment()
    style = _squeeze(_source(environment, "style.css"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = environment.get_template("index.html.j2").render(
        board=board,
        metrics=METRICS,
        gap=GAP,
        part_metrics=[metric for metric in METRICS if metric.key in PART_METRICS],
        style=Markup(style),  # ours, from a file beside the template
        style_digest=digest,
        groups_of=_groups_of,
        panels_of=_panels_of,
        shown=SHOWN,
        missing=MISSING,
    )
    return _squeeze(page).encode()


FILES: dict[str, Callable[[Board], bytes]] = {
    "index.html": index_html,
    "board.json": lambda board: pretty_json(board.document()),
    "board.csv": lambda board: to_csv(board).encode(),
}


def render(board: Board) -> dict[str, bytes]:
    """Every file of the site, by name."""
    return {name: write(board) for name, write in FILES.items()}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("harness.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(count=_count, plain=plain)
    return environment


def _source(environment: Environment, name: str) -> str:
    if environment.loader is None:
        raise ValueError("the environment has no templates")
    return environment.loader.get_source(environment, name)[0]


def _squeeze(text: str) -> str:
    """Without indentation and empty lines, which are half of a page made by templates."""
    return re.sub(r"\n\s+", "\n", text)


def _groups_of(track: Track) -> dict[str, str]:
    """The groups of cases, beyond all, that any result of the track has, and how to call them."""
    cases = {name: group.cases for row in track.rows for name, group in row.groups.items()}
    return {name: f"{GROUPS[name]} ({cases[name]})" for name in GROUPS if name in cases}


def _panels_of(track: Track) -> list[Panel]:
    return [panel(track, metric) for metric in METRICS]


def _count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", " ")

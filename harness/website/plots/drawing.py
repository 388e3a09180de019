"""Drawing of charts as SVG, for wide and for narrow pages, in light and in dark.

Each chart is drawn twice, for a wide page and for a narrow one. Every colour in it is one of a
small palette, so a style sheet inside the SVG can change them where a reader prefers dark. Text is
measured in a font that comes with the renderer, so that the same chart gives the same bytes on
every machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert as vlc

INK, MUTED, LINE, SURFACE = "#1b2026", "#5a646f", "#e2e4e6", "#ffffff"
ACCENT, SECOND = "#0a6a72", "#b4560f"
DARK = {
    INK: "#e7eaed",
    MUTED: "#9da7b1",
    LINE: "#2c3238",
    SURFACE: "#181c20",
    ACCENT: "#62c9c6",
    SECOND: "#f0a35e",
}
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"

ABOVE = 26  # pixels of space for upright names, as `Look.margin` is for level ones


@dataclass(frozen=True)
class Look:
    """For which page a chart is drawn; in pixels, of which the whole drawing is `width` wide."""

    narrow: bool
    width: int
    label: int  # of a method's name, about
    characters: int  # at most, of a name
    font: int

    @property
    def data_width(self) -> int:
        """What the names leave for the data."""
        return self.width - self.label - 40

    @property
    def margin(self) -> int:
        """Space on both sides for a font wider than that which text was measured in."""
        return self.label * 15 // 100


WIDE = Look(narrow=False, width=1080, label=190, characters=28, font=13)
NARROW = Look(narrow=True, width=320, label=104, characters=15, font=12)


@dataclass(frozen=True)
class Drawing:
    """An SVG and its size in pixels."""

    svg: bytes
    width: int
    height: int


def draw(chart: alt.TopLevelMixin, look: Look) -> Drawing:
    """The chart as an SVG of its own; nothing is loaded from anywhere."""
    spec = chart.to_dict() | {"config": _config(look), "padding": 4, "background": None}
    svg = vlc.vegalite_to_svg(spec, allowed_base_urls=[])
    head, rest = svg.split(">", 1)
    drawn, height = (round(float(value)) for value in _SIZE.findall(head))
    width = max(drawn, look.width) + 2 * look.margin  # all charts of a page are scaled alike
    height += ABOVE
    box = f"{-look.margin} {-ABOVE} {width} {height}"
    root = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" '
    root += f'width="{width}" height="{height}">{_STYLE}'
    return Drawing((root + rest).encode(), width, height)


_SIZE = re.compile(r' (?:width|height)="([\d.]+)"')  # in this order
_RULES = "".join(
    f'[{paint}="{light}"]{{{paint}:{dark}}}'
    for light, dark in DARK.items()
    for paint in ("fill", "stroke")
)
_STYLE = f"<style>@media (prefers-color-scheme:dark){{{_RULES}}}</style>"


def _config(look: Look) -> dict[str, Any]:
    text = {"labelColor": INK, "titleColor": MUTED, "labelFontSize": look.font}
    text |= {"titleFontSize": look.font, "titleFontWeight": "normal"}
    lines = {"gridColor": LINE, "domainColor": LINE, "tickColor": LINE}
    legend = {"columns": 2 if look.narrow else 4, "columnPadding": 28}
    return {
        "font": FONT,
        "aria": False,  # half of a file, which no reader of an image is given: see its alt text
        "view": {"stroke": None},
        "axis": {**text, **lines, "labelLimit": 0},
        "axisQuantitative": {"labelSeparation": look.font},
        "legend": {**text, **legend, "symbolStrokeWidth": 0, "orient": "top", "title": None},
        "title": {"color": INK, "fontSize": look.font, "anchor": "start", "offset": 8},
        "header": text,
        "text": {"color": INK, "fontSize": look.font - 1},
        "concat": {"spacing": 24},
    }

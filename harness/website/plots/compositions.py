"""Charts of a split and of a training: what each part contains, what leaks, how a network learned.

Each is drawn for wide and for narrow pages like the plots of a track, with its finding as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import altair as alt

from evaluator.harmless import harmless
from harness.website.leaks import Leak
from harness.website.plots.charts import Chart, data
from harness.website.plots.drawing import (
    ACCENT,
    INK,
    MUTED,
    NARROW,
    SECOND,
    WIDE,
    Drawing,
    Look,
    draw,
)
from harness.website.plots.scales import Record
from harness.website.plots.shown import short
from harness.website.rendering import in_order

ROW = 26  # pixels of a bar and the space to the next one
COLOURS = {"train": ACCENT, "test": SECOND, "final": MUTED}
POLICIES = {"image": "drawn by image", "patient": "drawn by patient"}
Counts = Mapping[str, Mapping[str, int]]  # class or scanner -> part -> images


@dataclass(frozen=True)
class Figure:
    """A chart for both pages, and what it says to those who cannot see it."""

    name: str
    title: str
    caption: str
    alt: str
    wide: Drawing
    narrow: Drawing


def make_figure(
    name: str, title: str, caption: str, *, alt: str, build: Callable[[Look], Chart]
) -> Figure:
    """The chart that `build` makes for each page."""
    drawn = (draw(build(look), look) for look in (WIDE, NARROW))
    return Figure(name, title, caption, alt, *drawn)


def by_class(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Class -> part -> images, from the counts of a lock."""
    parts = [part for part in COLOURS if part in counts]
    return {label: {part: counts[part].get(label, 0) for part in parts} for label in counts["all"]}


def composition(name: str, title: str, counts: Counts) -> Figure:
    """Stacked bars: images of each class or scanner, by part."""
    said = "; ".join(
        f"{harmless(name)}: " + ", ".join(f"{number} {part}" for part, number in in_order(parts))
        for name, parts in counts.items()
    )

    def build(look: Look) -> Chart:
        return _stacked(counts, look)

    return make_figure(
        name, title, "Images of each part of the split.", alt=f"{title} {said}.", build=build
    )


def _stacked(counts: Counts, look: Look) -> Chart:
    parts = [part for part in COLOURS if part in next(iter(counts.values()))]
    labels: dict[str, str] = {}  # no two may be alike, or their bars would be one
    for number, (name, images) in enumerate(counts.items(), start=1):
        label = f"{short(name, look.characters + 4)} (n = {sum(images.values())})"
        labels[name] = f"{label} · {number}" if label in labels.values() else label
    ranked: list[Record] = [
        {"name": labels[name], "part": part, "images": images[part], "order": order}
        for name, images in counts.items()
        for order, part in enumerate(parts)
    ]
    colours = alt.Scale(domain=parts, range=[COLOURS[part] for part in parts])
    bars = alt.Chart(data(ranked)).mark_bar(size=ROW - 10)
    encoded: Chart = bars.encode(
        y=_names("name", [*labels.values()], look),
        x=alt.X("images:Q").title("Images").axis(tickCount=5),
        color=alt.Color("part:N").scale(colours).sort(parts),
        order=alt.Order("order:Q"),
    ).properties(width=look.data_width, height=ROW * len(counts))
    return encoded


def _names(field: str, order: list[str], look: Look) -> alt.Y:
    """The axis of names, wide enough for a font that is wider than the renderer's."""
    width = round(0.62 * look.font * max(map(len, order)))
    axis = alt.Axis(domain=False, ticks=False, minExtent=width)
    return alt.Y(f"{field}:N").sort(order).title(None).axis(axis)


def leak_figure(leaks: Sequence[Leak], near: bool) -> Figure:
    """Share of the hidden images that leak, by the rule that drew them."""
    records: list[Record] = [
        {
            "rule": POLICIES[leak.policy],
            "share": leak.share,
            "text": f"{100 * leak.share:.1f} %, {leak.leaking} of {leak.hidden}",
        }
        for leak in leaks
    ]
    compared = next((leak for leak in leaks if not leak.is_own), None)
    caption = "Share of the held-out images whose patient, or whose twin, is in another part."
    if not near:
        caption += " Near-duplicates were not looked for."
    if compared is not None:
        caption += (
            f" The split {POLICIES[compared.policy]} is not used here: it is the same cases drawn "
            "with the same seed and shares, to compare."
        )

    said = "; ".join(f"{record['rule']}: {record['text']}" for record in records)
    title = "How many test images leak?"
    return make_figure(
        "leak", title, caption, alt=f"{title} {said}.", build=lambda look: _shares(records, look)
    )


def _shares(records: Sequence[Record], look: Look) -> Chart:
    order = [str(record["rule"]) for record in records]
    base = alt.Chart(data(records)).encode(
        y=_names("rule", order, look),
        x=alt.X("share:Q")
        .scale(domain=[0, 1])
        .title("Held-out images that leak")
        .axis(format="%", tickCount=5),
    )
    left = base.transform_filter("datum.share <= 0.6").mark_text(align="left", dx=6, color=INK)
    right = base.transform_filter("datum.share > 0.6").mark_text(
        align="right", dx=-6, color=INK, dy=-ROW / 2 - 2
    )
    bars = base.mark_bar(size=ROW - 8, color=SECOND)
    text = alt.Text("text:N")
    layers = (bars, left.encode(text=text), right.encode(text=text))
    return alt.layer(*layers).properties(width=look.data_width, height=(ROW + 22) * len(records))

"""The board as Markdown, LaTeX and HTML tables.

Mean ± standard deviation over the fold models; of each metric the best is bold and the second best
underlined; submissions that share a group letter cannot be distinguished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from html import escape
from itertools import groupby

from harness.ranking import names
from harness.ranking.across import Block, blocks
from harness.ranking.board import Board, Track
from harness.ranking.columns import NAMES, Column, Style, columns, lettered, plain_group
from harness.ranking.marks import own_marks, shared_marks
from harness.ranking.metrics import AWESOME_BUS_NOTE, MISSING, labels
from harness.ranking.records import to_csv


def footnotes(track: Track, style: Style) -> list[str]:
    """What the letters beside methods mean, then what is true of all rows; each a sentence."""
    shared = [f"All: {mark.label}, {mark.meaning}." for mark in shared_marks(track)]
    return [*letter_notes(track, style), *shared]


def letter_notes(track: Track, style: Style) -> list[str]:
    """What the letters beside methods mean; each a sentence."""
    return [
        f"{style.raised.replace('{}', letter).strip()} {mark.label}: {mark.meaning}."
        for letter, mark in lettered(own_marks(track))
    ]


def track_cells(track: Track, style: Style, chosen: Sequence[str] = ()) -> list[list[str]]:
    """The table's cells, row by row, its heading first; `chosen` as for `columns`."""
    filled = [[column.head, *column.cells(track, style)] for column in columns(track, chosen)]
    return [list(row) for row in zip(*filled, strict=True)]


def caption(track: Track, name: Callable[[str], names.Markup]) -> str:
    """Which table this is; `name` writes the title as literal text."""
    titled = track.title != track.track
    which = f"{name(track.title)} ({track.track})" if titled else track.track
    sealed = f", sealing {track.sealing[:8]}" if track.sealings > 1 else ""
    which += ", final part" if track.part == "final" else ""
    which += ", synthetic phantoms" if track.synthetic else ""
    return f"{which}, split {track.split_version}, profile {track.metric_profile.title}{sealed}"


def order_note(track: Track) -> str:
    """By what its rows are ordered, how sure that is, and what it is not compared with."""
    apart = (
        f" One of {track.sealings} test sets of this track that were sealed apart: results on "
        "different ones are not ranked together."
        if track.sealings > 1
        else ""
    )
    lost = f" Not ranked, since their cases are lost: {track.lost}." if track.lost else ""
    return f"{_order(track)}{lost}{apart} {AWESOME_BUS_NOTE}"


SCHEMES = {"mean-rank": "mean rank", "aggregate": "the mean of the ranks by means"}


def _order(track: Track) -> str:
    found = track.statistics
    order = (
        f"Ordered by the means of {labels(track.ranked_by)} alone (aggregate, then rank): the "
        "ledger has no ranking of exactly these results by them."
        if found is None
        else f"Ordered by {SCHEMES[found.scheme]} over {found.cases} cases and "
        f"{labels(track.ranked_by)}; 95 % confidence sets of ranks and intervals of means over "
        f"{found.patients} patients; methods that share a group cannot be distinguished."
    )
    return f"{order} {track.in_pixels}".strip()


# --- Markdown ------------------------------------------------------------------------------------

MARKDOWN = Style(names.markdown, "**{}**", "<ins>{}</ins>", "<sup>{}</sup>")


def to_markdown(board: Board, chosen: Sequence[str] = ()) -> str:
    """One pipe table a track, under its own heading, then those across tracks.

    Args:
        chosen: as for `columns`.
    """
    tables = [_markdown_track(track, chosen) for track in board.tracks]
    across = [_markdown(b.caption, b.cells, [b.note]) for b in blocks(board, names.markdown)]
    return "\n".join([*tables, *across])


def _markdown_track(track: Track, chosen: Sequence[str]) -> str:
    notes = [order_note(track), *footnotes(track, MARKDOWN)]
    cells = track_cells(track, MARKDOWN, chosen)
    return _markdown(caption(track, names.markdown), cells, notes)


def _markdown(title: str, cells: list[list[str]], notes: Sequence[str]) -> str:
    head, *rows = cells
    rule = ["---" if name in NAMES else "--:" for name in head]
    lines = ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
    below = [part for note in notes for part in (note, "")]
    return "\n".join([f"### {title}", "", *lines, "", *below])


# --- LaTeX ---------------------------------------------------------------------------------------

LATEX = Style(names.latex, r"\textbf{{}}", r"\underline{{}}", r"\textsuperscript{{}}")
LATEX_HEAD = rf"""% Needs \usepackage{{booktabs}}. For all columns, put each tabular into
% \resizebox{{\linewidth}}{{!}}{{...}} (package graphicx) on a landscape page (pdflscape).
% Letters that LaTeX may not have show as their code points; to set them with LuaLaTeX or XeLaTeX
% and a font that has them, define before this:
% \newcommand{{\{names.LATEX_MACRO}}}[1]{{\symbol{{"#1}}}}
\providecommand{{\{names.LATEX_MACRO}}}[1]{{[U+#1]}}
"""
_LATEX_CHARACTERS = str.maketrans(
    {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", MISSING: "--"}
)


def to_latex(board: Board, chosen: Sequence[str] = ()) -> str:
    r"""One booktabs `tabular` a track and those across; needs `\usepackage{booktabs}`."""
    tables = [_latex_track(track, chosen) for track in board.tracks]
    tables += map(_latex_block, blocks(board, names.latex))
    return "\n".join([LATEX_HEAD, *tables]) if tables else ""


def _latex_track(track: Track, chosen: Sequence[str]) -> str:
    found = columns(track, chosen)
    kinds = "".join("l" if column.head in NAMES else "r" for column in found)
    rows = list(zip(*(column.cells(track, LATEX) for column in found), strict=True))
    heads = [
        column.metric.title(track.units) if column.metric and not column.summary else column.head
        for column in found
    ]
    return "\n".join(
        [
            f"% {caption(track, names.latex)}",
            f"% {order_note(track)}",
            rf"\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            *_latex_spans(found),
            _latex_row([head.replace("%", r"\%") for head in heads]),
            r"\midrule",
            *(_latex_row(row) for row in rows),
            r"\bottomrule",
            *(_latex_note(note, len(found)) for note in footnotes(track, LATEX)),
            r"\end{tabular}",
            "",
        ]
    )


def _latex_block(block: Block) -> str:
    head, *rows = block.cells
    return "\n".join(
        [
            f"% {block.caption}",
            f"% {block.note}",
            rf"\begin{{tabular}}{{{''.join('l' if name in NAMES else 'r' for name in head)}}}",
            r"\toprule",
            _latex_row(head),
            r"\midrule",
            *map(_latex_row, rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _latex_note(note: str, width: int) -> str:
    text = note.replace("%", r"\%")
    return _latex_row([rf"\multicolumn{{{width}}}{{l}}{{\footnotesize {text}}}"])


def _latex_spans(found: Sequence[Column]) -> list[str]:
    """Over the heads of the metrics, which images they are about, where there are several kinds."""
    parts = [column.group for column in found]
    if set(parts) <= {"", "all"}:
        return []
    cells, rules, place = [], [], 1
    for part, members in groupby(parts):
        width = len(list(members))
        title = f"{plain_group(part)} images" if part else ""
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{title}}}")
        if part:
            rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    return [_latex_row(cells), "".join(rules)]


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells).translate(_LATEX_CHARACTERS) + r" \\"


# --- HTML ----------------------------------------------------------------------------------------

HTML = Style(names.html, "<strong>{}</strong>", "<u>{}</u>", "<sup>{}</sup>")


def to_html(board: Board, chosen: Sequence[str] = ()) -> str:
    """One plain `<table>` a track, then those across tracks, in ASCII, for any page.

    Args:
        chosen: as for `columns`.
    """
    tables = [_html_track(track, chosen) for track in board.tracks]
    across = [_html(b.caption, b.note, b.cells, notes=[]) for b in blocks(board, names.html)]
    text = "\n".join([*tables, *across])
    return text.encode("ascii", "xmlcharrefreplace").decode()


def _html_track(track: Track, chosen: Sequence[str]) -> str:
    head, *rows = track_cells(track, HTML, chosen)
    cells = [[escape(name) for name in head], *rows]
    return _html(caption(track, names.html), order_note(track), cells, notes=footnotes(track, HTML))


def _html(title: str, note: str, cells: list[list[str]], *, notes: Sequence[str]) -> str:
    head, *rows = cells
    lines = [
        "<table>",
        f"<caption>{title}. {escape(note)}</caption>",
        "<thead><tr>",
        *(f'<th scope="col">{name}</th>' for name in head),
        "</tr></thead>",
        "<tbody>",
        *("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows),
        "</tbody>",
        "<tfoot>",
        *(f'<tr><td colspan="{len(head)}">{each}</td></tr>' for each in notes),
        "</tfoot>",
        "</table>",
    ]
    return "\n".join([*lines, ""])


class Format(StrEnum):
    """How a board can be written."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"
    HTML = "html"


FORMATS: dict[Format, Callable[..., str]] = {
    Format.MARKDOWN: to_markdown,
    Format.LATEX: to_latex,
    Format.CSV: to_csv,
    Format.HTML: to_html,
}

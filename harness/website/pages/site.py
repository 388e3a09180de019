"""The files of the site, a pure function of the edition: no clock, no chance."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from evaluator.documents.reading import MEBIBYTE
from evaluator.files import canonical_json
from evaluator.harmless import harmless
from evaluator.metrics import METRICS as DEFINED
from evaluator.metrics import VERSIONS
from evaluator.metrics.secondary import SECONDARY
from harness.datasets import ADAPTERS, is_synthetic
from harness.export.citation import release_of
from harness.ranking.across import blocks
from harness.ranking.metrics import AWESOME_BUS_NOTE, labels
from harness.ranking.names import plain
from harness.ranking.published import published_table
from harness.website.edition import Edition
from harness.website.extras import SplitExtras
from harness.website.images.sheets import MARKED
from harness.website.pages.citing import cite_board, cite_entry
from harness.website.pages.facts import evidence_of, notes_of, score_titles, track_title
from harness.website.pages.feeds import badges, feeds, ledger_format
from harness.website.pages.formulas import FORMULAS, edge_table
from harness.website.pages.illustrating import (
    MOST_PAIRS,
    credits_of,
    curve_figures,
    pairs_file,
    sheet_of,
    split_figures,
    thumbnail_files,
    transformed_of,
)
from harness.website.pages.past import Withdrawn, past_boards, withdrawn
from harness.website.pages.tables import table_files
from harness.website.plots.drawing import Drawing
from harness.website.plots.of_track import Plot, plots
from harness.website.rendering import environment, source
from harness.website.views import Split, View, split_file

EMBEDDED = 4 * MEBIBYTE  # bytes of a ledger that the page that checks it contains
Write = Callable[..., bytes]
SCRIPTS = ("parts.js", "columns.js", "compare.js", "past.js", "taking.js", "board.js")  # of a track
ASSETS = ("style.css", *SCRIPTS, "check.js", "ledger.js", "icon.svg")


def render(edition: Edition) -> dict[str, bytes]:
    """Every file of the site, by its path."""
    return dict(_files(edition))


def _files(edition: Edition) -> Iterator[tuple[str, bytes]]:
    for name in ASSETS:
        yield name, source(name).encode()
    if logo := edition.extras.logo:
        yield logo.file, logo.data
    yield from feeds(edition)
    gone = withdrawn(edition)
    there = {edition.table_of(view) for view in edition.views}
    homeless = [one for table in gone.keys() - there for one in gone[table]]
    yield "index.html", _index(edition, sorted(homeless, key=lambda one: one.entry.number))
    yield "method.html", _method(edition)
    yield "about.html", _about(edition)
    if found := blocks(edition.board, plain):
        yield "across.html", _page(edition, "across", "", blocks=found)
    yield "check.html", _check(edition)
    for view in edition.views:
        yield from _track(edition, view, gone.get(edition.table_of(view), []))
    yield from _submissions(edition)
    for split in edition.splits:
        yield from _split(edition, split)
    for sheet in edition.extras.sheets:
        credit = credits_of(edition)[sheet.track.dataset]
        yield sheet.file, _page(edition, "sheet", sheet=sheet, credit=credit, marked=MARKED)
    yield from thumbnail_files(edition)


def _page(edition: Edition, template: str, root: str = "../", **facts: Any) -> bytes:
    """A page; `root` leads from its folder to the site's."""
    shared = {
        "board": edition.board,
        "challenge": edition.challenge,
        "checkpoint": edition.checkpoint is not None,
        "logo": edition.extras.logo,
        "root": root,
        "reference_date": published_table().read,
        "references": (),
        "ranked_by": labels(edition.challenge.ranking.metrics),
    }
    page = environment().get_template(f"{template}.html.j2").render(shared | facts)
    return _squeeze(page).encode()


def _squeeze(text: str) -> str:
    """Without indentation and empty lines, which are half of a page made by templates."""
    return "".join(f"{line}\n" for raw in text.split("\n") if (line := raw.strip()))


def _index(edition: Edition, gone: Sequence[Withdrawn]) -> bytes:
    """The first page; `gone` are results that no longer count, of tables without any that does."""
    facts = {"tracks": edition.views, "references": published_table().tracks.values()}
    return _page(edition, "index", "", withdrawn=gone, **facts)


def _track(edition: Edition, view: View, gone: Sequence[Withdrawn]) -> Iterator[tuple[str, bytes]]:
    shown = []
    for plot in plots(view.track):
        wide, narrow = (f"plots/{view.name}-{plot.kind.name}{end}.svg" for end in ("", "-narrow"))
        yield wide, plot.wide.svg
        yield narrow, plot.narrow.svg
        shown.append(_plot_facts(plot, wide, narrow))
    published = published_table().tracks.get(view.track.dataset)
    references = [published] if published else []
    sheet = next((one for one in edition.extras.sheets if one.name == view.name), None)
    boards = past_boards(edition, view)
    yield from table_files(edition, view, boards)
    facts: dict[str, Any] = {"view": view, "plots": shown, "references": references}
    facts |= {
        "sheet": sheet,
        "scripts": SCRIPTS,
        "has_past": len(boards) > 1,
        "withdrawn": gone,
    }
    yield view.file, _page(edition, "track", **facts)


def _plot_facts(plot: Plot, wide: str, narrow: str) -> dict[str, Any]:
    def placed(file: str, drawing: Drawing) -> dict[str, Any]:
        return {"file": file, "width": drawing.width, "height": drawing.height}

    kind = plot.kind
    return {
        "name": kind.name,
        "title": kind.title,
        "caption": kind.caption,
        "finding": plot.finding,
        "size": plot.size,
        "cut": plot.cut,
        "note": plot.note,
        "table": plot.table,
        "wide": placed(wide, plot.wide),
        "narrow": placed(narrow, plot.narrow),
    }


def _submissions(edition: Edition) -> Iterator[tuple[str, bytes]]:
    rows = {row.entry: (view, row) for view in edition.views for row in view.all_rows}
    tables = {edition.table_of(view): view for view in edition.views}
    splits = {split.digest for split in edition.splits}
    texts = badges(edition)
    for entry in edition.reports:
        report, number = entry.report, entry.number
        title = track_title(edition.challenge, report)
        found = edition.counting.get(edition.contests[number])
        view, row = rows[found.number] if found else (tables.get(edition.contests[number][1]), None)
        digest = report.provenance.split_digest
        files, curves = curve_figures(edition, number)
        yield from files.items()
        page = _page(
            edition,
            "submission",
            report=report,
            synthetic=is_synthetic(report.dataset),
            track_title=title,
            number=number,
            time=entry.time,
            retracted=edition.retracted.get(number),
            rescored=edition.rescored.get(number),
            rescores=entry.replaces,
            row=row if found == entry else None,
            newer=found.number if found and found != entry else None,
            view=view,
            split_file=split_file(report.dataset, report.split_version, digest)
            if digest in splits
            else None,
            curves=curves,
            sheet=None if row is None else sheet_of(edition, number),
            score_titles=score_titles(report),
            notes=notes_of(report),
            awesome_bus_note=AWESOME_BUS_NOTE.replace("`", ""),
            evidence=evidence_of(entry),
            citation=cite_entry(edition.challenge, entry, title),
            badge=f"{harmless(edition.challenge.title)}: {texts[number]}",
        )
        yield f"submissions/{number}.html", page


def _split(edition: Edition, split: Split) -> Iterator[tuple[str, bytes]]:
    lock, file = edition.locks.get(split.digest), split.tracks[0].split_file
    extras = edition.extras.splits.get(split.digest, SplitExtras())
    files, figures = split_figures(split, lock, extras) if lock else ({}, [])
    yield from files.items()
    pairs = pairs_file(file) if extras.pairs else None
    facts: dict[str, Any] = {"split": split, "lock": lock, "extras": extras}
    yield file, _page(edition, "split", **facts, figures_shown=figures, pairs=pairs)
    if pairs is not None:
        yield pairs, _page(edition, "pairs", **facts, most=MOST_PAIRS)


def _about(edition: Edition) -> bytes:
    declared = {track.dataset for track in edition.challenge.tracks.values()}
    names = sorted(declared | {track.dataset for track in edition.board.tracks})
    limits = edition.challenge.limits
    return _page(
        edition,
        "about",
        root="",
        stages=[(stage, getattr(limits, stage)) for stage in ("train", "gate", "infer", "score")],
        datasets=[
            {
                "title": ADAPTERS[name].title if name in ADAPTERS else name,
                "release": release_of(name),
                "synthetic": is_synthetic(name),
            }
            for name in names
        ],
        citation=cite_board(edition.board),
    )


def _check(edition: Edition) -> bytes:
    embedded = len(edition.ledger) <= EMBEDDED
    return _page(
        edition,
        "check",
        root="",
        ledger=base64.b64encode(edition.ledger).decode() if embedded else None,
        key=edition.public_key.decode(),
        format=canonical_json(ledger_format()).decode(),
        head=edition.board.ledger_head,
    )


def _method(edition: Edition) -> bytes:
    tables = {row.identity.title: edge_table(row) for row in VERSIONS.values()}
    return _page(
        edition,
        "method",
        root="",
        scheme=edition.challenge.ranking.scheme,
        secondary=[*SECONDARY.values()],
        formulas=[(DEFINED[key].title, *formula) for key, formula in FORMULAS.items()],
        edge_tables=tables,
        references=published_table().tracks.values(),
        transformed=transformed_of(edition),
    )

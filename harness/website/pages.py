"""The files of the site, a pure function of the edition: no clock, no chance."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evaluator.documents.base import Contract
from evaluator.documents.reading import MEBIBYTE
from evaluator.files import canonical_json
from evaluator.harmless import harmless
from evaluator.metrics import METRICS as DEFINED
from evaluator.metrics import VERSIONS, Edge, ProfileVersion, Situation, metrics_of
from evaluator.metrics.secondary import SECONDARY
from harness.datasets import ADAPTERS, is_synthetic
from harness.export.citation import release_of
from harness.ledger.attestation import PAYLOAD_TYPE, Statement
from harness.ledger.entries import ENTRIES, ENTRY_TYPE, ROTATION_TYPE, SCHEMA, Genesis
from harness.ledger.report import Report
from harness.ranking.across import blocks
from harness.ranking.counting import comparable, entry_name
from harness.ranking.metrics import AWESOME_BUS_NOTE, labels
from harness.ranking.names import plain
from harness.ranking.published import published_table
from harness.website.citing import cite_board, cite_entry
from harness.website.drawing import Drawing
from harness.website.edition import Edition, Split, View, split_file
from harness.website.extras import SplitExtras
from harness.website.facts import evidence_of, notes_of, score_titles, track_title
from harness.website.feeds import badges, feeds
from harness.website.formulas import FORMULAS
from harness.website.illustrating import (
    MOST_PAIRS,
    credits_of,
    curve_figures,
    pairs_file,
    sheet_of,
    split_figures,
    thumbnail_files,
    transformed_of,
)
from harness.website.plots import Plot, plots
from harness.website.rendering import environment, source
from harness.website.sheets import MARKED

EMBEDDED = 4 * MEBIBYTE  # bytes of a ledger that the page that checks it contains
Write = Callable[..., bytes]
ASSETS = ("style.css", "board.js", "check.js", "ledger.js", "icon.svg")


def render(edition: Edition) -> dict[str, bytes]:
    """Every file of the site, by its path."""
    return dict(_files(edition))


def _files(edition: Edition) -> Iterator[tuple[str, bytes]]:
    for name in ASSETS:
        yield name, source(name).encode()
    yield from feeds(edition)
    published = published_table().tracks.values()
    yield "index.html", _page(edition, "index", "", tracks=edition.views, references=published)
    yield "method.html", _method(edition)
    yield "about.html", _about(edition)
    if found := blocks(edition.board, plain):
        yield "across.html", _page(edition, "across", "", blocks=found)
    yield "check.html", _check(edition)
    for view in edition.views:
        yield from _track(edition, view)
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


def _track(edition: Edition, view: View) -> Iterator[tuple[str, bytes]]:
    shown = []
    for plot in plots(view.track):
        wide, narrow = (f"plots/{view.name}-{plot.kind.name}{end}.svg" for end in ("", "-narrow"))
        yield wide, plot.wide.svg
        yield narrow, plot.narrow.svg
        shown.append(_plot_facts(plot, wide, narrow))
    published = published_table().tracks.get(view.track.dataset)
    references = [published] if published else []
    sheet = next((g for g in edition.extras.sheets if g.name == view.name), None)
    facts: dict[str, Any] = {
        "plots": shown,
        "references": references,
        "sheet": sheet,
    }
    yield view.file, _page(edition, "track", view=view, **facts)


def _plot_facts(plot: Plot, wide: str, narrow: str) -> dict[str, Any]:
    def placed(file: str, drawing: Drawing) -> dict[str, Any]:
        return {"file": file, "width": drawing.width, "height": drawing.height}

    kind = plot.kind
    return {
        "name": kind.name,
        "title": kind.title,
        "caption": kind.caption,
        "alt": f"{kind.title}. {kind.alt}",
        "cut": plot.cut,
        "note": plot.note,
        "table": plot.table,
        "wide": placed(wide, plot.wide),
        "narrow": placed(narrow, plot.narrow),
    }


def _submissions(edition: Edition) -> Iterator[tuple[str, bytes]]:
    rows = {
        row.entry: (view, row)
        for view in edition.views
        for row in (*view.track.rows, *view.track.visitors)
    }
    ranked = {_contest(e.report): e.number for e in edition.reports if e.number in rows}
    splits = {split.digest for split in edition.splits}
    texts = badges(edition)
    for entry in edition.reports:
        report, number = entry.report, entry.number
        title = track_title(edition.challenge, report)
        newest = ranked.get(_contest(report))
        view, row = (None, None) if newest is None else rows[newest]
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
            row=row if newest == number else None,
            newer=newest if newest != number else None,
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


def _contest(report: Report) -> tuple[object, ...]:
    """What two reports share of which the later one supersedes the earlier."""
    return (*entry_name(report), comparable(report))


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


def ledger_format() -> dict[str, Any]:
    """What `ledger.js` must know of this release's ledgers."""
    kinds: dict[str, type[Contract]] = {"genesis": Genesis, **ENTRIES}
    return {
        "schema": SCHEMA,
        "entryType": ENTRY_TYPE,
        "rotationType": ROTATION_TYPE,
        "payloadType": PAYLOAD_TYPE,
        "predicateType": Statement.model_fields["predicate_type"].default,
        "kinds": {
            kind: sorted(field.alias or name for name, field in model.model_fields.items())
            for kind, model in kinds.items()
        },
    }


def _method(edition: Edition) -> bytes:
    tables = {row.identity.title: _edges(row) for row in VERSIONS.values()}
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


def _edges(profile: ProfileVersion) -> Mapping[str, Any]:
    """The edge table of a version of a profile, without the ordinary row."""
    rules = {metric.title: profile.rule(metric.name) for metric in metrics_of(profile.name)}
    rows = [
        (str(situation), [str(rule.edges.get(situation, Edge.FORMULA)) for rule in rules.values()])
        for situation in Situation
        if situation is not Situation.ORDINARY
    ]
    return {"titles": list(rules), "rows": rows}

"""The site for programs: the board as data, an Atom feed, badges, the ledger's format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evaluator.documents.base import Contract
from evaluator.files import canonical_json
from evaluator.harmless import harmless
from harness.ledger import Instant, RecordedReport
from harness.ledger.attestation import PAYLOAD_TYPE, Statement
from harness.ledger.entries import ENTRIES as KINDS
from harness.ledger.entries import ENTRY_TYPE, ROTATION_TYPE, SCHEMA, Genesis
from harness.ledger.report import Report
from harness.ranking import METRICS, to_csv
from harness.ranking.marks import GAP_UNLIKE
from harness.ranking.metrics import MISSING
from harness.website.edition import CHECKPOINT, PUBLIC_KEY, Edition
from harness.website.pages.facts import track_title
from harness.website.plots.shown import short
from harness.website.rendering import environment

ENTRIES = 100  # in the feed, the last changed first
CHARACTER = 6.6  # pixels that one takes in a badge, about
BADGE_TITLE = 30  # characters of the challenge's title in a badge, at most


@dataclass(frozen=True)
class Item:
    """One result in the feed."""

    number: int
    digest: str
    title: str
    team: str
    summary: str
    published: Instant
    updated: Instant  # later where the result was retracted


def feeds(edition: Edition) -> Iterator[tuple[str, bytes]]:
    """Each file and its bytes."""
    yield "board.json", canonical_json(edition.board.document())
    yield "board.csv", to_csv(edition.board).encode()
    yield "ledger.jsonl", edition.ledger
    yield PUBLIC_KEY, edition.public_key
    if edition.checkpoint is not None:
        yield CHECKPOINT, edition.checkpoint
    yield "feed.xml", _feed(edition)
    for number, envelope in edition.attestations.items():
        yield f"attestations/{number}.dsse.json", envelope
    title = short(edition.challenge.title, BADGE_TITLE)
    for number, text in badges(edition).items():
        yield f"badges/{number}.svg", badge(title, text).encode()


def badges(edition: Edition) -> Mapping[int, str]:
    """What the badge of each report says, by entry."""
    texts = {entry.number: f"{entry.report.track} · superseded" for entry in edition.reports}
    for view in edition.views:
        ranked = len(view.track.ranked)
        name = view.track.track + (", final" if view.track.part == "final" else "")
        for row in view.track.rows:
            place = "not ranked" if row.rank is None else f"rank {row.rank} of {ranked}"
            unlike = f" · {GAP_UNLIKE.label}" if row.gap_unlike else ""
            texts[row.entry] = f"{name} · {place}{unlike}"
        for row in view.track.visitors:
            texts[row.entry] = f"{name} · trained on {row.trained_on}"
    for number in edition.retracted:
        texts[number] = "retracted"
    return texts


def badge(left: str, right: str) -> str:
    """A badge of two texts, as SVG."""
    split = round(CHARACTER * len(left)) + 12
    width = split + round(CHARACTER * len(right)) + 12
    template = environment().get_template("badge.svg.j2")
    return template.render(left=left, right=right, split=split, width=width)


def _feed(edition: Edition) -> bytes:
    def changed(entry: RecordedReport) -> int:
        return edition.retracted.get(entry.number, entry).number

    newest = sorted(edition.reports, key=changed, reverse=True)[:ENTRIES]
    rows = [row for view in edition.views for row in view.track.rows]
    unlike = {row.entry for row in rows if row.gap_unlike}
    items = [_item(edition, entry, unlike=entry.number in unlike) for entry in newest]
    template = environment().get_template("feed.xml.j2")
    title = harmless(edition.challenge.title).strip() or MISSING
    author = harmless(edition.challenge.organiser or "").strip() or title
    return template.render(edition=edition, title=title, author=author, entries=items).encode()


def _item(edition: Edition, entry: RecordedReport, *, unlike: bool) -> Item:
    report, gone = entry.report, edition.retracted.get(entry.number)
    home = f", trained on {report.home.track}" if report.home else ""
    where = f"{harmless(track_title(edition.challenge, report))}{home}"
    method, team = (harmless(name).strip() or MISSING for name in (report.method, report.team))
    return Item(
        number=entry.number,
        digest=entry.digest,
        title=f"{method} by {team} on {where}",
        team=team,
        summary=f"Retracted: {harmless(gone.reason)}" if gone else _scores(report, unlike=unlike),
        published=entry.time,
        updated=gone.time if gone else entry.time,
    )


def _scores(report: Report, *, unlike: bool) -> str:
    everything = report.scores.groups.get("all")
    found = {} if everything is None else everything.metrics
    scores = [
        f"{m.label} {m.number(found[m.key].mean)} {report.scores.units.get(m.key, '')}".strip()
        for m in METRICS
        if m.key in found
    ]
    marked = f"; {GAP_UNLIKE.label}" if unlike else ""
    return f"{', '.join(scores)}; {report.status}{marked}"


def ledger_format() -> dict[str, Any]:
    """What `ledger.js` must know of this release's ledgers."""
    kinds: dict[str, type[Contract]] = {"genesis": Genesis, **KINDS}
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

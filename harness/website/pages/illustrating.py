"""Illustrations of pages: charts and images, as files of the site and as what templates take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.splits.lock import SplitLock
from harness.website.edition import Edition
from harness.website.extras import SplitExtras
from harness.website.images.sheets import Sheet
from harness.website.images.thumbnails import Credit, Thumbnail
from harness.website.plots.compositions import Figure, by_class, composition, leak_figure
from harness.website.plots.curves import curve_figure
from harness.website.views import Split

Files = dict[str, bytes]
MOST_PAIRS = 500  # that a page lists


def thumbnail_files(edition: Edition) -> Iterator[tuple[str, bytes]]:
    """Every thumbnail of the site, and the licences that each copy needs."""
    for thumbnail in _images(edition):
        yield thumbnail.file, thumbnail.data
    for credit in credits_of(edition).values():
        if credit.licence is not None:
            yield credit.licence, credit.data


def _images(edition: Edition) -> Iterator[Thumbnail]:
    for extras in edition.extras.splits.values():
        yield from (example.thumbnail for example in extras.examples)
        for pair in extras.pictured:
            yield from (pair.first.thumbnail, pair.second.thumbnail)
    if (shown := transformed_of(edition)) is not None:
        yield from (window.thumbnail for window in shown["example"].windows)
    for sheet in edition.extras.sheets:
        yield from (example.thumbnail for example in sheet.cases.values())


def credits_of(edition: Edition) -> Mapping[str, Credit]:
    """Whose images are shown, by dataset."""
    shown = [extras.credit for extras in edition.extras.splits.values() if extras.credit]
    return {credit.dataset: credit for credit in shown}


def transformed_of(edition: Edition) -> dict[str, Any] | None:
    """The example on the method page: that of the first split that has one."""
    for extras in edition.extras.splits.values():
        if extras.transformed is not None and extras.credit is not None:
            return {"example": extras.transformed, "credit": extras.credit}
    return None


def sheet_of(edition: Edition, entry: int) -> Sheet | None:
    """The sheet with images of an entry; None where none has any."""
    found = (g for g in edition.extras.sheets if any(m.entry == entry for m in g.methods))
    return next(found, None)


def pairs_file(split: str) -> str:
    """The page of the pairs that the audit of a split found, whose own page is `split`."""
    return split.replace("splits/", "splits/pairs-", 1)


def split_figures(split: Split, lock: SplitLock, extras: SplitExtras) -> tuple[Files, list[Any]]:
    """The charts of a split's page: their files, and what its template takes."""
    figures = [composition("classes", "What does each part contain?", by_class(lock.counts))]
    if extras.devices:
        title = "Which scanner's images are in which part?"
        figures.append(composition("scanners", title, extras.devices))
    if extras.leaks:
        figures.append(leak_figure(extras.leaks, lock.audit.near))
    return placed(figures, split.tracks[0].split_file.removeprefix("splits/").removesuffix(".html"))


def curve_figures(edition: Edition, entry: int) -> tuple[Files, list[Any]]:
    """The learning curves of an entry."""
    points = edition.extras.curves.get(entry)
    return placed([curve_figure(points)] if points else [], f"entry-{entry}")


def placed(figures: Sequence[Figure], stem: str) -> tuple[Files, list[Any]]:
    """Charts with their places in the site."""
    files: Files = {}
    shown = []
    for figure in figures:
        facts: dict[str, Any] = {"figure": figure}
        for kind, drawing in (("wide", figure.wide), ("narrow", figure.narrow)):
            file = f"plots/{stem}-{figure.name}{'' if kind == 'wide' else '-narrow'}.svg"
            files[file] = drawing.svg
            facts[kind] = {"file": file, "width": drawing.width, "height": drawing.height}
        shown.append(facts)
    return files, shown

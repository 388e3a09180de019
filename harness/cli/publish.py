"""`busbench publish`: the board as a static site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluator.harmless import harmless
from evaluator.scoring.intervals import MIN_PATIENTS
from harness.cli.app import app, err, out
from harness.cli.effects import Checked
from harness.cli.options import ChallengeOption, LedgerArgument, read_challenge
from harness.cli.progress import bars
from harness.quotas.publication import require_results_open
from harness.sealing.keys import Keys
from harness.website import Sources, publish

if TYPE_CHECKING:
    from harness.website.edition import Edition


def _folders(help_: str, metavar: str | None = None) -> typer.models.OptionInfo:
    """An option that names folders."""
    option: typer.models.OptionInfo = typer.Option(
        help=help_, metavar=metavar, exists=True, file_okay=False
    )
    return option


@app.command(name="publish", cls=Checked)
def publish_site(
    ledger: LedgerArgument,
    site: Annotated[Path, typer.Option("--out", help="The folder of the site.", file_okay=False)],
    splits: Annotated[
        list[Path] | None,
        _folders("A frozen split, or a folder of them, whose audit to show; repeatable."),
    ] = None,
    store: Annotated[
        list[Path] | None,
        _folders(
            "The case store of such a split: show training cases of it, scanners and what leaks; "
            "repeatable."
        ),
    ] = None,
    may_show: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATASET",
            help="State that you may publish images of this dataset, whose terms do not say so.",
        ),
    ] = None,
    cases: Annotated[
        list[Path] | None,
        _folders(
            "Show sheets of test cases from these runs; only where labels are public. May be "
            "repeated.",
            "RUNS",
        ),
    ] = None,
    cases_of: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACK", help="Make a sheet of this track alone; repeatable."),
    ] = None,
    trained: Annotated[
        list[Path] | None,
        _folders("What a training left: show its learning curves; repeatable."),
    ] = None,
    keys: Annotated[
        Path | None, _folders("Your key folder: sign a checkpoint of the ledger for the site.")
    ] = None,
    replaces: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD", help="Give up the published ledger, which ends in this digest."
        ),
    ] = None,
    challenge: ChallengeOption = None,
) -> None:
    """Write the board as a static site, which any web server or browser can show.

    It says what challenge.yaml says of the challenge and its tracks. Refused where a report is not
    on a track as declared, while a phase hides exact results, and where the ledger does not go on
    from the one that the site publishes.

    Example: busbench publish demo/ledger.jsonl --out demo/site --splits demo/split
    Example: busbench publish ledger.jsonl --out site --splits splits --store store --cases runs
    """
    declared = read_challenge(challenge)
    require_results_open(ledger, declared)
    sources = Sources(
        stores=store or (),
        may_show=may_show or (),
        cases=cases or (),
        cases_of=cases_of or (),
        trained=trained or (),
    )
    with bars() as progress:
        edition = publish(
            ledger,
            site,
            splits or (),
            sources=sources,
            challenge=declared,
            keys=None if keys is None else Keys.open(keys),
            replaces=replaces,
            progress=progress,
        )
    for line in (*_rankings(edition), *_images(edition, bool(splits)), *_sheets(edition)):
        err.print(harmless(line))
    out.print(harmless(f"The site is at {site / 'index.html'}"))


def _rankings(edition: Edition) -> Iterator[str]:
    """What lacks a ranking that can be had."""
    for track in edition.board.tracks:
        found = track.ranked[0].groups.get("all") if track.ranked else None
        if track.statistics is None and found is not None and found.patients >= MIN_PATIENTS:
            message = f"{track.track} {track.split_version} has no ranking of its results:"
            yield f"{message} run `busbench rank --cases`, and publish again."


def _images(edition: Edition, has_splits: bool) -> Iterator[str]:
    """What would have images with one more option."""
    lacking = {split.dataset for split in edition.splits if split.digest not in edition.locks}
    if lacking and has_splits:
        yield f"No frozen split of {_listed(lacking)} is in what --splits names."
    elif lacking:
        yield f"No audit of {_listed(lacking)} is shown: name the frozen split with --splits."
    bare, closed = set[str](), set[str]()
    for digest, extras in edition.extras.splits.items():
        if extras.credit is None:
            (closed if extras.has_store else bare).add(edition.locks[digest].dataset)
    if bare:
        yield f"No image of {_listed(bare)} is shown: name its store with --store."
    if closed:
        yield f"No image of {_listed(closed)} is shown: if you may, state it with --may-show."


def _sheets(edition: Edition) -> Iterator[str]:
    """What the sheets lack."""
    for sheet in edition.extras.sheets:
        for who in sheet.lost:
            yield f"No run contains cases and predictions of {who}: it has no images."


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))

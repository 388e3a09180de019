"""`busbench freeze`, `splits verify`, `splits reveal`: splits that are drawn once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluator.documents.base import read, write
from evaluator.errors import Code
from evaluator.harmless import harmless
from harness.audit import AuditReport, audit
from harness.cli.app import app, err, out
from harness.cli.effects import Checked
from harness.cli.options import ExcludeOption, JsonOption, PairsOption, StoreArgument
from harness.cli.progress import bars
from harness.cli.screen import Grid, print_json
from harness.folders import one_at_a_time
from harness.splits import (
    FrozenSplit,
    Reveal,
    deviations,
    freeze,
    make_secret,
    read_secret,
    reveal,
    secret_path,
    verify,
)
from harness.splits.lock import Policy
from harness.splits.stated import contradictions, read_stated, with_stated
from harness.store import CaseStore

verbs = typer.Typer(help="Check frozen splits, and open their commitments.", no_args_is_help=True)
app.add_typer(verbs, name="splits")
SplitPath = Annotated[
    Path, typer.Argument(help="The folder of a frozen split.", exists=True, file_okay=False)
]
SECRET_HELP = "The organiser's secret; by default the split's name + .secret."
SecretPath = Annotated[Path | None, typer.Option(help=SECRET_HELP, exists=True, dir_okay=False)]


@app.command("freeze")
def freeze_verb(
    store: StoreArgument,
    to: Annotated[
        Path,
        typer.Option("--out", help="Folder for the split: its name is final.", file_okay=False),
    ],
    policy: Annotated[Policy, typer.Option(help="What stays whole: patients, or nothing.")] = (
        "patient"
    ),
    test_fraction: Annotated[float, typer.Option(help="Share of cases to hold out.")] = 0.2,
    final: Annotated[
        float | None,
        typer.Option(
            help="Share of the held-out cases to keep for the end of the challenge, as a part of "
            "its own.",
            show_default="no final part",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds of the training part.")] = 5,
    seed: Annotated[int, typer.Option(help="The draw is a function of it.")] = 42,
    version: Annotated[str | None, typer.Option(help="By default the folder's name.")] = None,
    pairs: PairsOption = None,
    exclude: ExcludeOption = None,
    secret: Annotated[Path | None, typer.Option(help=SECRET_HELP, dir_okay=False)] = None,
    json: JsonOption = False,
) -> None:
    """Audit a store and draw its test part and folds, once and for all.

    A table names a case by its id or by its file in the release, as CSV or Excel. Known pairs stay
    on one side; what is left out is in no part, and the lock says why. With --final the held-out
    cases are drawn twice, by patient: `test` is what phases score, `final` what decides at the end
    (`busbench finalise`). The same cases are held out with and without it.

    Example: busbench freeze stores/busbra --out splits/busbra/v1

    Example: busbench freeze stores/busbra --final 0.5 --out splits/busbra/v1

    Example: busbench freeze stores/busi --pairs known.csv --exclude wrong.csv --out splits/busi/v1
    """
    opened = CaseStore.open(store)
    stated, excluded = read_stated(pairs, exclude, opened)
    with bars() as progress, one_at_a_time(to):
        known = (to / "lock.json").exists()
        report = audit(opened, progress=progress)
        split = freeze(
            *(opened, report, to),
            version=version or to.resolve().name,
            policy=policy,
            test_fraction=test_fraction,
            final_fraction=final,
            folds=folds,
            seed=seed,
            secret=_secret(to, secret, make=not known),
            pairs=stated,
            excluded=excluded,
            progress=progress,
        )
    if json:
        print_json(split.lock.document())
    else:
        show(split, "is frozen already, with the same bytes" if known else "is frozen")
    if not known:
        place = secret or secret_path(to.resolve())
        message = f"{place} is the secret of this split. Keep it, and a copy elsewhere: without it"
        err.print(
            harmless(
                f"{message} the test labels can never be proven, and nothing can make it again."
            )
        )
    _say_contradictions(*with_stated(report, opened, pairs=stated, excluded=excluded))


def _say_contradictions(store: CaseStore, report: AuditReport) -> None:
    """Tell the organiser which images are there twice, with two truths."""
    file = {case.case_id: case.source_image for case in store.cases}
    found = contradictions(report)
    for pair in found:
        ends = " and ".join(f"{end} ({file[end]})" for end in (pair.first, pair.second))
        err.print(harmless(f"{ends} are one image with two truths: {pair.conflict}."))
    if found:
        err.print(harmless("No truth is known of them. Leave the wrong ones out with --exclude."))


@verbs.command("verify", cls=Checked)
def verify_verb(
    split: SplitPath,
    store: Annotated[
        Path | None,
        typer.Option(help="The store to compare it with.", exists=True, file_okay=False),
    ] = None,
    reveal: Annotated[
        Path | None, typer.Option(help="A reveal document to check.", exists=True, dir_okay=False)
    ] = None,
    secret: SecretPath = None,
    json: JsonOption = False,
) -> None:
    """Name whatever differs from what was frozen; exit status 20 where something does.

    Example: busbench splits verify splits/busbra/v1 --store stores/busbra --reveal reveal.json
    """
    opened = CaseStore.open(store) if store else None
    document = (
        read(Reveal, reveal, Code.SPLIT_INVALID, remedy="Fetch it again.") if reveal else None
    )
    has_secret = secret is not None or secret_path(split.resolve()).exists()
    with bars() as progress:
        differences = verify(
            *(split, opened, document),
            secret=_secret(split, secret, make=False) if opened and has_secret else None,
            progress=progress,
        )
    if json:
        print_json({"split": str(split), "holds": not differences, "differences": differences})
    else:
        report = differences or [f"{split} is unchanged", FrozenSplit.open(split).lock.verdict]
        for line in report:
            out.print(harmless(line))
    if differences:
        raise typer.Exit(20)


@verbs.command("reveal")
def reveal_verb(
    split: SplitPath,
    store: Annotated[
        Path, typer.Option(help="The store that it was frozen from.", exists=True, file_okay=False)
    ],
    to: Annotated[Path, typer.Option("--out", help="The document to write.", dir_okay=False)],
    secret: SecretPath = None,
) -> None:
    """Open the commitments to the test labels, and those of a final part, after the challenge.

    Example: busbench splits reveal splits/busbra/v1 --store stores/busbra --out reveal.json
    """
    if to.exists():  # a document that was written before, and no secret, table or lock
        read(Reveal, to, Code.OUTPUT_EXISTS, remedy="Name a new file with --out.")
    frozen = FrozenSplit.open(split)
    document = reveal(frozen, CaseStore.open(store), _secret(split, secret, make=False))
    write(document, to)
    parts = " and ".join(frozen.lock.hidden_parts)
    out.print(harmless(f"{to} opens the labels of {len(document.cases)} {parts} cases"))


def _secret(split: Path, named: Path | None, *, make: bool) -> bytes:
    """The organiser's secret; a new one only for a split that is not frozen yet."""
    place = named or secret_path(split.resolve())
    return make_secret(place) if make else read_secret(place)


def _place(part: str) -> tuple[int, int]:
    """Where a part is in a table, whatever the order in the lock is."""
    name, _, fold = part.partition("-")
    return ("all", "train", "test", "final", "fold").index(name), int(fold or 0)


def show(split: FrozenSplit, state: str) -> None:
    """Print how every part compares with the whole, and whether the split leaks."""
    lock = split.lock
    what = f"{lock.dataset} {lock.version}, policy {lock.policy}"
    out.print(harmless(f"{split.path} {state}: {what}"))
    for title, counts in (("class", lock.counts), ("quartile of lesion area", lock.quartiles)):
        off, names = deviations(counts), sorted(counts["all"])
        heads = map(harmless, ("part", "cases", *names))
        shares = Grid(harmless(f"Cases by {title} (points off)"), *heads)
        for part in sorted(counts, key=_place):
            numbers = counts[part]
            cells = [f"{numbers[name]} ({off[part][name]:+.1f})" for name in names]
            shares.row(*map(harmless, (part, sum(numbers.values()), *cells)))
        out.draw(shares)
    out.print(harmless(lock.verdict))

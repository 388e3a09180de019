"""`busbench keys` and `busbench seal`: the organiser's key folder, and the bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from evaluator.documents.base import Name
from evaluator.documents.sealed import MAX_WINDOWS
from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.challenge import LabelAccess
from harness.cli.app import app, out
from harness.cli.effects import Checked
from harness.cli.options import (
    ChallengeOption,
    FinalKeysOption,
    JsonOption,
    KeysOption,
    LedgerArgument,
    SplitOption,
    StoreArgument,
    read_challenge,
)
from harness.cli.progress import bars
from harness.cli.screen import print_json
from harness.declared import StatedTrack, require_final_part, require_track
from harness.folders import one_at_a_time
from harness.ledger import rotate as rotate_ledger
from harness.sealing.bundle import FOLDERS, WINDOWS, Bundles, Recipients
from harness.sealing.bundle import seal as seal_split
from harness.sealing.keys import PUBLICS, SECRETS, Keys
from harness.splits import FrozenSplit
from harness.store import CaseStore

keys = typer.Typer(help="The organiser's keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command()
def new(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to make.", file_okay=False)
    ],
) -> None:
    """Make the three key pairs of a challenge: images, labels, reports.

    Example: busbench keys new keys
    """
    made = Keys.new(folder)
    out.print(harmless(f"Secret, for the organiser alone: {', '.join(SECRETS)}"))
    out.print(harmless(f"Public, for everyone: {', '.join(PUBLICS)}"))
    out.print(harmless(f"Reports will be signed by {made.report.keyid}"))


@keys.command()
def rotate(
    ledger: LedgerArgument,
    keys: KeysOption,
    to: Annotated[
        Path, typer.Option("--out", help="The folder for the new keys.", file_okay=False)
    ],
) -> None:
    """Give a ledger a new signing key; what was sealed stays sealed to the same two keys.

    The old key signs the change and the new one countersigns it. Run again, it resumes. Keep the
    old folder until nobody has to verify reports that lie apart from the ledger.

    Example: busbench keys rotate ledger.jsonl --keys keys --out keys-2
    """
    old = Keys.open(keys)
    new = Keys.open(to) if to.exists() else old.renewed(to)
    if (new.images.recipient, new.labels.recipient) != (old.images.recipient, old.labels.recipient):
        remedy = "Name a new folder with --out, or the one that a stopped rotation began."
        raise BusbenchError(Code.OUTPUT_EXISTS, f"{to} has the keys of another challenge.", remedy)
    appended = rotate_ledger(ledger, old, new)
    entry = "Entry" if appended.new else "Already done: entry"
    out.print(harmless(f"{entry} {appended.entry.number} hands {ledger} over"))
    out.print(harmless(f"Reports are now signed by {new.report.keyid}"))
    out.print(harmless(f"Publish {to / 'report.pub'}, and use --keys {to} from now on."))


@keys.command()
def final(
    keys: Annotated[
        Path,
        typer.Argument(
            metavar="KEYS", help="The key folder of the challenge.", exists=True, file_okay=False
        ),
    ],
    to: Annotated[
        Path, typer.Option("--out", help="The folder for the final keys.", file_okay=False)
    ],
    renew: Annotated[
        Path | None,
        typer.Option(
            help="The final keys from before `keys rotate`: what is sealed to them stays so.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Make the keys of a final part: sealing keys of its own, and the same key to sign reports.

    Keep the folder offline until the final phase: with the other keys alone, nobody opens the final
    part, and nothing is scored on it.

    Example: busbench keys final keys --out final-keys

    Example: busbench keys final keys-2 --renew final-keys --out final-keys-2
    """
    kept = None if renew is None else Keys.open(renew)
    made = Keys.open(keys).with_other_seals(to, kept)
    out.print(harmless(f"Secret, to be kept offline until the final: {', '.join(SECRETS[:2])}"))
    out.print(harmless(f"Reports are signed by {made.report.keyid}, as with {keys}"))


@app.command(cls=Checked)
def seal(
    store: StoreArgument,
    split: SplitOption,
    keys: KeysOption,
    out_dir: Annotated[Path, typer.Option("--out", help="Where the bundles go.", file_okay=False)],
    final_keys: FinalKeysOption = None,
    track: Annotated[
        str | None, typer.Option(help="The track of challenge.yaml; default: the dataset's name.")
    ] = None,
    private_labels: Annotated[
        bool | None,
        typer.Option(
            "--private-labels/--public-labels",
            help="Whether the test labels were never published; default: as the track declares.",
        ),
    ] = None,
    consistency: Annotated[
        bool, typer.Option(help="Run submissions on secretly transformed test images, too.")
    ] = True,
    windows: Annotated[
        int | None,
        typer.Option(
            help="Transformed images of each test image; inference takes as many times longer.",
            show_default=str(WINDOWS),
            min=1,
            max=MAX_WINDOWS,
        ),
    ] = None,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the public training bundle and the sealed test bundle of a frozen split.

    Where challenge.yaml declares tracks, the split has to be what it declares of this one. A final
    part is sealed apart, to keys of its own (`busbench keys final`).

    Example: busbench seal store --split splits/busbra/v1 --keys keys --out bundles

    Example: busbench seal store --split split --keys keys --final-keys final-keys --out bundles
    """
    declared, frozen, opened = read_challenge(challenge), FrozenSplit.open(split), Keys.open(keys)
    name = _track_name(track or frozen.lock.dataset)
    labels: LabelAccess = "private" if private_labels else "public"
    if private_labels is None and name in declared.tracks:
        labels = declared.tracks[name].labels
    lock = frozen.lock
    stated = StatedTrack(name, lock.dataset, lock.version, lock.folds, labels=labels)
    require_track(declared, stated, split)
    require_final_part(declared, lock.hidden_parts, split)
    sealed_to = None if final_keys is None else _recipients(Keys.open(final_keys))
    with bars() as progress, one_at_a_time(out_dir):
        bundles = seal_split(
            CaseStore.open(store),
            frozen,
            _recipients(opened),
            out=out_dir,
            final=sealed_to,
            track=name,
            labels=labels,
            windows=windows if consistency else 0,
            limits=declared.limits,
            progress=progress,
        )
    sealed = [Bundles.open(out_dir, part).sealed for part in lock.hidden_parts]
    if as_json:
        found = {FOLDERS[one.part]: one.document() for one in sealed}
        return print_json({"training": bundles.training.document(), **found})
    training = bundles.training.cases
    out.print(harmless(f"training bundle  {out_dir / 'training'}  {training} cases, public"))
    for one in sealed:
        name, place = f"{FOLDERS[one.part]} bundle", out_dir / FOLDERS[one.part]
        out.print(harmless(f"{name:<17}{place}  {one.cases} cases, two keys"))
    return None


def _recipients(keys: Keys) -> Recipients:
    return Recipients(keys.images.recipient, keys.labels.recipient)


def _track_name(text: str) -> Name:
    try:
        return TypeAdapter(Name).validate_python(text)
    except ValidationError as error:
        message = f"--track {text!a} is no name for a track."
        remedy = "Use small letters, digits, points, hyphens and underscores."
        raise BusbenchError(Code.USAGE, message, remedy) from error

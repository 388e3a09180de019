"""`busbench export-split`: a frozen split for nnU-Net, MONAI, U-Bench, COCO tools, or as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app, out
from harness.cli.options import (
    ChallengeOption,
    JsonOption,
    SplitOption,
    StoreArgument,
    read_challenge,
)
from harness.cli.progress import bars
from harness.cli.screen import print_json
from harness.export import DATASET_ID, Format, SplitExport, choose_test_part, export_split
from harness.splits import FrozenSplit
from harness.store import CaseStore


@app.command("export-split")
def export_split_verb(
    store: StoreArgument,
    split: SplitOption,
    layout: Annotated[Format, typer.Option("--format", help="Whose code it is for.")],
    to: Annotated[Path, typer.Option("--out", help="The folder to make.", file_okay=False)],
    with_test_labels: Annotated[
        bool,
        typer.Option(
            "--with-test-labels",
            help="Export the masks and classes of the test part as well; for tracks whose labels "
            "challenge.yaml declares public.",
        ),
    ] = False,
    dataset_id: Annotated[
        int | None,
        typer.Option(help=f"nnU-Net's number of it; default: {DATASET_ID}.", min=1, max=999),
    ] = None,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a frozen split's images, masks and folds as other people's code reads them.

    Test images are without class and mask, and left out where the track's labels are private. A
    final part is never exported.

    Example: busbench export-split store --split splits/busbra/v1 --format nnunet --out nnunet
    """
    if dataset_id is not None and layout is not Format.NNUNET:
        remedy = "Leave --dataset-id out, or choose --format nnunet."
        raise BusbenchError(Code.USAGE, f"The format {layout} has no number of a dataset.", remedy)
    frozen = FrozenSplit.open(split)
    test = choose_test_part(read_challenge(challenge), frozen.lock, with_labels=with_test_labels)
    with bars() as progress:
        export = export_split(
            *(CaseStore.open(store), frozen, to),
            layout=layout,
            test=test,
            dataset_id=dataset_id or DATASET_ID,
            progress=progress,
        )
    if as_json:
        print_json(export.document())
    else:
        show(export, to)
        if hidden := len(frozen.hidden("final")):
            out.print(harmless(f"The {hidden} cases of the final part are left out."))


def show(export: SplitExport, folder: Path) -> None:
    """Print what is in the folder, and what its images ask of whoever has them."""
    test = {
        "none": "no test part, because its labels are private",
        "images": f"{export.test_cases} test images without labels",
        "images and labels": f"{export.test_cases} test cases with their labels",
    }[export.test]
    what = f"{export.training_cases} training cases in {export.folds} folds, {test}"
    for line in (
        f"{folder} has {export.dataset} {export.split_version} for {export.format}: {what}",
        export.verdict,
        f"Terms and what to cite: {folder / 'CITATION'}. Keep it with every copy.",
    ):
        out.print(harmless(line))

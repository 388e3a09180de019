"""`busbench import-nnunet`: a submission of what nnU-Net has trained already."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evaluator.harmless import harmless
from harness.cli.app import app, err, out
from harness.cli.options import JsonOption
from harness.cli.progress import bars
from harness.cli.screen import print_json
from harness.cli.template import require_titles
from harness.importing import ImportRequest, import_nnunet


class Checkpoint(StrEnum):
    """Which weights of a fold."""

    FINAL = "final"
    BEST = "best"


@app.command("import-nnunet")
def import_nnunet_verb(
    results: Annotated[
        Path,
        typer.Argument(
            help="The trainer's folder of a 2d configuration: "
            "nnUNet_results/DatasetXXX_NAME/TRAINER__PLANS__2d.",
            exists=True,
            file_okay=False,
        ),
    ],
    bundle: Annotated[
        Path,
        typer.Option(
            help="The training bundle, whose folds it was trained on.",
            exists=True,
            file_okay=False,
        ),
    ],
    to: Annotated[Path, typer.Option("--out", help="The submission to make.", file_okay=False)],
    team: Annotated[str, typer.Option(help="The team on the board.")] = "My team",
    method: Annotated[str, typer.Option(help="The method on the board.")] = "nnU-Net",
    checkpoint: Annotated[
        Checkpoint, typer.Option(help="Which weights of each fold.")
    ] = Checkpoint.FINAL,
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="One file that averages all folds, not one a fold."),
    ] = False,
    mirroring: Annotated[
        bool,
        typer.Option(
            "--mirroring/--no-mirroring",
            help="Average over mirrored images as nnU-Net does; four times the cost.",
        ),
    ] = True,
    python: Annotated[
        Path,
        typer.Option(
            help="The Python that has nnU-Net (2.8), torch, onnx and onnxruntime.",
            show_default="the one that runs busbench",
            exists=True,
            dir_okay=False,
        ),
    ] = Path(sys.executable),
    as_json: JsonOption = False,
) -> None:
    """Write a submission from what nnU-Net has trained: ONNX files that predict as it does.

    Patch size, normalisation, mirroring and folds are those of plans.json and the checkpoints; each
    ONNX file is compared with the network. Where fold_K/validation is there, its cases are compared
    with the bundle's. Checkpoints run code when they are opened: import your own.

    Example: busbench import-nnunet nnUNet_results/Dataset500_x/nnUNetTrainer__nnUNetPlans__2d
    --bundle bundles/training --out submission --python nnunet/bin/python
    """
    require_titles(team=team, method=method)
    request = ImportRequest(
        *(results, bundle, team, method),
        checkpoint=checkpoint.value,
        ensemble=ensemble,
        mirroring=mirroring,
        python=python,
    )
    screen = err if as_json else out
    with bars() as progress:
        submission = import_nnunet(
            request, to, progress=progress, say=lambda line: screen.print(harmless(line))
        )
    if as_json:
        print_json(submission.document())
    else:
        out.print(harmless(f"{to} is a submission to {submission.track}. Look at it next:"))
        out.print(harmless(f"busbench evaluate {to} --bundle {bundle} --part val"))

"""`busbench predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app, out
from harness.cli.options import (
    Backend,
    BackendOption,
    BatchSizeOption,
    ChallengeOption,
    DeviceOption,
    InferDevice,
    JsonOption,
    Precision,
    RunnerName,
    RunnerOption,
    SubmissionArgument,
    read_batch_size,
    read_challenge,
)
from harness.cli.progress import bars
from harness.cli.refusals import refusal_tables, refusals_drawn
from harness.cli.screen import print_json
from harness.datasets.own_images import find_images
from harness.evaluation.predict import Prediction, PredictRequest
from harness.evaluation.predict import predict as run
from harness.evaluation.predict_record import Chosen
from harness.evaluation.settings import EvaluateSettings
from harness.execution import ExecutionEnvironment
from harness.submission import read_submission

LARGEST_MM = 10.0  # of a pixel's sides; images that would be too large are refused one by one


@app.command()
def predict(
    submission: SubmissionArgument,
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Images, folders with images at any depth, or .txt files that list one a line. "
            "PNG, JPEG, BMP, TIFF, DICOM and whatever else `prepare` reads.",
            exists=True,
        ),
    ],
    masks: Annotated[
        Path, typer.Option("--out", help="The folder of masks to write.", file_okay=False)
    ],
    fold: Annotated[
        str,
        typer.Option(
            metavar="K|all",
            help="Fold K's model, or all: where a submission has a model a fold, what more than "
            "half of their masks mark.",
        ),
    ] = "all",
    spacing: Annotated[
        str | None,
        typer.Option(
            metavar="MM|ROW,COLUMN",
            help="Millimetres a pixel of images that state none, where the submission resamples.",
        ),
    ] = None,
    skip_refused: Annotated[
        bool, typer.Option("--skip-refused", help="Leave refused images out rather than fail.")
    ] = False,
    device: DeviceOption = InferDevice.CPU,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of a GPU's arithmetic.", show_default="the track's, or fp32"),
    ] = None,
    batch_size: BatchSizeOption = "auto",
    backend: BackendOption = Backend.ONNXRUNTIME,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run an accepted submission on images of your own, and write a mask for each.

    The gate comes first; then the models run in the sandbox as in an evaluation. A mask is a PNG
    of one bit a pixel, white where the lesion is, of its image's own size (upright, where a photo
    says how it is turned), under the image's name. Images are read as `prepare` reads them. The
    same command again finds the masks there. An interrupted one goes on: what was predicted is kept
    in a hidden folder beside --out until all is done.

    Example: busbench predict my-submission my-images --out masks

    A submission with `input.spacing` takes images whose pixels are of known size: DICOM and its kin
    state it, of others --spacing does.

    Example: busbench predict winner a.png b.dcm --out masks --fold 0 --device cuda
    """
    for place in images:
        if place.is_dir() and masks.resolve().is_relative_to(place.resolve()):
            message = f"--out {masks} would lie in {place}, where its masks would be images, too."
            raise BusbenchError(Code.USAGE, message, "Name a folder outside of it.")
    settings, found = read_challenge(challenge), find_images(images)
    track = read_submission(submission).track
    chosen = settings.precision_of(track) if precision is None else precision.value
    size = read_batch_size(batch_size)
    request = PredictRequest(
        submission=submission,
        images=found[0],
        environment=ExecutionEnvironment(runner.value, settings),
        fold=_read_fold(fold),
        settings=EvaluateSettings(device.value, size, backend.value, chosen),
        skip_refused=skip_refused,
        spacing=None if spacing is None else _read_spacing(spacing),
    )
    with refusals_drawn(), bars() as progress:
        result = run(request, masks, progress=progress)
    if as_json:
        passed_over = [str(path) for path in found[1]]
        about = {"folder": str(masks), "resumed": result.resumed, "passed_over": passed_over}
        print_json({**result.record.document(), **about})
    else:
        _show(result, found[1])


def _read_fold(text: str) -> Chosen:
    if text == "all":
        return "all"
    if not text.isdecimal():
        raise BusbenchError(Code.USAGE, f"--fold {text} is no fold.", "Give a number, or all.")
    return int(text)


def _read_spacing(text: str) -> tuple[float, float]:
    try:
        row, column = map(float, text.split(",") if "," in text else (text, text))
    except ValueError:
        row = column = 0.0
    if not 0 < min(row, column) <= max(row, column) <= LARGEST_MM:
        message = f"--spacing {text} is no size of a pixel."
        raise BusbenchError(Code.USAGE, message, "Give millimetres, such as 0.08 or 0.08,0.07.")
    return row, column


def _show(result: Prediction, passed_over: tuple[Path, ...]) -> None:
    record = result.record
    repaired = {each.image: "; ".join(each.repairs) for each in record.images if each.repairs}
    for table in refusal_tables(repaired, record.refused):
        out.draw(table)
    empty = sum(each.lesion_px == 0 for each in record.images)
    whole = sum(each.lesion_px == each.height * each.width for each in record.images)
    whose = "all folds" if record.fold == "all" else f"fold {record.fold}"
    count = len(record.images)
    out.print(harmless(f"{count} masks by {whose}: {empty} are empty, {whole} the whole image"))
    if passed_over:
        more = f" and {len(passed_over) - 1} more" if len(passed_over) > 1 else ""
        out.print(harmless(f"passed over, as no images: {passed_over[0]}{more}"))
    out.print(harmless(f"masks            {result.folder}"))
    if result.resumed:
        out.print(harmless("Nothing to do: the masks were made of these very images already."))

"""`busbench evaluate`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app, out
from harness.cli.effects import Checked
from harness.cli.options import (
    Backend,
    BatchSizeOption,
    ChallengeOption,
    ClusterOption,
    InferDevice,
    InputsOption,
    JsonOption,
    LedgerOption,
    OptionalKeys,
    Part,
    PrecisionOption,
    RunnerName,
    RunnerOption,
    read_batch_size,
    read_challenge,
)
from harness.cli.run_view import Batch, Failure, do_jobs, make_jobs
from harness.cli.show import print_report, print_validation
from harness.cli.submissions import LOCAL, Named, folders, names_image
from harness.evaluation.evaluate import EvaluateSubmission
from harness.evaluation.stages import EvaluateSettings
from harness.evaluation.validation import ValidateSubmission
from harness.execution import ExecutionEnvironment
from harness.ledger import known_keys
from harness.quotas.recording import LedgerRecorder
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys
from harness.sealing.training import TrainingSet


@app.command(cls=Checked)
def evaluate(
    submission: Annotated[
        list[str],
        typer.Argument(
            help="The submission's folder, or a container image that predicts, by digest "
            "(registry/name@sha256:…); or many."
        ),
    ],
    bundle: Annotated[
        Path,
        typer.Option(
            help="The folder with both bundles; for val, the training bundle.",
            exists=True,
            file_okay=False,
        ),
    ],
    keys: OptionalKeys = None,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Where runs are kept; each is private.", file_okay=False)
    ] = Path("runs"),
    part: Annotated[
        Part,
        typer.Option(help="test: the sealed test set; val: each fold's own validation cases."),
    ] = Part.TEST,
    ledger: LedgerOption = None,
    team: Annotated[
        str | None, typer.Option(help="Whose an image is that is named without a folder.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="What that image is called.", show_default="the image's name"),
    ] = None,
    received: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="The day (UTC) on which it came to you, if not today: its phase goes by it.",
        ),
    ] = None,
    device: InferDevice = InferDevice.CPU,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = "auto",
    backend: Backend = Backend.ONNXRUNTIME,
    cluster: ClusterOption = None,
    inputs: InputsOption = None,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a submission on the sealed test set: gate, infer, score, sign.

    With --ledger, quotas and phases of challenge.yaml apply, and what the team may read is kept
    apart from the rest. The day on which a submission came is kept before anything is run, and its
    phase goes by that day, whenever it is run. Each submission is a job, here or on a --cluster;
    one that fails holds up no other.

    With --part val: the same gate, inference and scoring on the validation folds of the training
    bundle, whose labels are public. It needs no keys, signs nothing, never touches a ledger, keeps
    every log whole, and leaves all masks as PNG, cases.csv and overlays.html, worst case first.
    Run either again after an interruption: finished stages are kept.

    Example: busbench evaluate submission --bundle bundles --keys keys --out runs --ledger l.jsonl

    Example: busbench evaluate submission --bundle training --part val

    Example: busbench evaluate registry/name@sha256:… --team us --bundle bundles --keys keys
    """
    settings = read_challenge(challenge)
    environment = ExecutionEnvironment(runner.value, settings, keys, known_keys(ledger))

    def settings_on(track: str, folder: Path) -> EvaluateSettings:
        own = "fp32" if names_image(folder) else settings.precision_of(track)
        chosen = own if precision is None else precision.value
        return EvaluateSettings(device.value, read_batch_size(batch_size), backend.value, chosen)

    if part is Part.VAL:
        _require_public(keys, ledger)
        track = TrainingSet.open(bundle).bundle.track
        named = Named(track, team or LOCAL, method, out_dir)

        def validation(each: Path) -> ValidateSubmission:
            return ValidateSubmission.of(
                each,
                bundle,
                out_dir,
                environment=environment,
                settings=settings_on(track, each),
                address=inputs,
            )

        made = make_jobs(validation, folders(submission, named))
        return _validate(*made, cluster=cluster, as_json=as_json)
    if keys is None:
        message = "The sealed test set is opened with --keys."
        raise BusbenchError(Code.USAGE, message, "Name the organiser's keys, or use --part val.")
    bundles = Bundles.open(bundle)
    track = bundles.sealed.track

    def evaluation(each: Path) -> EvaluateSubmission:
        return EvaluateSubmission.of(
            each,
            bundles,
            out_dir,
            environment=environment,
            settings=settings_on(track, each),
            address=inputs,
        )

    came = received and received.date()
    recorder = None
    if ledger is not None:
        recorder = LedgerRecorder(Keys.open(keys), ledger, settings, received=came)
    jobs, refused = make_jobs(evaluation, folders(submission, Named(track, team, method, out_dir)))
    batch = do_jobs(jobs, cluster, recorder, refused=refused)
    return _show(batch, recorder, as_json=as_json)


def _require_public(keys: Path | None, ledger: Path | None) -> None:
    if ledger is not None or keys is not None:
        message, remedy = (
            "--part val takes no keys and no ledger.",
            "Leave --keys and --ledger out.",
        )
        raise BusbenchError(Code.USAGE, message, remedy)


def _show(
    batch: Batch[EvaluateSubmission], recorder: LedgerRecorder | None, *, as_json: bool
) -> None:
    results = [job.finished() for job in batch.done]
    if as_json:
        batch.print_json("reports", [result.report.document() for result in results])
    else:
        for job, result in zip(batch.done, results, strict=True):
            print_report(result)
            if recorder is not None and (accepted := recorder.accepted.get(job.key)):
                own = accepted.own
                out.print(harmless(f"received         {own.day}, in the phase {own.phase}"))
                out.print(harmless(f"for the team     {accepted.folder}"))
    batch.exit()


def _validate(
    jobs: list[ValidateSubmission], refused: list[Failure], *, cluster: str | None, as_json: bool
) -> None:
    batch = do_jobs(jobs, cluster, refused=refused)
    results = [job.finished() for job in batch.done]
    if as_json:
        scores = [
            {
                "folder": str(result.folder),
                "submission": result.submission.document(),
                "scores": result.scores.document(),
                "mean_of_cases": result.cases.mean,
                "hints": result.cases.hints,
            }
            for result in results
        ]
        batch.print_json("validations", scores)
    else:
        for result in results:
            print_validation(result)
    batch.exit()

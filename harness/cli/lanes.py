"""`busbench check`, `train` and `evaluate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge, load_challenge
from harness.cli.app import app, out, print_json
from harness.cli.evaluating import evaluate_many
from harness.cli.options import (
    Backend,
    ChallengeOption,
    ClusterOption,
    Device,
    InferDevice,
    InputsOption,
    JsonOption,
    OptionalKeys,
    Part,
    RunnerName,
    RunnerOption,
    make_runner,
    read_batch_size,
)
from harness.cli.progress import bars
from harness.cli.show import print_report, print_validation, print_verdict
from harness.cli.training import TrainRequest, named_images, train_many
from harness.evaluation.check import check as check_submission
from harness.evaluation.evaluate import EvaluateSettings
from harness.evaluation.evaluate import evaluate as evaluate_submission
from harness.evaluation.validation import validate
from harness.execution import ExecutionEnvironment
from harness.quotas.submit import submit
from harness.sandbox.references import ImageRequest
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys
from harness.submission import read_submission
from harness.training.job import image_id
from harness.training.train import TrainSettings
from harness.training.train import train as train_image

REFERENCE_COMMAND = ("run", "--bundle", "{bundle}", "--out", "{out}")


@app.command()
def check(
    submission: Annotated[Path, typer.Argument(help="The submission folder.")],
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    log: Annotated[Path | None, typer.Option(help="Write the gate's whole log here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell whether the evaluator would take a submission; labels are never touched.

    Example: busbench check my-submission --log gate.log
    """
    settings = load_challenge(challenge)
    with bars() as progress:
        verdict = check_submission(
            submission, make_runner(runner, settings, progress), settings, progress, log
        )
    print_json(verdict.document()) if as_json else print_verdict(verdict)


@app.command()
def train(
    image: Annotated[
        list[str],
        typer.Argument(
            help="An image of the engine by name or id, one of a registry by digest "
            "(registry/name@sha256:…), or `reference` for our networks. Many at once, which may "
            "be called NAME=IMAGE."
        ),
    ],
    bundle: Annotated[
        list[Path], typer.Option(help="The public training bundle; again for another track.")
    ],
    out_dir: Annotated[
        Path,
        typer.Option("--out", help="Where the submission goes; of many, OUT/TRACK/NAME each."),
    ],
    track: Annotated[
        str | None, typer.Option(help="Demand that the bundle is of this one.")
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="Arguments for the image, with {bundle} and {out}.")
    ] = None,
    pull: Annotated[
        bool,
        typer.Option(
            help="Fetch an image that the engine lacks; by digest only, since a tag can move."
        ),
    ] = True,
    keys: OptionalKeys = None,
    device: Device = Device.CPU,
    cluster: ClusterOption = None,
    inputs: InputsOption = None,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train an image on the training bundle, in the sandbox, and take its submission.

    The image is inspected first. It is started as `ENTRYPOINT run --bundle /in/bundle --out /out`,
    has no network, and may write to /out (kept, of limited size) and /tmp only. What it leaves in
    /out is saved while it trains, and is there again when a killed training is started anew. With
    the organiser's --keys the result counts as trained here.

    Many images, or many bundles, are a job each, here or on a --cluster.

    Example: busbench train reference --bundle bundles/training --out submission --keys keys

    Example: busbench train a=registry/a@sha256:… b=registry/b@sha256:… --bundle bundles/training
    --out trained --cluster slurm:2
    """
    settings = load_challenge(challenge)
    words = REFERENCE_COMMAND if command is None else tuple(command.split())
    gpu = device is Device.CUDA
    if cluster is not None or inputs is not None or as_json or len(image) * len(bundle) > 1:
        asked = TrainRequest(
            image, pull, words, command is not None, bundle, track, out_dir, keys, inputs
        )
        environment = ExecutionEnvironment(runner.value, settings, train_gpu=gpu)
        return train_many(asked, environment, cluster=cluster, as_json=as_json)
    opened = None if keys is None else Keys.open(keys)
    (name,) = named_images(image).values()
    wanted = ImageRequest(name, pull, settings.images.max_mb, command is not None)
    with bars() as progress:
        engine = make_runner(runner, settings, progress)
        chosen = TrainSettings(image_id(engine, wanted, progress), words, gpu, track)
        submission = train_image(bundle[0], out_dir, chosen, engine, settings, progress, opened)
    out.print(f"submission       {out_dir}  {len(submission.models)} models, {submission.method}")
    return None


@app.command()
def evaluate(
    submission: Annotated[
        list[Path], typer.Argument(help="The submission's folder, or those of many.")
    ],
    bundle: Annotated[
        Path, typer.Option(help="The folder with both bundles; for val, the training bundle.")
    ],
    keys: OptionalKeys = None,
    out_dir: Annotated[Path, typer.Option("--out", help="Where runs are kept; private.")] = Path(
        "runs"
    ),
    part: Annotated[
        Part,
        typer.Option(help="test: the sealed test set; val: each fold's own validation cases."),
    ] = Part.TEST,
    ledger: Annotated[Path | None, typer.Option(help="Append the result to this ledger.")] = None,
    device: InferDevice = InferDevice.CPU,
    batch_size: Annotated[str, typer.Option(help="Images a run; auto measures.")] = "auto",
    backend: Backend = Backend.ONNXRUNTIME,
    cluster: ClusterOption = None,
    inputs: InputsOption = None,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a submission on the sealed test set: gate, infer, score, sign.

    With --ledger, quotas and phases of challenge.yaml hold, and what the team may read lies apart
    from the rest. Many submissions are a job each.

    With --part val: the same gate, inference and scoring on the validation folds of the training
    bundle, whose labels are public. It needs no keys, signs nothing, never touches a ledger, and
    leaves every log whole. Run either again after an interruption: finished stages are kept.

    Example: busbench evaluate submission --bundle bundles --keys keys --out runs --ledger l.jsonl

    Example: busbench evaluate submission --bundle training --part val
    """
    settings = load_challenge(challenge)
    how = EvaluateSettings(device.value, read_batch_size(batch_size), backend.value)
    if part is Part.VAL:
        if ledger is not None or keys is not None:
            raise BusbenchError(
                Code.USAGE,
                "--part val takes no keys and no ledger.",
                "Leave --keys and --ledger out.",
            )
        if len(submission) > 1 or cluster is not None or inputs is not None:
            message = "--part val takes one submission at a time, on this machine."
            raise BusbenchError(Code.USAGE, message, "Name them one after the other.")
        return _validate(submission[0], bundle, out_dir, runner, settings, how, as_json)
    if keys is None:
        raise BusbenchError(
            Code.USAGE,
            "The sealed test set is opened with --keys.",
            "Name the organiser's keys, or use --part val.",
        )
    opened = Keys.open(keys)
    if cluster is not None or inputs is not None or len(submission) > 1:
        environment = ExecutionEnvironment(runner.value, settings, evaluate=how)
        return evaluate_many(
            submission,
            bundle,
            opened,
            out_dir,
            environment,
            ledger=ledger,
            cluster=cluster,
            inputs=inputs,
            as_json=as_json,
        )
    with bars() as progress:
        run = partial(
            evaluate_submission,
            submission[0],
            Bundles.open(bundle),
            opened,
            out_dir,
            make_runner(runner, settings, progress),
            settings,
            how,
            progress,
        )
        if ledger is None:
            result, feedback = run(), None
        else:
            accepted = submit(read_submission(submission[0]), ledger, opened, settings, run)
            result, feedback = accepted.evaluation, accepted.folder
    if as_json:
        return print_json(result.report.document())
    print_report(result)
    if feedback is not None:
        out.print(f"for the team     {feedback}", soft_wrap=True)
    return None


def _validate(
    submission: Path,
    bundle: Path,
    out_dir: Path,
    runner: RunnerName,
    settings: Challenge,
    how: EvaluateSettings,
    as_json: bool,
) -> None:
    with bars() as progress:
        engine = make_runner(runner, settings, progress)
        result = validate(submission, bundle, out_dir, engine, settings, how, progress)
    print_json(result.scores.document()) if as_json else print_validation(result)

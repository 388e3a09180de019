"""Verbs of the sealing and evaluation rooms: seal, check, train, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import load_challenge
from harness.cli.app import app, out, print_json
from harness.cli.evaluating import evaluate_many
from harness.cli.options import (
    Backend,
    ChallengeOption,
    ClusterOption,
    Device,
    InferDevice,
    JsonOption,
    KeysOption,
    RunnerName,
    RunnerOption,
    make_runner,
    read_batch_size,
)
from harness.cli.progress import bars
from harness.cli.show import print_report, print_verdict
from harness.jobs import Site
from harness.lanes.check import check as check_submission
from harness.lanes.evaluate import EvaluateSettings
from harness.lanes.evaluate import evaluate as evaluate_submission
from harness.lanes.train import TrainSettings
from harness.lanes.train import train as train_image
from harness.ledger import append
from harness.sandbox import DockerRunner, Runner
from harness.sealing.bundle import Bundles, Recipients
from harness.sealing.bundle import seal as seal_split
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit
from harness.store import CaseStore

REFERENCE = "reference"
REFERENCE_COMMAND = ("run", "--bundle", "{bundle}", "--out", "{out}")


@app.command()
def seal(
    store: Annotated[Path, typer.Argument(help="The case store.")],
    split: Annotated[Path, typer.Option(help="The folder of the frozen split.")],
    keys: KeysOption,
    out_dir: Annotated[Path, typer.Option("--out", help="Where both bundles go.")],
    private_labels: Annotated[
        bool, typer.Option("--private-labels", help="The test labels were never published.")
    ] = False,
    consistency: Annotated[
        bool, typer.Option(help="Run submissions on secretly moved test images, too.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Write the public training bundle and the sealed test bundle of a frozen split.

    Example: busbench seal store --split splits/busbra/v1 --keys keys --out bundles
    """
    opened = Keys.open(keys)
    recipients = Recipients(opened.images.recipient, opened.labels.recipient)
    with bars() as progress:
        bundles = seal_split(
            CaseStore.open(store),
            FrozenSplit.open(split),
            recipients,
            out_dir,
            labels="private" if private_labels else "public",
            consistency=consistency,
            progress=progress,
        )
    if as_json:
        return print_json(
            {"training": bundles.training.document(), "sealed": bundles.sealed.document()}
        )
    out.print(f"training bundle  {out_dir / 'training'}  {bundles.training.cases} cases, public")
    out.print(f"sealed bundle    {out_dir / 'sealed'}  {bundles.sealed.cases} cases, two keys")
    return None


@app.command()
def check(
    submission: Annotated[Path, typer.Argument(help="The submission folder.")],
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell whether the evaluator would take a submission; labels are never touched.

    Example: busbench check my-submission
    """
    settings = load_challenge(challenge)
    with bars() as progress:
        verdict = check_submission(
            submission, make_runner(runner, settings, progress), settings, progress
        )
    print_json(verdict.document()) if as_json else print_verdict(verdict)


@app.command()
def train(
    image: Annotated[
        str, typer.Argument(help="An image of the local engine, or `reference` for our networks.")
    ],
    bundle: Annotated[Path, typer.Option(help="The public training bundle.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Where the submission goes.")],
    command: Annotated[
        str | None, typer.Option(help="Arguments for the image, with {bundle} and {out}.")
    ] = None,
    device: Device = Device.CPU,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
) -> None:
    """Train an image on the training bundle, in the sandbox, and take its submission.

    The image sees the bundle at /in/bundle, may write to /out only, and has no network.

    Example: busbench train reference --bundle bundles/training --out submission
    """
    settings = load_challenge(challenge)
    words = tuple(command.split()) if command is not None else REFERENCE_COMMAND
    with bars() as progress:
        engine = make_runner(runner, settings, progress)
        chosen = TrainSettings(_image_id(engine, image), words, gpu=device is Device.CUDA)
        submission = train_image(bundle, out_dir, chosen, engine, settings, progress)
    out.print(f"submission       {out_dir}  {len(submission.models)} models, {submission.method}")


def _image_id(engine: Runner, image: str) -> str | None:
    """The image by its id, which no tag can move; None for the bundled networks."""
    if image == REFERENCE:
        return None
    return engine.image_id(image) if isinstance(engine, DockerRunner) else image


@app.command()
def evaluate(
    submission: Annotated[
        list[Path], typer.Argument(help="The submission's folder, or those of many.")
    ],
    bundle: Annotated[Path, typer.Option(help="The folder with both bundles.")],
    keys: KeysOption,
    out_dir: Annotated[Path, typer.Option("--out", help="Where runs are kept; private.")],
    ledger: Annotated[Path | None, typer.Option(help="Append the result to this ledger.")] = None,
    device: InferDevice = InferDevice.CPU,
    batch_size: Annotated[str, typer.Option(help="Images a run; auto measures.")] = "auto",
    backend: Backend = Backend.ONNXRUNTIME,
    cluster: ClusterOption = None,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a submission on the sealed test set: gate, infer, score, sign.

    Run it again after an interruption: finished stages are kept. Many submissions are a job each.

    Example: busbench evaluate submission --bundle bundles --keys keys --out runs --ledger l.jsonl
    """
    settings = load_challenge(challenge)
    opened = Keys.open(keys)
    how = EvaluateSettings(device.value, read_batch_size(batch_size), backend.value)
    if cluster is not None or len(submission) > 1:
        site = Site(runner.value, settings, evaluate=how)
        return evaluate_many(
            submission,
            bundle,
            opened,
            out_dir,
            site,
            ledger=ledger,
            cluster=cluster,
            as_json=as_json,
        )
    with bars() as progress:
        result = evaluate_submission(
            submission[0],
            Bundles.open(bundle),
            opened,
            out_dir,
            make_runner(runner, settings, progress),
            settings,
            how,
            progress,
        )
    if ledger is not None:
        append(ledger, result.signed, opened)
    return print_json(result.report.document()) if as_json else print_report(result)

"""`busbench train`: each image on each training bundle is a job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code, Fault
from evaluator.harmless import harmless
from evaluator.progress import quiet
from harness.cli.app import app, out
from harness.cli.effects import Checked
from harness.cli.options import (
    ChallengeOption,
    ClusterOption,
    Device,
    InputsOption,
    JsonOption,
    OptionalKeys,
    RunnerName,
    RunnerOption,
    read_challenge,
)
from harness.cli.run_view import Failure, do_jobs
from harness.execution import ExecutionEnvironment
from harness.execution.inputs import offer
from harness.sandbox.references import ImageRequest
from harness.submission import read_submission
from harness.training.train import REFERENCE, TrainImage, image_id, read_facts

REFERENCE_COMMAND = ("run", "--bundle", "{bundle}", "--out", "{out}")
_SAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class TrainRequest:
    """What the command line names."""

    images: Sequence[str]  # IMAGE or NAME=IMAGE
    pull: bool
    command: tuple[str, ...]
    own_command: bool  # whether the user named it
    bundles: Sequence[Path]
    track: str | None
    out: Path
    inputs: str | None
    gpu: bool


@app.command(cls=Checked)
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
        list[Path],
        typer.Option(
            help="The public training bundle; again for another track.",
            exists=True,
            file_okay=False,
        ),
    ],
    out_dir: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Where the submission goes; of many, OUT/TRACK/NAME each.",
            file_okay=False,
        ),
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
    device: Annotated[
        Device, typer.Option(help="What training runs on; cuda gives the container a GPU.")
    ] = Device.CPU,
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

    Each image on each bundle is a job, here or on a --cluster; one that fails holds up no other.

    Example: busbench train reference --bundle bundles/training --out submission --keys keys

    Example: busbench train a=registry/a@sha256:… b=registry/b@sha256:… --bundle bundles/training
    --out trained --cluster slurm:2
    """
    settings = read_challenge(challenge)
    request = TrainRequest(
        images=image,
        pull=pull,
        command=REFERENCE_COMMAND if command is None else tuple(command.split()),
        own_command=command is not None,
        bundles=bundle,
        track=track,
        out=out_dir,
        inputs=inputs,
        gpu=device is Device.CUDA,
    )
    jobs, refused = make_jobs(request, ExecutionEnvironment(runner.value, settings, keys))
    batch = do_jobs(jobs, cluster, refused=refused)
    trained = [(job, read_submission(job.out)) for job in batch.done]
    if as_json:
        folders = [{"folder": str(job.out), "submission": s.document()} for job, s in trained]
        batch.print_json("trained", folders)
    else:
        for job, submission in trained:
            line = f"{job.out}  {len(submission.models)} models, {submission.method}"
            out.print(harmless(f"submission       {line}"))
    batch.exit()


def make_jobs(
    request: TrainRequest, environment: ExecutionEnvironment
) -> tuple[list[TrainImage], list[Failure]]:
    """One job for each image on each bundle, and the images that were refused before.

    Raises:
        BusbenchError: `usage` where an image or a track is named twice; `bundle-invalid`, and what
            `resolve` raises of a local image that isn't the image's fault.
    """
    images = named_images(request.images)
    facts = [read_facts(bundle, request.track) for bundle in request.bundles]
    if len({each.track for each in facts}) != len(facts):
        raise BusbenchError(Code.USAGE, "--bundle names a track twice.", "Name each once.")
    pinned: dict[str, ImageRequest] = {}
    refused = []
    for name, word in images.items():
        try:
            pinned[name] = _pin(word, request, environment)
        except BusbenchError as error:
            if error.fault is not Fault.SUBMISSION:
                raise
            refused.append(Failure(name, error))
    if len({image.name for image in pinned.values()}) != len(pinned):
        raise BusbenchError(Code.USAGE, "Two of the images are the same.", "Name each once.")
    alone = len(images) * len(facts) == 1
    jobs = []
    for bundle, each in zip(request.bundles, facts, strict=True):
        given = offer(bundle, sorted(bundle.rglob("*")), request.inputs)
        for name, image in pinned.items():
            place = request.out if alone else request.out / each.track / name
            jobs.append(
                TrainImage(
                    name=name,
                    image=image,
                    command=request.command,
                    bundle=given,
                    facts=each,
                    out=place,
                    environment=environment,
                    gpu=request.gpu,
                )
            )
    return jobs, refused


def named_images(words: Sequence[str]) -> dict[str, str]:
    """Name -> image, of IMAGE or NAME=IMAGE; by itself an image is called by its last part.

    Raises:
        BusbenchError: `usage` where two would share a name.
    """
    found: dict[str, str] = {}
    for word in words:
        given, equals, image = word.rpartition("=")
        name = given if equals else re.split(r"[@:]", image.rpartition("/")[2])[0]
        name = _SAFE.sub("-", name).strip(".-") or "image"
        if found.setdefault(name, image) != image:
            remedy = f"Call them by names of their own: one={image}."
            raise BusbenchError(Code.USAGE, f"Two images would be called {name}.", remedy)
    return found


def _pin(name: str, request: TrainRequest, environment: ExecutionEnvironment) -> ImageRequest:
    """The image by digest or id: the meaning of a tag is asked of this machine's engine, once."""
    max_mb = environment.challenge.images.max_mb
    image = ImageRequest(name, request.pull, max_mb, request.own_command)
    if name == REFERENCE or "sha256:" in name:
        return image
    with environment.open(quiet) as context:
        return replace(image, name=image_id(context.runner, image, quiet) or name)

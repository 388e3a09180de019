"""`busbench train` of many images or bundles, or on a cluster: a job each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.progress import quiet
from harness.cli.app import out, print_json
from harness.cli.run_view import failures, run_view
from harness.execution import Chain, ExecutionEnvironment, open_executor, run_chains
from harness.execution.inputs import offer
from harness.execution.job import held
from harness.sandbox.references import ImageRequest
from harness.submission import read_submission
from harness.training.job import REFERENCE, TrainImage, image_id
from harness.training.train import read_facts

_SAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class TrainRequest:
    """What the command was asked for."""

    images: Sequence[str]  # IMAGE or NAME=IMAGE
    pull: bool
    command: tuple[str, ...]
    own_command: bool  # whether the user named it
    bundles: Sequence[Path]
    track: str | None
    out: Path
    keys: Path | None
    inputs: str | None


def train_many(
    asked: TrainRequest, environment: ExecutionEnvironment, *, cluster: str | None, as_json: bool
) -> None:
    """Train each image on each bundle once; one that fails holds up no other."""
    with (
        held(asked.out.with_name(f"{asked.out.name}.lock"), wait=False),
        run_view() as view,
    ):
        jobs = _jobs(asked, environment)
        with open_executor(cluster, view.progress, view.say, gpu=environment.uses_gpu) as executor:
            chains = [Chain((job,)) for job in jobs]
            state = run_chains(chains, executor, watch=view.watch)
    done = {end.job.key for end in state.finished if end.error is None}
    trained = [(job, read_submission(job.out)) for job in jobs if job.key in done]
    if as_json:
        told = [{"folder": str(job.out), "submission": s.document()} for job, s in trained]
        print_json({"trained": told, "failed": failures(state)})
    else:
        for job, submission in trained:
            out.print(
                f"submission       {job.out}  {len(submission.models)} models, {submission.method}",
                soft_wrap=True,
            )
    if state.failed:
        raise typer.Exit(state.status)


def _jobs(asked: TrainRequest, environment: ExecutionEnvironment) -> list[TrainImage]:
    images = named_images(asked.images)
    facts = [read_facts(bundle, asked.track) for bundle in asked.bundles]
    if len({told.track for told in facts}) != len(facts):
        raise BusbenchError(Code.USAGE, "--bundle names a track twice.", "Name each once.")
    pinned = {
        name: _pin(_wanted(image, asked, environment), environment)
        for name, image in images.items()
    }
    if len({wanted.name for wanted in pinned.values()}) != len(pinned):
        raise BusbenchError(Code.USAGE, "Two of the images are the same.", "Name each once.")
    alone = len(images) * len(facts) == 1
    jobs = []
    for bundle, told in zip(asked.bundles, facts, strict=True):
        given = offer(bundle, sorted(bundle.rglob("*")), asked.inputs)
        for name, wanted in pinned.items():
            place = asked.out if alone else asked.out / told.track / name
            jobs.append(
                TrainImage(name, wanted, asked.command, given, told, place, asked.keys, environment)
            )
    return jobs


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


def _wanted(image: str, asked: TrainRequest, environment: ExecutionEnvironment) -> ImageRequest:
    return ImageRequest(image, asked.pull, environment.challenge.images.max_mb, asked.own_command)


def _pin(wanted: ImageRequest, environment: ExecutionEnvironment) -> ImageRequest:
    """The image by digest or id: what a tag means is asked of this machine's engine, once."""
    if wanted.name == REFERENCE or "sha256:" in wanted.name:
        return wanted
    with environment.open_runner(quiet) as runner:
        return replace(wanted, name=image_id(runner, wanted, quiet) or wanted.name)

"""Submissions of either kind, accepted and scored; and the stages of container images that predict.

    RUN/predict/           masks of all images   made by the participant's container (images alone)
    RUN/predict-again/     masks of a sample     made by a second start of it
    RUN/predict*.usage.json                      what the container took
    RUN/infer/             predictions           made of them by the collect container (no labels)

Before each start a container of ours decrypts the images into a volume in memory, which the
participant's container reads, and which is gone with it. From `infer` on nothing differs from a
submission of ONNX files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evaluator.documents.base import read
from evaluator.documents.inference import GateVerdict
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import AnySubmission, ImageSubmission
from evaluator.errors import BusbenchError, Code, Fault
from evaluator.files import canonical_json
from evaluator.images.naming import FOLDER, LIST, shown
from harness.challenge import Challenge, Kind
from harness.declared import StatedTrack, check_accepted, check_track
from harness.evaluation import known_good, stages
from harness.evaluation.sealed_files import SealedFiles, SealedImages
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.stage_commands import command, infer_stage
from harness.sandbox import Runner, Stage
from harness.sandbox.cached import AGAIN, Context
from harness.sandbox.stage import RunnerName, StageUsage
from harness.sealing.documents import TrainingBundle
from harness.sealing.training import TrainingSet
from harness.submission import DOCUMENT, read_entry, require_folds, take

if TYPE_CHECKING:
    from harness.sandbox.docker_runner import DockerRunner

Start = Literal["first", "again"]
PLACES: dict[Start, str] = {"first": "predict", "again": "predict-again"}


def check(
    folder: Path,
    context: Context,
    log: Path | None = None,
    *,
    training: TrainingSet | None = None,
) -> GateVerdict:
    """Tell whether a submission of either kind would be taken, without any label.

    Args:
        log: where the gate's whole log goes.
        training: the training bundle of its track; null: challenge.yaml alone says what tracks
            have, and nobody how large images are.

    Raises:
        BusbenchError: `submission-invalid`; else as `pass_gate`, with the reason.
    """
    with tempfile.TemporaryDirectory(prefix="busbench-check-") as name:
        work, where = Path(name), folder / DOCUMENT
        bundle = None if training is None else training.bundle
        track = None if bundle is None else bundle.track
        submission = take(folder, work / "submission", track)
        require_accepted(context.challenge, submission, where)
        _require_suited(submission, context.challenge, bundle, where=where)
        cases = () if training is None else [each.case for each in training.cases]
        return pass_gate(work, context, log, cases=cases)


def _require_suited(
    submission: AnySubmission,
    challenge: Challenge,
    bundle: TrainingBundle | None,
    *,
    where: Path,
) -> None:
    """Refuse a submission for a track or folds that are not there, before anything is run."""
    stated = StatedTrack(submission.track) if bundle is None else bundle.stated_track
    if (problem := check_track(challenge, stated)) is not None:
        remedy = "Name a track that is declared, and check against its challenge and bundle."
        raise BusbenchError(Code.SUBMISSION_INVALID, f"{where}: {problem}.", remedy)
    declared = challenge.tracks.get(submission.track)
    folds = declared.folds if declared is not None else bundle.folds if bundle is not None else None
    require_folds(submission, folds, where)


def require_accepted(
    challenge: Challenge, submission: AnySubmission, where: str | Path, *, track: str | None = None
) -> None:
    """Refuse a kind of submission that a track does not take.

    Args:
        track: where it is tested; null: its own track.
        where: its document, for the error.

    Raises:
        BusbenchError: `submission-invalid`.
    """
    kind: Kind = "image" if isinstance(submission, ImageSubmission) else "onnx"
    if (problem := check_accepted(challenge, track or submission.track, kind)) is not None:
        remedy = "Hand in what the track takes, or ask the organiser."
        raise BusbenchError(Code.SUBMISSION_INVALID, f"{where}: {problem}.", remedy)


def pass_gate(
    folder: Path, context: Context, log: Path | None, *, cases: Sequence[SealedCase]
) -> GateVerdict:
    """Accept the submission in `folder`, ONNX files by the gate, an image by its inspection.

    Raises:
        BusbenchError: see `stages.pass_gate`; `image-refused`, `image-missing`.
    """
    submission = read_entry(folder / "submission")
    if isinstance(submission, ImageSubmission):
        return _accept(submission, context)
    return stages.pass_gate(folder, context, log, cases=cases)


def _accept(submission: ImageSubmission, context: Context) -> GateVerdict:
    pinned(submission, context)
    return GateVerdict(submission_sha256=submission.digest, models=())


def require_isolation(runner: Runner) -> DockerRunner:
    """The runner, if it is one that isolates a participant's image.

    Raises:
        BusbenchError: `usage`.
    """
    from harness.sandbox.docker_runner import DockerRunner  # noqa: PLC0415  the engine's client

    if not isinstance(runner, DockerRunner):
        raise _not_isolated()
    return runner


def _not_isolated() -> BusbenchError:
    message = "A container image cannot be run with --runner process, which does not isolate."
    return BusbenchError(Code.USAGE, message, "Use --runner docker.")


def require_image_settings(settings: EvaluateSettings, runner: RunnerName) -> None:
    """Refuse settings that have no effect on a container image, and a runner without isolation.

    Raises:
        BusbenchError: `usage`.
    """
    if runner == "process":
        raise _not_isolated()
    for name in ("backend", "batch_size", "precision"):
        if getattr(settings, name) != getattr(EvaluateSettings, name):
            option = f"--{name.replace('_', '-')}"
            message = f"{option} has no effect on a container image."
            raise BusbenchError(Code.USAGE, message, f"Leave {option} out.")


def pinned(submission: ImageSubmission, context: Context) -> str:
    """The id of a submission's image, which is fetched where it is missing, and was inspected.

    Raises:
        BusbenchError: see `resolve`.
    """
    from harness.sandbox.references import ImageRequest, resolve  # noqa: PLC0415  likewise

    request = ImageRequest(submission.image, max_mb=context.challenge.images.max_mb)
    return resolve(require_isolation(context.runner).client, request, context.progress)


def run_and_score(
    folder: Path, files: SealedFiles, settings: EvaluateSettings, *, context: Context
) -> None:
    """Make the masks of the accepted submission in `folder`, of either kind, and score them.

    Raises:
        BusbenchError: see `stages.infer_and_score`; `predictions-invalid`.
    """
    submission = read_entry(folder / "submission")
    if isinstance(submission, ImageSubmission):
        predict_masks(folder, submission, files, settings=settings, context=context)
        stages.score(folder, files, settings, context=context)
    else:
        stages.infer_and_score(folder, files, settings, context=context)


def predict_masks(
    folder: Path,
    submission: ImageSubmission,
    files: SealedImages,
    *,
    settings: EvaluateSettings,
    context: Context,
) -> None:
    """Run an image on all sealed images, and on a sample of them again; take its masks in.

    Raises:
        BusbenchError: `predictions-invalid`, `model-nondeterministic`; see `stages.run_models`.
    """
    if (folder / "infer").is_dir():
        return
    runner, image = require_isolation(context.runner), pinned(submission, context)
    for start in PLACES:
        stage = predict_stage(folder, image, start, settings=settings, challenge=context.challenge)
        if stage.output.is_dir():
            continue
        with (
            runner.volume(stage.limits) as volume,
            tempfile.TemporaryDirectory(prefix="busbench-unseal-") as name,
        ):
            fills = unseal_stage(Path(name), submission, files, start=start, stage=stage)
            runner.run(replace(fills, volume=volume), context.progress)
            try:
                context.run_once(replace(stage, volume=volume))
            except BusbenchError as error:
                if error.fault is Fault.SUBMISSION and stage.gpu:  # is the device there at all?
                    _require_device(folder, files, settings, context=context)
                raise
    _collect(folder, image, submission, files=files, settings=settings, context=context)


def _require_device(
    folder: Path, files: SealedImages, settings: EvaluateSettings, *, context: Context
) -> None:
    """Raise `device-unavailable` where not even a network of ours runs on the device."""
    infer = infer_stage(folder, files, settings=settings, challenge=context.challenge)
    stages.require_ready(infer, settings, context)


def _collect(
    folder: Path,
    image: str,
    submission: ImageSubmission,
    *,
    files: SealedImages,
    settings: EvaluateSettings,
    context: Context,
) -> None:
    """Turn the masks of both starts into predictions; see `stages.run_on_masks`."""

    def stage(place: Path) -> Stage:
        return collect_stage(
            place,
            folder,
            image,
            files=files,
            submission=submission,
            settings=settings,
            challenge=context.challenge,
        )

    def write_ours(place: Path) -> None:
        for start, name in PLACES.items():
            listed = shown(files.index(), submission.digest, again=start == "again")
            known_good.write_masks(place / name, listed)

    stages.run_on_masks(stage, folder, write_ours, does="takes", context=context)


def unseal_stage(
    folder: Path,
    submission: ImageSubmission,
    files: SealedImages,
    *,
    start: Start,
    stage: Stage,
) -> Stage:
    """Our decryption of the images that `stage` will see, into a volume that the caller makes.

    Args:
        folder: takes what it says of an error.
    """
    return Stage(
        name="unseal",
        component="infer",
        command=command(
            "unseal",
            images="{images}",
            key="-",
            volume="{volume}",
            out="{out}",
            submission=submission.digest,
            start=start,
        ),
        inputs={"images": files.images},
        secret=files.image_key,
        output=folder,
        limits=stage.limits,
        log=stage.output.with_name("unseal.log"),
        fills_volume=True,
    )


def predict_stage(
    folder: Path, image: str, start: Start, *, settings: EvaluateSettings, challenge: Challenge
) -> Stage:
    """The participant's image, which sees images alone; it writes to `folder/predict`.

    Args:
        image: its id.
    """
    place = PLACES[start]
    return Stage(
        name="predict",
        component=settings.component,
        image=image,
        command=command(
            "predict", images=f"{{volume}}/{FOLDER}", list=f"{{volume}}/{LIST}", out="{out}"
        ),
        inputs={},
        output=folder / place,
        limits=challenge.limits.infer,
        gpu=settings.device != "cpu",
        log=folder / f"{place}.log",
        usage=folder / f"{place}.usage.json",
    )


def collect_stage(
    place: Path,
    folder: Path,
    image: str,
    *,
    files: SealedImages,
    submission: ImageSubmission,
    settings: EvaluateSettings,
    challenge: Challenge,
) -> Stage:
    """Our intake of the masks in `place`, which sees no label; it writes to `place/infer`.

    Args:
        folder: of the run.
        image: the id of what was run.
    """
    limits = challenge.limits.infer
    usage = read(StageUsage, folder / "predict.usage.json", Code.OUTPUT_EXISTS, remedy=AGAIN)
    ran = {
        **usage.document(),
        "image": image,
        "device": settings.device,
        "threads": max(1, int(limits.cpus)),
    }
    return Stage(
        name="collect",
        component=settings.component,
        command=command(
            "collect",
            first="{first}",
            again="{again}",
            images="{images}",
            key="-",
            out="{out}",
            submission=submission.digest,
            ran=canonical_json(ran).decode(),
        ),
        inputs={
            "first": place / PLACES["first"],
            "again": place / PLACES["again"],
            "images": files.images,
        },
        secret=files.image_key,
        output=place / "infer",
        limits=limits,
        gpu=settings.device != "cpu",
        log=place / "collect.log",
    )

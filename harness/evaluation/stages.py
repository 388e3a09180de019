"""Stages of an evaluation: the command, the inputs and the limits of each container.

The wall between them is here: the model sees images and no labels, the scorer labels and no model.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyrage

from evaluator.documents.base import CaseId, read
from evaluator.documents.canvases import Canvases
from evaluator.documents.inference import (
    Backend,
    BatchSize,
    Device,
    EfficiencyLimits,
    GateVerdict,
    Precision,
    Runtime,
    require_precision,
)
from evaluator.documents.scores import Scores
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.documents.submission import AnySubmission, ImageSubmission
from evaluator.errors import BusbenchError, Code, Fault
from evaluator.files import canonical_json, write_atomically
from evaluator.metrics import VERSIONS
from evaluator.metrics.profiles import DEFAULT
from evaluator.predictions import RUNTIME, open_predictions, require_bound
from evaluator.sealed import open_sealed
from harness.challenge import Challenge, Component
from harness.evaluation import known_good
from harness.evaluation.sizes import canvases_of, require_images
from harness.sandbox import Runner, Stage
from harness.sandbox.cached import AGAIN, Context
from harness.sandbox.images import sources_digest
from harness.sandbox.stage import StageName
from harness.submission import read_entry, read_submission

KeyText = Callable[[], str]  # gives a key when a stage starts; nothing keeps it
LEFT_OUT = "left-out.json"  # of a run on another track than the submission's own
CASES = Path("score", "cases.parquet")  # of a run; `evaluator.scoring.score` writes it
RESCORED = "rescored"  # of a run: its predictions scored anew, a folder each time


@dataclass(frozen=True)
class EvaluateSettings:
    """How inference is run; the device is used or refused, never changed silently."""

    device: Device = "cpu"
    batch_size: BatchSize = "auto"
    backend: Backend = "onnxruntime"
    precision: Precision = "fp32"
    profile: str = DEFAULT  # that masks are measured by; the track's
    efficiency: EfficiencyLimits | None = None  # of the track; on validation folds none
    probabilities: bool = False  # whether the track asks for them; on validation folds not

    def __post_init__(self) -> None:
        require_precision(self.device, self.precision)

    def due_threshold(self, submission: AnySubmission) -> float | None:
        """The threshold of the probabilities that a submission owes; None where it owes none.

        A container image, and a network that gives masks, have none to give.
        """
        if not self.probabilities or isinstance(submission, ImageSubmission):
            return None
        return None if submission.output.kind == "mask" else submission.output.threshold

    @property
    def component(self) -> Component:
        """The image that the model runs in.

        A Triton server is in the image of its client, whose container has no network to reach
        another; CUDA's libraries, which are large, are in an image of their own.
        """
        if self.backend == "triton":
            return "triton"
        return "infer" if self.device == "cpu" else "infer-gpu"

    @property
    def components(self) -> Mapping[str, Component]:
        """The image of each stage; first that of inference, which may need a device."""
        return {"infer": self.component, "gate": "infer", "score": "score"}

    def identify(self, runner: Runner) -> dict[str, str]:
        """What each stage runs, and what that is made from; see `Runner`."""
        found = {stage: runner.identify(image) for stage, image in self.components.items()}
        return {**found, "base": runner.identify_base()}

    def decides(self, runner: str, challenge: Challenge) -> dict[str, Any]:
        """What of an evaluation's code and settings decides its result, for a job's key."""
        sources = {
            stage: sources_digest(image, challenge.images)
            for stage, image in self.components.items()
        }
        limits = None if self.efficiency is None else self.efficiency.document()
        settings = {**asdict(self), "efficiency": limits}
        return {"evaluator": sources, "runner": runner, "settings": settings}


@dataclass(frozen=True)
class SealedImages:
    """Sealed images, readable for a container's user, and the key that opens them."""

    images: Path
    image_key: KeyText = field(repr=False)

    def index(self) -> SealedIndex:
        """What the archive says of its cases."""
        key = pyrage.x25519.Identity.from_str(self.image_key().strip())
        with open_sealed(self.images, key) as (index, _):
            return index


@dataclass(frozen=True)
class SealedFiles(SealedImages):
    """Sealed cases: the images, and the labels with a key of their own."""

    labels: Path
    label_key: KeyText = field(repr=False)
    left_out: tuple[CaseId, ...] = ()  # test cases that are not scored


def pass_gate(
    folder: Path, context: Context, log: Path | None, *, cases: Sequence[SealedCase]
) -> GateVerdict:
    """Run the gate on the submission in `folder`, or find that it ran, within the same limits.

    One container loads the models; another, with another user, writes the verdict. Where either
    ends without one that can be read, a submission of ours is tried: the gate opens hostile files,
    so what becomes of it is theirs unless ours fares no better.

    Args:
        log: where the whole log goes.
        cases: whose images it is for, by whose sizes a native model is tried; none: not known.

    Raises:
        BusbenchError: `gate-refused`, or the limit that was met; `submission-invalid` where the
            images cannot be prepared as declared; whatever the machine is to blame for, where our
            own submission does not pass.
    """
    submission = read_submission(folder / "submission")
    require_images(submission, cases)
    canvases = canvases_of(submission.input, cases)
    _discard_other_verdict(folder, context.challenge, canvases)
    try:
        context.run_once(replace(gate_stage(folder, context.challenge, canvases), log=log))
        context.run_once(verdict_stage(folder, context.challenge))
        return read_verdict(folder)
    except BusbenchError as error:
        if error.fault is Fault.SUBMISSION and not error.explained:
            with tempfile.TemporaryDirectory(prefix="busbench-known-good-") as name:
                known_good.write_submission(Path(name, "submission"))
                for stage in (gate_stage, verdict_stage):
                    context.run_once(replace(stage(Path(name), context.challenge), name="ready"))
                read_verdict(Path(name), Code.STAGE_CRASHED)
        raise


def _discard_other_verdict(folder: Path, challenge: Challenge, canvases: Canvases | None) -> None:
    """Remove a verdict that was given within other limits than those of now, which are noted."""
    limits = challenge.limits
    asked = canonical_json(
        {
            "model": limits.model.model_dump(),
            "gate": limits.gate.model_dump(),
            "canvases": None if canvases is None else canvases.model_dump(mode="json"),
        }
    )
    note = folder / "gate.limits.json"
    if not note.is_file() or note.read_bytes() != asked:
        for stage in ("gate", "verdict"):
            shutil.rmtree(folder / stage, ignore_errors=True)
        write_atomically(note, asked)


def infer_and_score(
    folder: Path, files: SealedFiles, settings: EvaluateSettings, *, context: Context
) -> None:
    """Run the model of `folder`, whose submission passed the gate, and score its masks."""
    run_models(folder, files, settings, context=context)
    score(folder, files, settings, context=context)


def run_models(
    folder: Path, files: SealedImages, settings: EvaluateSettings, *, context: Context
) -> None:
    """Run the models of `folder`, whose submission passed the gate, on every image.

    Before a submission is blamed for inference, a container without it tries whether the key, the
    images and the device are there: what the stage itself says of them is not believed.
    """
    infer = infer_stage(folder, files, settings=settings, challenge=context.challenge)
    try:
        context.run_once(infer)
    except BusbenchError as error:
        if error.fault is Fault.SUBMISSION:
            require_ready(infer, settings, context)
        raise


def require_ready(infer: Stage, settings: EvaluateSettings, context: Context) -> None:
    """Raise what is wrong with the key, the images or the device; see `ready_stage`."""
    with tempfile.TemporaryDirectory(prefix="busbench-ready-") as name:
        ready = replace(ready_stage(infer, settings), output=Path(name))
        context.runner.run(ready, context.progress)


def score(
    folder: Path, files: SealedFiles, settings: EvaluateSettings, *, context: Context
) -> None:
    """Score the predictions in `folder/infer`, once they are whole and within the track's limits.

    Raises:
        BusbenchError: `predictions-invalid`, `limit-efficiency`.
    """
    require_whole(folder, files, settings)
    if settings.efficiency is not None:
        require_efficient(folder, settings.efficiency)
    _score(folder, files, settings, context=context)


def _score(
    folder: Path, files: SealedFiles, settings: EvaluateSettings, *, context: Context
) -> None:
    """Score what inference left in `folder`; see `run_on_masks`."""

    def stage(place: Path) -> Stage:
        return score_stage(
            place / "infer",
            place,
            labels=files.labels,
            key=files.label_key,
            profile=settings.profile,
            challenge=context.challenge,
            left_out=write_left_out(place, files.left_out),
        )

    def write_ours(place: Path) -> None:
        submission = read_entry(folder / "submission")
        known_good.write_predictions(
            place / "infer",
            submission,
            files.index(),
            threshold=settings.due_threshold(submission),
        )

    run_on_masks(stage, folder, write_ours, does="scores", context=context)


def run_on_masks(
    stage: Callable[[Path], Stage],
    folder: Path,
    write_ours: Callable[[Path], None],
    *,
    does: str,
    context: Context,
) -> None:
    """Run a stage of ours that reads a participant's masks.

    Args:
        stage: gives the stage on the masks in a folder.
        folder: of the run, with the participant's.
        write_ours: writes masks of ours, of the same images, to a folder.
        does: what the stage does with masks, for the error.

    Raises:
        BusbenchError: `predictions-invalid`, also where the stage ends without a result on these
            masks alone; else whatever it ends with.
    """
    try:
        context.run_once(stage(folder))
    except BusbenchError as error:
        if error.code not in (Code.STAGE_CRASHED, Code.LIMITS_TOO_LOW):
            raise
        with tempfile.TemporaryDirectory(prefix="busbench-known-good-") as name:
            write_ours(Path(name))
            context.run_once(stage(Path(name)))
        tried = stage(folder)
        raise BusbenchError(
            Code.PREDICTIONS_INVALID,
            f"The {tried.name} stage ends without a result on these masks, and {does} masks of "
            "ours.",
            f"Look at the masks and at the whole log, {tried.log}.",
            stage=error.stage,
        ) from error


def require_whole(folder: Path, files: SealedImages, settings: EvaluateSettings) -> None:
    """Refuse what inference left unless it is every declared model on every sealed case.

    With the probabilities that are due, and no others.

    Here, because the scorer does not know what was declared, and inference may have been taken
    over.

    Raises:
        BusbenchError: `predictions-invalid`.
    """
    submission = read_entry(folder / "submission")
    index = files.index()
    try:
        require_bound(
            open_predictions(folder / "infer"),
            submission.digest,
            submission.folds,
            index=index,
            threshold=settings.due_threshold(submission),
        )
    except BusbenchError as error:
        error.stage = "infer"
        raise


def read_runtime(folder: Path) -> Runtime:
    """What a finished infer stage says that it ran on, from `folder/infer`."""
    return read(Runtime, folder / "infer" / RUNTIME, Code.PREDICTIONS_INVALID, remedy=AGAIN)


def known_profile(scores: Scores, where: str) -> str:
    """The metric profile of scores, if this release can compute it.

    Raises:
        BusbenchError: `usage`, naming the profile.
    """
    stated = scores.metric_profile
    known = VERSIONS.get(stated.label)
    if known is None or known.identity != stated:
        message = f"{where} was scored by {stated.title}, which this release does not define so."
        raise BusbenchError(Code.USAGE, message, "Use the release of BUSBench that scored it.")
    return stated.label


def read_scores(folder: Path) -> Scores:
    """What a finished score stage left, from `folder/score`."""
    return read(Scores, folder / "score" / "scores.json", Code.STAGE_CRASHED, remedy=AGAIN)


def require_efficient(folder: Path, limits: EfficiencyLimits) -> None:
    """Refuse a model that took more than its track allows, as the infer stage measured it.

    Raises:
        BusbenchError: `limit-efficiency`, naming each limit that is exceeded, and the value.
    """
    problem = limits.check(read_runtime(folder).measured)
    if problem is not None:
        remedy = "Hand in a smaller or faster model; these limits are the track's `efficiency`."
        message = f"The model takes more than challenge.yaml allows: {problem}."
        raise BusbenchError(Code.LIMIT_EFFICIENCY, message, remedy, stage="infer")


def gate_stage(folder: Path, challenge: Challenge, canvases: Canvases | None = None) -> Stage:
    """The gate's load of the models, which sees them alone; it writes to `folder/gate`.

    Args:
        canvases: that native models are tried at.
    """
    return Stage(
        name="gate",
        component="infer",
        command=command(
            "gate",
            submission="{submission}",
            out="{out}",
            limits=challenge.limits.model.model_dump_json(),
            **({} if canvases is None else {"canvases": canvases.model_dump_json()}),
        ),
        inputs={"submission": folder / "submission"},
        output=folder / "gate",
        limits=challenge.limits.gate,
        log=folder / "gate.log",
    )


def verdict_stage(folder: Path, challenge: Challenge) -> Stage:
    """The gate's verdict, where no model is loaded; it writes to `folder/verdict`."""
    loaded = "{loaded}/gate.json"
    return Stage(
        name="verdict",
        component="infer",
        command=command(
            "verdict",
            submission="{submission}",
            loaded=loaded,
            out="{out}",
            limits=challenge.limits.model.model_dump_json(),
        ),
        inputs={"submission": folder / "submission", "loaded": folder / "gate"},
        output=folder / "verdict",
        limits=challenge.limits.gate,
    )


def read_verdict(folder: Path, code: Code = Code.GATE_REFUSED) -> GateVerdict:
    """The verdict that the gate left in `folder/verdict`."""
    remedy = "Export the model again; `busbench check` shows what the gate sees."
    return read(GateVerdict, folder / "verdict" / "gate.json", code, remedy=remedy)


def infer_stage(
    folder: Path, files: SealedImages, *, settings: EvaluateSettings, challenge: Challenge
) -> Stage:
    """The model, which sees images and no labels; it writes to `folder/infer`.

    Args:
        folder: of the run; its `submission` has passed the gate, whose verdict is in `verdict`.
    """
    limits = challenge.limits.infer
    submission = command("infer", submission="{submission}", gate="{gate}/gate.json")
    return Stage(
        name="infer",
        component=settings.component,
        command=(
            *submission,
            *_on_images(settings, limits.cpus),
            *(["--probabilities"] if settings.probabilities else []),
        ),
        inputs={
            "submission": folder / "submission",
            "gate": folder / "verdict",
            "images": files.images,
        },
        secret=files.image_key,
        output=folder / "infer",
        limits=limits,
        gpu=settings.device != "cpu",
        log=folder / "infer.log",
    )


def ready_stage(infer: Stage, settings: EvaluateSettings) -> Stage:
    """As `infer`, but without anything of a participant's: what it says can be believed."""
    return replace(
        infer,
        name="ready",
        command=("ready", *_on_images(settings, infer.limits.cpus)),
        inputs={"images": infer.inputs["images"]},
        log=infer.output.with_name("ready.log"),
    )


def _on_images(settings: EvaluateSettings, cpus: float) -> tuple[str, ...]:
    limits = settings.efficiency
    return command(
        images="{images}",
        key="-",
        out="{out}",
        device=settings.device,
        threads=max(1, int(cpus)),
        batch_size=settings.batch_size,
        backend=settings.backend,
        precision=settings.precision,
        **({} if limits is None else {"efficiency": limits.model_dump_json()}),
    )


def command(*name: str, **options: str | int) -> tuple[str, ...]:
    """A stage's command: its name, and `--option value` for each option."""
    words = ((f"--{option.replace('_', '-')}", str(value)) for option, value in options.items())
    return (*name, *(word for pair in words for word in pair))


def write_left_out(folder: Path, left_out: Sequence[CaseId]) -> Path | None:
    """Write the cases that the scorer leaves out; None where there are none."""
    if not left_out:
        return None
    write_atomically(folder / LEFT_OUT, canonical_json([*left_out]))
    return folder / LEFT_OUT


def score_stage(
    predictions: Path,
    folder: Path,
    *,
    labels: Path,
    key: KeyText,
    profile: str,
    challenge: Challenge,
    left_out: Path | None = None,
) -> Stage:
    """The scorer, which sees predictions and labels and no model; it writes to `folder/score`.

    Args:
        profile: the version of the metric profile that masks are measured by.
        left_out: as `write_left_out` wrote it.
    """
    inputs = {"predictions": predictions, "labels": labels}
    inputs |= {} if left_out is None else {"left_out": left_out}
    places = {name: f"{{{name}}}" for name in inputs}
    return Stage(
        name="score",
        component="score",
        command=command("score", **places, key="-", out="{out}", profile=profile),
        inputs=inputs,
        secret=key,
        output=folder / "score",
        limits=challenge.limits.score,
        log=folder / "score.log",
    )


def begun_stage(folder: Path) -> StageName | None:
    """The stage of an evaluation in `folder` that was begun and never ended."""
    stages: tuple[StageName, ...] = ("gate", "verdict", "infer", "score")
    begun = (name for name in stages if (folder / f"{name}.partial").exists())
    return next(begun, None)

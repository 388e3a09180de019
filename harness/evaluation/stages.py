"""Stages of an evaluation, run in their order: gate, inference, scoring.

Where one fails, a known good input tells whose fault it is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from evaluator.documents.canvases import Canvases
from evaluator.documents.inference import (
    GateVerdict,
)
from evaluator.documents.sealed import SealedCase
from evaluator.errors import BusbenchError, Code, Fault
from evaluator.files import canonical_json, disk_errors, write_atomically
from harness.challenge import Challenge
from harness.evaluation import known_good
from harness.evaluation.sealed_files import SealedFiles, SealedImages
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.sizes import canvases_of, require_images
from harness.evaluation.stage_commands import (
    gate_stage,
    infer_stage,
    ready_stage,
    score_stage,
    verdict_stage,
    write_left_out,
)
from harness.evaluation.stage_output import read_verdict, require_efficient, require_whole
from harness.sandbox import Stage
from harness.sandbox.cached import Context
from harness.submission import read_entry, read_submission


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
    """Remove a verdict that was given within other limits than those of now, which are noted.

    Raises:
        BusbenchError: `permission-denied` where it cannot be removed, so that it is not taken.
    """
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
        for place in (folder / "gate", folder / "verdict"):
            with disk_errors(place):
                if place.exists():
                    shutil.rmtree(place)
        write_atomically(note, asked)


def ahead(
    folder: Path, files: SealedFiles, settings: EvaluateSettings, *, context: Context
) -> AbstractContextManager[None]:
    """Let what follows the gate get ready meanwhile; each stage reads nothing before its turn."""
    challenge = context.challenge
    return context.ahead(
        (
            verdict_stage(folder, challenge),
            infer_stage(folder, files, settings=settings, challenge=challenge),
            _scoring(folder, files, settings, challenge=challenge),
        )
    )


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
        return _scoring(place, files, settings, challenge=context.challenge)

    def write_ours(place: Path) -> None:
        submission = read_entry(folder / "submission")
        known_good.write_predictions(
            place / "infer",
            submission,
            files.index(),
            threshold=settings.due_threshold(submission),
        )

    run_on_masks(stage, folder, write_ours, does="scores", context=context)


def _scoring(
    place: Path, files: SealedFiles, settings: EvaluateSettings, *, challenge: Challenge
) -> Stage:
    """The scorer of the masks in `place/infer`."""
    return score_stage(
        place / "infer",
        place,
        labels=files.labels,
        key=files.label_key,
        profile=settings.profile,
        challenge=challenge,
        left_out=write_left_out(place, files.left_out),
    )


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

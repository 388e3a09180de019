"""Commands of the stages of an evaluation: the inputs, the output and the limits of each container.

The wall between them is here: the model sees images and no labels, the scorer labels and no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluator.documents.base import CaseId
from evaluator.documents.canvases import Canvases
from evaluator.files import canonical_json, write_atomically
from harness.challenge import Challenge
from harness.evaluation.sealed_files import KeyText, SealedImages
from harness.evaluation.settings import EvaluateSettings
from harness.sandbox import Stage

LEFT_OUT = "left-out.json"  # of a run on another track than the submission's own


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

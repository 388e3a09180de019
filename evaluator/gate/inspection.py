"""The gate from a submission's folder to what was found, and its stage.

It loads models, so what it leaves is the word of a process that a model may have taken over. The
verdict is written by `evaluator.gate.verdict`, which loads none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from onnx import ModelProto

from evaluator.documents.base import read, write
from evaluator.documents.canvases import Canvases
from evaluator.documents.inference import CountedModel, GateVerdict
from evaluator.documents.reading import load_json
from evaluator.documents.submission import ModelFile, ModelLimits, Submission
from evaluator.errors import Code
from evaluator.gate.contained import Opener, open_opener
from evaluator.gate.ending import is_bent
from evaluator.gate.first_load import Verdict, finding, first_load, measure
from evaluator.gate.intake import load
from evaluator.gate.parameters import parameters
from evaluator.gate.rules import apply_rules
from evaluator.gate.subject import Finding, GateLimits, GateRefused, Subject
from evaluator.gate.survey import Survey, survey
from evaluator.progress import Progress, print_line, quiet


def inspect(
    folder: Path,
    submission: Submission,
    limits: GateLimits = GateLimits(),  # noqa: B008 - frozen
    *,
    canvases: Canvases | None = None,
    progress: Progress = quiet,
) -> GateVerdict:
    """Check every declared model file of a submission.

    Args:
        folder: where `submission.yaml` and the ONNX files lie; files it does not name are ignored.
        submission: the validated `submission.yaml`.
        canvases: of the images that native models are for; None: nobody says how large they are.

    Returns:
        The verdict, with what was counted off each graph.

    Raises:
        GateRefused: `gate-refused`, with the findings of every file that does not pass.
    """
    sizes = canvases or Canvases.of(submission.input)

    with open_opener() as opener:

        def check(declared: ModelFile) -> CountedModel | list[Finding]:
            return _inspect_one(
                folder, declared, submission, opener=opener, limits=limits, canvases=sizes
            )

        return each_model(submission, check, step="gate: models checked", progress=progress)


def each_model(
    submission: Submission,
    check: Callable[[ModelFile], CountedModel | list[Finding]],
    *,
    step: str,
    progress: Progress,
) -> GateVerdict:
    """The verdict of a check of every declared model; raises `GateRefused` with all findings."""
    findings: list[Finding] = []
    counted: list[CountedModel] = []
    total = len(submission.models)
    for done, declared in enumerate(submission.models):
        progress(step, done, total)
        outcome = check(declared)
        if isinstance(outcome, CountedModel):
            counted.append(outcome)
        else:
            findings.extend(outcome)
    progress(step, total, total)
    if findings:
        raise GateRefused(tuple(findings))
    return GateVerdict(submission_sha256=submission.digest, models=tuple(counted))


def read_off(
    folder: Path, declared: ModelFile, submission: Submission, *, limits: GateLimits
) -> tuple[Survey, CountedModel] | list[Finding]:
    """A model that passes every rule, and what is counted without loading it; or the findings."""
    model = load(folder, declared, limits)
    if not isinstance(model, ModelProto):
        return model
    seen = survey(model)
    findings = apply_rules(Subject(seen, submission, limits), declared.file)
    if findings:
        return findings
    return seen, CountedModel(
        fold=declared.fold,
        sha256=declared.sha256,
        opset=seen.imports[None][""],
        nodes=seen.expanded(None, limits.model.nodes),
        parameters=parameters(seen),
        gmacs=None,
    )


def _inspect_one(
    folder: Path,
    declared: ModelFile,
    submission: Submission,
    *,
    opener: Opener,
    limits: GateLimits,
    canvases: Canvases,
) -> CountedModel | list[Finding]:
    found = read_off(folder, declared, submission, limits=limits)
    if isinstance(found, list):
        return found
    seen, counted = found
    cost = measure(seen.model, submission, limits, opener=opener, canvases=canvases)
    bent = is_bent(seen)
    del found, seen  # the next process needs the memory
    if isinstance(cost, Verdict):
        return [finding(cost, declared.file)]
    verdict = first_load(
        folder / declared.file,
        submission,
        limits,
        opener=opener,
        canvases=canvases,
        gmacs=cost.gmacs,
        bent=bent,
    )
    if verdict is not None:
        return [finding(verdict, declared.file)]
    return counted.model_copy(update={"gmacs": cost.gmacs})


PATHS = ("submission", "out")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The organiser's limits, and how large images are."""
    default = ModelLimits().model_dump_json()
    parser.add_argument("--limits", default=default, metavar="JSON", help="`limits.model`")
    parser.add_argument("--canvases", type=Canvases.model_validate_json, metavar="JSON")


def limits_of(args: argparse.Namespace) -> GateLimits:
    """The gate's limits, with the organiser's among them."""
    return GateLimits(ModelLimits.model_validate(load_json(args.limits.encode())))


def run(args: argparse.Namespace) -> None:
    """Check a submission's files before any runtime sees them, then load each model once."""
    declared, limits = declaration(args.submission), limits_of(args)
    sizes = args.canvases
    found = inspect(args.submission, declared, limits, canvases=sizes, progress=print_line)
    write(found, args.out / "gate.json")


def declaration(folder: Path) -> Submission:
    """The `submission.yaml` of a folder; raises `submission-invalid`."""
    remedy = "Compare it with submission_template/submission.yaml."
    path = folder / "submission.yaml"
    return read(Submission, path, Code.SUBMISSION_INVALID, remedy=remedy)

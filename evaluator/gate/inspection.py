"""The gate from a submission's folder to the verdict, and its stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from onnx import ModelProto

from evaluator.documents.base import read, write
from evaluator.documents.inference import CountedModel, GateVerdict
from evaluator.documents.reading import load_json
from evaluator.documents.submission import ModelFile, ModelLimits, Submission
from evaluator.errors import Code
from evaluator.gate.ending import is_bent
from evaluator.gate.first_load import Verdict, finding, first_load, measure
from evaluator.gate.intake import load
from evaluator.gate.parameters import parameters
from evaluator.gate.rules import apply_rules
from evaluator.gate.subject import Finding, GateLimits, GateRefused, Subject
from evaluator.gate.survey import survey


def inspect(
    folder: Path,
    submission: Submission,
    limits: GateLimits = GateLimits(),  # noqa: B008 - frozen
) -> GateVerdict:
    """Check every declared model file of a submission.

    Args:
        folder: where `submission.yaml` and the ONNX files lie; files it does not name are ignored.
        submission: the validated `submission.yaml`.

    Returns:
        The verdict, with what was counted off each graph.

    Raises:
        GateRefused: `gate-refused`, with the findings of every file that does not pass.
    """
    findings: list[Finding] = []
    counted: list[CountedModel] = []
    for declared in submission.models:
        outcome = _inspect_one(folder, declared, submission, limits=limits)
        if isinstance(outcome, CountedModel):
            counted.append(outcome)
        else:
            findings.extend(outcome)
    if findings:
        raise GateRefused(tuple(findings))
    return GateVerdict(submission_sha256=submission.digest, models=tuple(counted))


def _inspect_one(
    folder: Path, declared: ModelFile, submission: Submission, *, limits: GateLimits
) -> CountedModel | list[Finding]:
    model = load(folder, declared, limits)
    if not isinstance(model, ModelProto):
        return model
    seen = survey(model)
    findings = apply_rules(Subject(seen, submission, limits), declared.file)
    if findings:
        return findings
    opset = seen.imports[None][""]
    nodes, values = seen.expanded(None, limits.model.nodes), parameters(seen)
    cost, bent = measure(model, submission, limits), is_bent(seen)
    del model, seen  # the next process needs the memory
    if isinstance(cost, Verdict):
        return [finding(cost, declared.file)]
    verdict = first_load(folder / declared.file, submission, limits, gmacs=cost.gmacs, bent=bent)
    if verdict is not None:
        return [finding(verdict, declared.file)]
    return CountedModel(
        fold=declared.fold,
        sha256=declared.sha256,
        opset=opset,
        nodes=nodes,
        parameters=values,
        gmacs=cost.gmacs,
    )


PATHS = ("submission", "out")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The organiser's limits."""
    default = ModelLimits().model_dump_json()
    parser.add_argument("--limits", default=default, metavar="JSON", help="`limits.model`")


def run(args: argparse.Namespace) -> None:
    """Check a submission's files before any runtime sees them."""
    remedy = "Compare it with submission_template/submission.yaml."
    path = args.submission / "submission.yaml"
    submission = read(Submission, path, Code.SUBMISSION_INVALID, remedy=remedy)
    model = ModelLimits.model_validate(load_json(args.limits.encode()))
    write(inspect(args.submission, submission, GateLimits(model)), args.out / "gate.json")

"""Does a submission pass? The gate's one public function, from folder to verdict."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto

from evaluator.contract import CountedModel, GateVerdict, ModelFile, Submission
from evaluator.gate.findings import Finding, GateRefused
from evaluator.gate.first_load import Verdict, finding, first_load, measure
from evaluator.gate.intake import load
from evaluator.gate.limits import GateLimits
from evaluator.gate.parameters import parameters
from evaluator.gate.rules import apply_rules
from evaluator.gate.subject import Subject
from evaluator.gate.survey import DEFAULT_DOMAINS, survey

DEFAULT_LIMITS = GateLimits()


def inspect(
    folder: Path, submission: Submission, limits: GateLimits = DEFAULT_LIMITS
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
        outcome = _inspect_one(folder, declared, submission, limits)
        if isinstance(outcome, CountedModel):
            counted.append(outcome)
        else:
            findings.extend(outcome)
    if findings:
        raise GateRefused(tuple(findings))
    return GateVerdict(submission_sha256=submission.digest, models=tuple(counted))


def _inspect_one(
    folder: Path, declared: ModelFile, submission: Submission, limits: GateLimits
) -> CountedModel | list[Finding]:
    model = load(folder, declared, limits)
    if not isinstance(model, ModelProto):
        return model
    seen = survey(model)
    findings = apply_rules(Subject(seen, submission, limits), declared.file)
    if findings:
        return findings
    opset = next(item.version for item in model.opset_import if item.domain in DEFAULT_DOMAINS)
    nodes, values = seen.expanded(None, limits.max_nodes), parameters(seen)
    cost = measure(model, submission, limits)
    del model, seen  # the next process needs the memory
    if isinstance(cost, Verdict):
        return [finding(cost, declared.file)]
    verdict = first_load(folder / declared.file, submission, limits, cost.gmacs)
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

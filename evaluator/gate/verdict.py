"""The gate's verdict, written where no model was ever loaded, and its stage.

`evaluator.gate.inspection` loads models, so one of them may have written what it leaves. Here the
rules are applied and everything is counted again, by reading alone, in another container with
another user. Two things are taken from what was left: that the load ended well, and the work.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from evaluator.documents.base import read, write
from evaluator.documents.inference import CountedModel, GateVerdict
from evaluator.documents.submission import ModelFile, Submission
from evaluator.errors import Code
from evaluator.gate import inspection
from evaluator.gate.first_load import SENTENCES
from evaluator.gate.inspection import declaration, each_model, limits_of, read_off
from evaluator.gate.subject import Finding, GateLimits
from evaluator.progress import Progress, print_line, quiet
from evaluator.waiting import add_wait, wait


def conclude(
    folder: Path,
    submission: Submission,
    left: GateVerdict,
    *,
    limits: GateLimits = GateLimits(),  # noqa: B008 - frozen
    progress: Progress = quiet,
) -> GateVerdict:
    """The verdict on a submission, from its files and what the process that loaded them left.

    Args:
        folder: where `submission.yaml` and the ONNX files lie.
        left: what loading them gave; not believed where the files tell something else.

    Raises:
        GateRefused: `gate-refused`, with the findings of every file that does not pass.
    """
    claims = {(model.fold, model.sha256): model for model in left.models}

    def check(declared: ModelFile) -> CountedModel | list[Finding]:
        found = read_off(folder, declared, submission, limits=limits)
        if isinstance(found, list):
            return found
        claim = claims.get((declared.fold, declared.sha256))
        if claim is None or claim.model_copy(update={"gmacs": None}) != found[1]:
            says = f"{SENTENCES['G-CRASH']} What it left of its load is not what the file says."
            return [Finding("G-CRASH", declared.file, None, says)]
        if (claim.gmacs or 0) > limits.model.gmacs:
            return [Finding("G-COST", declared.file, None, SENTENCES["G-COST"])]
        return claim

    return each_model(submission, check, step="gate: models counted again", progress=progress)


PATHS = ("submission", "loaded", "out")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of the gate, and to be started ahead."""
    inspection.add_options(parser)
    add_wait(parser)


def run(args: argparse.Namespace) -> None:
    """Check a submission's files again without loading any, and write the verdict."""
    wait(args)
    remedy = "Export the model again; `busbench check` shows what the gate sees."
    left = read(GateVerdict, args.loaded, Code.GATE_REFUSED, remedy=remedy)
    declared, limits = declaration(args.submission), limits_of(args)
    found = conclude(args.submission, declared, left, limits=limits, progress=print_line)
    write(found, args.out / "gate.json")

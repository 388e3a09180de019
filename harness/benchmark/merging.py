"""How do the folds of one network become one submission? The harness puts their files together."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from evaluator.documents.base import read
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors
from harness.benchmark.fold import DOCUMENT, TrainFold, write_document
from harness.execution.job import JobResult
from harness.ledger.provenance import ProvenanceAttestation, trained_here, write_provenance
from harness.sealing.keys import Keys
from harness.submission import read_submission

AGAIN = "Remove the folds' folders and run the same command again."


def merge(folds: Sequence[TrainFold], out: Path) -> Submission:
    """Make the submission of all folds from those of each; the same folds give the same bytes.

    Raises:
        BusbenchError: `submission-invalid` where the folds are not of one method.
    """
    parts = [read_submission(fold.submission) for fold in folds]
    models = tuple(part.models[0] for part in parts)
    whole = {part.model_copy(update={"models": models}).digest for part in parts}
    if len(whole) != 1:
        message = f"The folds in {folds[0].folder.parent} are not of one method."
        raise BusbenchError(Code.SUBMISSION_INVALID, message, AGAIN)
    merged = Submission.model_validate(parts[0].model_copy(update={"models": models}).document())
    if not _holds(out, merged):
        _write(folds, merged, out)
    _note_origin(folds, merged, out)
    return merged


def _holds(out: Path, merged: Submission) -> bool:
    return (out / DOCUMENT).exists() and read_submission(out) == merged


def _write(folds: Sequence[TrainFold], merged: Submission, out: Path) -> None:
    partial = out.with_name(f".{out.name}.partial")
    with disk_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for fold, model in zip(folds, merged.models, strict=True):
            shutil.copyfile(fold.submission / model.file, partial / model.file)
        write_document(merged, partial / DOCUMENT)
        shutil.rmtree(out, ignore_errors=True)
        partial.replace(out)


def _note_origin(folds: Sequence[TrainFold], merged: Submission, out: Path) -> None:
    """Sign which image trained it, where one image trained all of it and nothing was given."""
    keys, split = Keys.open(folds[0].keys), folds[0].facts.split_digest
    given = any(read(JobResult, fold.result, Code.OUTPUT_EXISTS, AGAIN).given for fold in folds)
    images = {
        trained_here(fold.submission, read_submission(fold.submission), split, keys)
        for fold in folds
    }
    if not given and len(images) == 1 and (image := images.pop()) is not None:
        note = ProvenanceAttestation(
            image=image, submission_sha256=merged.digest, split_digest=split
        )
        write_provenance(note, out, keys)

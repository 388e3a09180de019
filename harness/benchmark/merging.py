"""One submission of the folds of a network; the harness puts their files together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluator.documents.base import read
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from harness.benchmark.fold import TrainFold
from harness.execution.job import JobResult
from harness.ledger.provenance import ProvenanceAttestation, trained_here, write_provenance
from harness.locking import locked
from harness.sealing.keys import Keys
from harness.submission import DOCUMENT, assemble, read_submission

AGAIN = "Remove the folds' folders and run the same command again."


def merged_submission(folds: Sequence[TrainFold]) -> Submission:
    """The document of all folds' models, from those of each; nothing is written.

    Raises:
        BusbenchError: `submission-invalid` where the folds are not of one method.
    """
    parts = [read_submission(fold.submission) for fold in folds]
    models = tuple(part.models[0] for part in parts)
    whole = {part.model_copy(update={"models": models}).digest for part in parts}
    if len(whole) != 1:
        message = f"The folds in {folds[0].folder.parent} are not of one method."
        raise BusbenchError(Code.SUBMISSION_INVALID, message, AGAIN)
    return Submission.model_validate(parts[0].model_copy(update={"models": models}).document())


def merge(folds: Sequence[TrainFold], out: Path) -> Submission:
    """Make the submission of all folds from those of each; the same folds give the same bytes.

    Raises:
        BusbenchError: see `merged_submission`.
    """
    merged = merged_submission(folds)
    with locked(out.with_name(f".{out.name}.lock")):
        if not (out / DOCUMENT).exists() or read_submission(out) != merged:
            by_file = dict(zip((model.file for model in merged.models), folds, strict=True))
            assemble(merged, lambda model: by_file[model.file].submission / model.file, out)
        _write_provenance(folds, merged, out)
    return merged


def _write_provenance(folds: Sequence[TrainFold], merged: Submission, out: Path) -> None:
    """Sign which image trained it, where one image trained all of it and nothing was given."""
    path, split = folds[0].environment.keys, folds[0].facts.split_digest
    assert path is not None
    keys = Keys.open(path)
    known = folds[0].environment.known_keys
    given = any(
        read(JobResult, fold.result, Code.OUTPUT_EXISTS, remedy=AGAIN).given for fold in folds
    )
    images = {
        trained_here(
            fold.submission, read_submission(fold.submission), split, keys=keys, known_keys=known
        )
        for fold in folds
    }
    if not given and len(images) == 1 and (image := images.pop()) is not None:
        note = ProvenanceAttestation(
            image=image, submission_sha256=merged.digest, split_digest=split
        )
        write_provenance(note, out, keys)

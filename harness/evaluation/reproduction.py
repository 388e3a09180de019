"""Reproduction of a recorded result: gate, inference and scoring again, from public files.

The test cases come from a case store that anyone with the dataset's release can prepare, and are
sealed to keys that are kept nowhere. What depends on the organiser's secret seeds cannot be
reproduced, and is left out by name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from evaluator.documents.inference import CountedModel
from evaluator.documents.scores import Scores
from evaluator.errors import BusbenchError, Code
from harness.evaluation.ephemeral import new_key
from harness.evaluation.review import differing, leaves_of
from harness.evaluation.sealed_files import SealedFiles
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.sizes import count_work
from harness.evaluation.stage_output import read_scores
from harness.evaluation.stages import ahead, infer_and_score, pass_gate
from harness.folders import let_all_read
from harness.ledger.report import Report
from harness.sandbox.cached import Context
from harness.sealing.bundle import Recipients, write_sealed
from harness.splits import FrozenSplit, require_store
from harness.store import CaseStore
from harness.submission import read_submission, take


@dataclass(frozen=True)
class Files:
    """What a result is reproduced from."""

    submission: Path
    split: FrozenSplit
    store: CaseStore


@dataclass(frozen=True)
class Reproduction:
    """A result that was computed again."""

    compared: int  # numbers and words
    scores: Scores
    differences: tuple[str, ...]
    left_out: tuple[str, ...]  # what cannot be compared, and why


def files_needed(report: Report) -> dict[str, str]:
    """What `reproduce` needs for a report: its option, and how to know and where to get it."""
    made, models = report.provenance, ", ".join(report.provenance.models_sha256)
    published = (
        f"`busbench prepare {report.dataset}` makes it from the dataset's release"
        if report.labels == "public"
        else "its labels are private: the organiser alone has it until they are released"
    )
    return {
        "--submission": f"the submission {made.submission_sha256}: submission.yaml and the ONNX "
        f"files with the digests {models}",
        "--split": f"the frozen split {report.dataset} {report.split_version} with the digest "
        f"{made.split_digest}",
        "--store": f"the case store of {report.dataset} that it was frozen from; {published}",
    }


def require_files(report: Report, files: Files) -> None:
    """Refuse files that are not those of the report.

    Raises:
        BusbenchError: `submission-invalid` or `split-invalid`, naming the digest that is needed.
    """
    needed = files_needed(report)
    if read_submission(files.submission).digest != report.provenance.submission_sha256:
        message = f"{files.submission} is not the submission of this entry."
        raise BusbenchError(Code.SUBMISSION_INVALID, message, f"Name {needed['--submission']}.")
    if files.split.lock.digest != report.provenance.split_digest:
        message = f"{files.split.path} is not the split of this entry."
        raise BusbenchError(Code.SPLIT_INVALID, message, f"Name {needed['--split']}.")
    require_store(files.split, files.store)


def reproduce(
    report: Report,
    files: Files,
    settings: EvaluateSettings,
    *,
    context: Context,
    tolerance: float = 0.0,
) -> Reproduction:
    """Evaluate a report's submission again and compare.

    Args:
        tolerance: by how much a number that is no count may differ, and one above 1 by which share
            of it; 0: not in its last bit.

    Raises:
        BusbenchError: where the files are not those of the report (`require_files`), or whatever
            a stage fails with.
    """
    require_files(report, files)
    with tempfile.TemporaryDirectory(prefix="busbench-reproduce-") as name:
        folder = Path(name)
        own = report.track if report.home is None else report.home.track
        take(files.submission, folder / "submission", own)
        sealed = _seal(report, files, folder)
        submission, cases = read_submission(folder / "submission"), sealed.index().cases
        with ahead(folder, sealed, settings, context=context):
            verdict = pass_gate(folder, context, None, cases=cases)
            infer_and_score(folder, sealed, settings, context=context)
        scores, models = read_scores(folder), count_work(verdict.models, submission.input, cases)
    left_out = dict(_left_out(report.scores))
    before = _comparable(report.scores, report.models, left_out)
    after = _comparable(scores, models, left_out)
    return Reproduction(
        compared=len(before.keys() | after.keys()),
        scores=scores,
        differences=tuple(differing(before, after, partial(_equal, tolerance=tolerance))),
        left_out=tuple(f"{pattern}: {why}" for pattern, why in left_out.items()),
    )


def _seal(report: Report, files: Files, folder: Path) -> SealedFiles:
    """The split's test part, sealed to new keys, without the pass of transformed images."""
    (images, image_key), (labels, label_key) = new_key(), new_key()
    place = folder / "sealed"
    write_sealed(
        place,
        files.store,
        files.split,
        part=report.part,
        recipients=Recipients(images, labels),
        track=report.track,
        labels=report.labels,
        windows=0,
    )
    let_all_read(place)
    archives = (place / "images.age", image_key, place / "labels.age", label_key)
    return SealedFiles(*archives, report.left_out)


def _comparable(
    scores: Scores, models: tuple[CountedModel, ...], left_out: Iterable[str]
) -> dict[str, object]:
    documents: dict[str, Any] = {
        "scores": scores.document(),
        "models": [model.document() for model in models],
    }
    return {
        name: value
        for name, value in leaves_of(documents).items()
        if not any(fnmatchcase(name, pattern) for pattern in left_out)
    }


def _left_out(scores: Scores) -> Iterator[tuple[str, str]]:
    """Patterns of the names that cannot be compared, and why."""
    yield "scores.predictions_sha256", "it covers the secret order of the cases"
    if any(group.consistency is not None for group in scores.groups.values()):
        yield "scores.groups.*.consistency*", "the seed of the transformed images is secret"
        yield "scores.invalid", "it counts masks of the transformed images, too"


def _equal(before: object, after: object, tolerance: float) -> bool:
    if isinstance(before, float) and isinstance(after, float):
        return abs(before - after) <= tolerance * max(1.0, abs(before))
    return before == after

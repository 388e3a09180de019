"""Output of the stages of an evaluation; nothing in it is believed unchecked."""

from __future__ import annotations

from pathlib import Path

from evaluator.documents.base import read
from evaluator.documents.inference import (
    EfficiencyLimits,
    GateVerdict,
    Runtime,
)
from evaluator.documents.scores import Scores
from evaluator.errors import BusbenchError, Code
from evaluator.metrics import VERSIONS
from evaluator.predictions import RUNTIME, open_predictions, require_bound
from harness.evaluation.sealed_files import SealedImages
from harness.evaluation.settings import EvaluateSettings
from harness.sandbox.cached import AGAIN
from harness.sandbox.stage import StageName
from harness.submission import read_entry

CASES = Path("score", "cases.parquet")  # of a run; `evaluator.scoring.score` writes it
RESCORED = "rescored"  # of a run: its predictions scored anew, a folder each time


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


def read_verdict(folder: Path, code: Code = Code.GATE_REFUSED) -> GateVerdict:
    """The verdict that the gate left in `folder/verdict`."""
    remedy = "Export the model again; `busbench check` shows what the gate sees."
    return read(GateVerdict, folder / "verdict" / "gate.json", code, remedy=remedy)


def begun_stage(folder: Path) -> StageName | None:
    """The stage of an evaluation in `folder` that was begun and never ended."""
    stages: tuple[StageName, ...] = ("gate", "verdict", "infer", "score")
    begun = (name for name in stages if (folder / f"{name}.partial").exists())
    return next(begun, None)

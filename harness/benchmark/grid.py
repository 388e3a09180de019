"""Jobs of a benchmark of networks on tracks, and where each leaves its result.

OUT/recipes/<network>.yaml           the recipe of every fold
OUT/<track>/<network>/given/         yours: `submission/` and `work/` of an earlier training
OUT/<track>/<network>/fold-<k>/      one training job, see `harness.benchmark.fold`
OUT/<track>/<network>/submission/    the folds put together
OUT/runs/                            the evaluations, see `harness.evaluation.evaluate`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from harness.benchmark.fold import Recipe, TrainFold
from harness.benchmark.merging import merge, merged_submission
from harness.benchmark.recipes import freeze_recipes
from harness.evaluation.evaluate import EvaluateSubmission
from harness.evaluation.job import submission_input
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.validation import ValidateSubmission
from harness.execution.inputs import Input, bundle_input
from harness.execution.job import ExecutionEnvironment, is_done
from harness.execution.scheduler import Chain
from harness.sealing.bundle import Bundles


@dataclass(frozen=True)
class Grid:
    """What to benchmark."""

    networks: tuple[str, ...]
    tracks: tuple[Bundles, ...]
    recipes: Mapping[str, Path]  # instead of the packaged ones
    out: Path
    environment: ExecutionEnvironment  # with the organiser's keys
    train_gpu: bool = False
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    inputs: str | None = None  # the address that jobs fetch what they read from

    @property
    def uses_gpu(self) -> bool:
        """Whether any job needs a GPU."""
        return self.train_gpu or self.evaluate.device != "cpu"


@dataclass(frozen=True)
class Cell:
    """One network on one track."""

    recipe: Recipe
    bundles: Bundles
    training: Input  # the bundles, for training jobs
    sealed: Input  # and for evaluation jobs
    grid: Grid

    @property
    def folder(self) -> Path:
        """Where all of it is kept."""
        return self.grid.out / self.bundles.sealed.track / self.recipe.network

    @property
    def folds(self) -> tuple[TrainFold, ...]:
        """The training jobs."""
        return tuple(
            TrainFold(
                recipe=self.recipe,
                bundle=self.training,
                facts=self.bundles.training,
                fold=fold,
                folder=self.folder / f"fold-{fold}",
                given=self.folder / "given",
                environment=self.grid.environment,
                gpu=self.grid.train_gpu,
            )
            for fold in range(self.bundles.training.folds)
        )

    @property
    def _submission(self) -> Path:
        return self.folder / "submission"

    def prepare_evaluation(self) -> EvaluateSubmission:
        """Put the trained folds together; the job that evaluates them."""
        merged = merge(self.folds, self._submission)
        return self._evaluation(
            merged, submission_input(self._submission, merged, self.grid.inputs)
        )

    def finished_evaluation(self) -> EvaluateSubmission | None:
        """The job that evaluated this cell, where all of it is done; nothing is written."""
        try:
            if not all(is_done(fold) for fold in self.folds):
                return None
            merged = merged_submission(self.folds)
            evaluation = self._evaluation(merged, Input(self._submission))
            return evaluation if is_done(evaluation) else None
        except BusbenchError:
            return None  # it is among the failed jobs, with its reason

    def _evaluation(self, merged: Submission, submission: Input) -> EvaluateSubmission:
        grid, facts = self.grid, self.bundles.sealed
        precision = grid.environment.challenge.precision_of(facts.track)
        how = replace(grid.evaluate, precision=precision)
        where = (grid.out / "runs", grid.environment)
        compared = None
        if precision != "fp32":
            public = (self.training, self.bundles.training)
            compared = ValidateSubmission(submission, merged, *public, *where, how)
        return EvaluateSubmission(submission, merged, self.sealed, facts, *where, how, compared)

    @property
    def chain(self) -> Chain:
        """The cell's jobs in their order."""
        return Chain(self.folds, self.prepare_evaluation)


def cells(grid: Grid) -> list[Cell]:
    """The grid's cells, track by track; freezes the recipes.

    Raises:
        BusbenchError: `usage` for a network without a recipe or a track named twice.
    """
    names = [bundles.sealed.track for bundles in grid.tracks]
    if len(set(names)) != len(names):
        raise BusbenchError(Code.USAGE, "--tracks names a track twice.", "Name each once.")
    recipes = freeze_recipes(grid.networks, grid.recipes, grid.out / "recipes")
    found = []
    for bundles in grid.tracks:
        training = bundle_input(bundles.path, "training", grid.inputs)
        sealed = bundle_input(bundles.path, "sealed", grid.inputs)
        found += [Cell(recipe, bundles, training, sealed, grid) for recipe in recipes]
    return found

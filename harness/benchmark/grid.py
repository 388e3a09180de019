"""Which jobs make a benchmark of networks on tracks, and where does each leave its result?

OUT/recipes/<network>.yaml           the recipe, as every fold is trained by it
OUT/<track>/<network>/given/         yours: `submission/` and `work/` of an earlier training
OUT/<track>/<network>/fold-<k>/      one training job, see `harness.benchmark.fold`
OUT/<track>/<network>/submission/    the folds put together
OUT/runs/                            the evaluations, see `harness.evaluation.job`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from harness.benchmark.fold import Recipe, TrainFold
from harness.benchmark.merging import merge
from harness.benchmark.recipes import freeze_recipes
from harness.evaluation.job import EvaluateSubmission
from harness.execution.inputs import Input, bundle_input, submission_input
from harness.execution.job import ExecutionEnvironment
from harness.execution.scheduler import Chain
from harness.sealing.bundle import Bundles


@dataclass(frozen=True)
class Grid:
    """What to benchmark."""

    networks: tuple[str, ...]
    tracks: tuple[Bundles, ...]
    recipes: Mapping[str, Path]  # instead of the packaged ones
    keys: Path
    out: Path
    environment: ExecutionEnvironment
    inputs: str | None = None  # the address that jobs fetch what they read from


@dataclass(frozen=True)
class Cell:
    """One network on one track."""

    recipe: Recipe
    bundles: Bundles
    training: Input  # the bundles, for who trains on them
    sealed: Input  # and for who evaluates
    grid: Grid

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return self.grid.out / self.bundles.sealed.track / self.recipe.network

    @property
    def folds(self) -> tuple[TrainFold, ...]:
        """The training jobs."""
        return tuple(
            TrainFold(
                self.recipe,
                self.training,
                self.bundles.training,
                fold,
                self.folder / f"fold-{fold}",
                self.folder / "given",
                self.grid.keys,
                self.grid.environment,
            )
            for fold in range(self.bundles.training.folds)
        )

    def evaluation(self) -> EvaluateSubmission:
        """The job that evaluates the trained folds, which must be done."""
        folder = self.folder / "submission"
        merged = merge(self.folds, folder)
        return EvaluateSubmission(
            submission_input(folder, merged, self.grid.inputs),
            merged,
            self.sealed,
            self.bundles.sealed,
            self.grid.keys,
            self.grid.out / "runs",
            self.grid.environment,
        )

    @property
    def chain(self) -> Chain:
        """The cell's jobs in their order."""
        return Chain(self.folds, self.evaluation)


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

"""Cached stages: an output folder gets its name when it is whole, so its presence means done.

A job has the lock of its folder while it runs stages in it: see `harness.execution.job.run_once`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from evaluator.documents.base import Contract, read, write
from evaluator.errors import Code
from evaluator.files import disk_errors
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge
from harness.folders import let_all_read
from harness.sandbox import Runner, Stage

AGAIN = "Remove the run's folder and run the same command again."
SECONDS = "seconds.json"  # beside the outputs of stages


class StageSeconds(Contract):
    """`seconds.json`: how long each finished stage of a run took; no digest covers it."""

    schema_: Literal["busbench/stage-seconds/v1"] = Field(
        default="busbench/stage-seconds/v1", alias="schema"
    )
    stages: tuple[tuple[str, float], ...]
    # ^ the name of each stage's output, and wall clock from when it may begin to its end


def read_seconds(folder: Path) -> dict[str, float]:
    """Seconds of the stages whose outputs lie in `folder`, by output; none of older runs."""
    path = folder / SECONDS
    if not path.exists():
        return {}
    return dict(read(StageSeconds, path, Code.OUTPUT_EXISTS, remedy=AGAIN).stages)


@dataclass(frozen=True)
class Context:
    """What all stages of one piece of work share."""

    runner: Runner
    challenge: Challenge
    progress: Progress = quiet
    keys: Path | None = None  # the organiser's key folder, where the work needs one

    def run_once(self, stage: Stage) -> Path:
        """Run `stage` unless its output folder is there.

        Returns:
            The output folder.

        Raises:
            BusbenchError: of whoever is to blame, see `Runner`.
        """
        done = stage.output
        if done.is_dir():
            return done
        partial = _partial(stage)
        with disk_errors(partial):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            begun = time.monotonic()
            self.runner.run(replace(stage, output=partial), self.progress)
            took = round(time.monotonic() - begun, 3)
            let_all_read(partial)  # another stage's container reads it
            partial.replace(done)
        known = {**read_seconds(done.parent), done.name: took}
        write(StageSeconds(stages=tuple(known.items())), done.parent / SECONDS)
        return done

    def ahead(self, stages: Iterable[Stage]) -> AbstractContextManager[None]:
        """Start those of `stages` that `run_once` will run, where the runner can; see `Runner`."""
        return self.runner.ahead(
            replace(stage, output=_partial(stage)) for stage in stages if not stage.output.is_dir()
        )


def _partial(stage: Stage) -> Path:
    """Where a stage's output is until it is whole."""
    return stage.output.with_name(f"{stage.output.name}.partial")

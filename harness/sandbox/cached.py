"""Cached stages: an output folder gets its name when it is whole, so its presence means done.

A job has the lock of its folder while it runs stages in it: see `harness.execution.job.run_once`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.files import disk_errors
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge
from harness.folders import let_all_read
from harness.sandbox import Runner, Stage

AGAIN = "Remove the run's folder and run the same command again."


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
        partial = done.with_name(f"{done.name}.partial")
        with disk_errors(partial):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            self.runner.run(replace(stage, output=partial), self.progress)
            let_all_read(partial)  # another stage's container reads it
            partial.replace(done)
        return done

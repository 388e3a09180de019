"""Running one stage so that its folder means done: a folder that is there is whole."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from evaluator.files import disk_errors
from evaluator.progress import Progress
from harness.sandbox import Runner, Stage

AGAIN = "Remove the run's folder and run the same command again."


def run_once(runner: Runner, stage: Stage, progress: Progress) -> Path:
    """Run `stage` unless its output folder is there; it gets its name only when it is finished.

    Returns:
        The output folder.
    """
    done = stage.output
    if done.is_dir():
        return done
    partial = done.with_name(f"{done.name}.partial")
    with disk_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        runner.run(replace(stage, output=partial), progress)
        partial.replace(done)
    return done


def stage_key(key: Path, folder: Path) -> Path:
    """A copy of a key that a container's user can read, in a folder that others cannot enter.

    Containers run as nobody, and the organiser's own key files are closed to nobody.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        copy = folder / key.name
        copy.unlink(missing_ok=True)
        copy.write_bytes(key.read_bytes())
        copy.chmod(0o444)
    return copy

"""What tests of jobs share: the command line, a small sealed track, recipes of a few steps."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from evaluator.progress import quiet
from harness.audit import audit
from harness.datasets import phantom
from harness.prepare import prepare
from harness.sealing.bundle import Bundles, Recipients, seal
from harness.sealing.keys import Keys
from harness.splits import freeze, make_secret

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "input: {height: 32, width: 32}\nbatch: 4\ncheckpoint_seconds: 0\n"


@dataclass(frozen=True)
class SealedTrack:
    """A sealed track of generated phantoms in two folds, and the keys that open it."""

    bundles: Bundles
    keys: Keys


def seal_phantoms(folder: Path) -> SealedTrack:
    """Generate, freeze and seal a few phantoms."""
    phantom.generate(folder / "raw", 10, 42, quiet)
    store = prepare("phantom", folder / "raw", folder / "store").store
    secret = make_secret(folder / "secret")
    split = freeze(store, audit(store), folder / "split", version="v1", folds=2, secret=secret)
    keys = Keys.new(folder / "keys")
    recipients = Recipients(keys.images.recipient, keys.labels.recipient)
    return SealedTrack(seal(store, split, recipients, folder / "bundles"), keys)


def write_recipe(path: Path, steps: int, network: str = "unext") -> Path:
    """A recipe that trains for a few steps at 32 pixels."""
    path.write_text(f"network: {network}\nsteps: {steps}\nvalidate_every: {steps // 2}\n{SETTINGS}")
    return path


def command(*words: str | Path) -> list[str]:
    """`busbench` as a command of its own."""
    return [sys.executable, "-m", "harness", *map(str, words)]


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `busbench` to its end."""
    return subprocess.run(
        command(*words),
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )

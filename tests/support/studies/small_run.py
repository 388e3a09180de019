"""A challenge in small, held against what the simulation says: submissions, a cluster, a ledger.

    python -m tests.support.studies.small_run [--submissions 24] [--cluster local:2]

Phantoms are generated and sealed, a small network is trained for a few steps, and handed in under
many names. A pilot of four is evaluated and shows what a job takes, what a start takes and what a
run leaves; from that, `tests.support.studies.capacity` predicts the rest. Then the rest is run.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from evaluator.inference.hardware import device_name
from tests.support import ROOT
from tests.support.jobs import seal_phantoms
from tests.support.studies.capacity import Load, simulate

PATIENTS, FOLDS, PILOT = 40, 2, 4
RECIPE = """network: unext
steps: 4
validate_every: 2
input: {height: 128, width: 128}
batch: 4
"""


@dataclass(frozen=True)
class Cost:
    """Of one call of the command."""

    seconds: float
    run_bytes: int  # that it added below --out
    ledger_bytes: int


@dataclass(frozen=True)
class Setup:
    """The folder of the small challenge, and how it is run."""

    root: Path
    cluster: str
    runner: str

    def evaluate(self, submissions: list[Path]) -> Cost:
        """`busbench evaluate` of these."""
        ledger, runs = self.root / "ledger.jsonl", self.root / "runs"
        before = size_of(runs), size_of(ledger)
        words = [sys.executable, "-m", "harness", "evaluate", *map(str, submissions)]
        words += ["--bundle", str(self.root / "bundles"), "--keys", str(self.root / "keys")]
        words += ["--out", str(runs), "--ledger", str(ledger)]
        words += ["--cluster", self.cluster, "--runner", self.runner]
        begun = time.monotonic()
        subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        taken = time.monotonic() - begun
        return Cost(taken, size_of(runs) - before[0], size_of(ledger) - before[1])


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def make_challenge(root: Path) -> Path:
    """Generate, freeze, seal and train; the submission's folder."""
    seal_phantoms(root, patients=PATIENTS, folds=FOLDS)
    (root / "recipe.yaml").write_text(RECIPE)
    words = [sys.executable, "-m", "reference_models", "train", "--all-folds"]
    words += ["--config", str(root / "recipe.yaml"), "--bundle", str(root / "bundles/training")]
    words += ["--out", str(root / "submission"), "--work", str(root / "work")]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return root / "submission"


def hand_in(submission: Path, number: int) -> Path:
    """The same models under another name, which makes another submission."""
    copy = submission.with_name(f"submission-{number:03d}")
    copy.mkdir()
    for file in submission.glob("*.onnx"):
        (copy / file.name).hardlink_to(file)
    lines = (submission / "submission.yaml").read_text().splitlines()
    named = [
        f"method: small-{number:03d}" if line.startswith("method:") else line for line in lines
    ]
    (copy / "submission.yaml").write_text("\n".join(named) + "\n")
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--submissions", type=int, default=24, help="beside the pilot")
    parser.add_argument("--cluster", default="local:2", help="with its number of slots")
    parser.add_argument("--runner", default="docker")
    args = parser.parse_args()
    slots = int(args.cluster.rpartition(":")[2])
    print(device_name("cpu"), file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="busbench-small-run-") as name:
        setup = Setup(Path(name), args.cluster, args.runner)
        submission = make_challenge(setup.root)
        first, *handed_in = (hand_in(submission, n) for n in range(1 + PILOT + args.submissions))
        setup.evaluate([first])  # images are built, caches filled
        pilot = setup.evaluate(handed_in[:PILOT])
        start = setup.evaluate(handed_in[:PILOT]).seconds  # all of it is done before
        rest = setup.evaluate(handed_in[PILOT:])
    job_seconds = (pilot.seconds - start) / math.ceil(PILOT / slots)
    load = Load(a_day=1, days=1, slots=slots, job_seconds=job_seconds, spread=0.1)
    predicted = start + simulate(load, times=[0.0] * args.submissions).finished
    share = args.submissions / PILOT
    print(
        f"One evaluation takes {job_seconds:.1f} s on a slot, the command's start {start:.1f} s.\n"
    )
    print(f"| {args.submissions} submissions on {args.cluster} | predicted | measured | ratio |")
    print("| --- | ---: | ---: | ---: |")
    rows = (
        ("wall time, s", predicted, rest.seconds),
        ("storage of runs, MB", pilot.run_bytes * share / 1e6, rest.run_bytes / 1e6),
        ("ledger, kB", pilot.ledger_bytes * share / 1e3, rest.ledger_bytes / 1e3),
    )
    for what, expected, found in rows:
        print(f"| {what} | {expected:,.1f} | {found:,.1f} | {found / expected:.2f} |")


if __name__ == "__main__":
    main()

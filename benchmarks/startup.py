"""One whole evaluation, split by stage: what is paid before and after the network runs.

Run from the project's root: `python -m benchmarks.startup`, with `--device cuda` on a GPU. Phantoms
are sealed, a fresh network is exported and handed in, and `busbench evaluate --runner process` is
run again and again, each time as a new command. `--beside FOLDER` names another checkout, which
takes turns with this one. Prints a section in Markdown.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

import torch

from benchmarks.timing import head, machine, row
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.files import sha256_bytes
from evaluator.inference.hardware import device_name
from harness.sandbox.cached import read_seconds
from harness.submission import assemble
from reference_models.export import OPSET, export_network
from reference_models.networks import NETWORKS, build
from tests.support import ROOT
from tests.support.jobs import seal_phantoms

WHOLE, CPU, REST = "whole", "whole, CPU", "command and ledger"
Taken = dict[str, list[float]]  # seconds of each round, by stage and in all


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--network", choices=NETWORKS, default="unext")
    parser.add_argument("--size", type=int, default=64, help="side of the network's input")
    parser.add_argument("--models", type=int, choices=(1, 5), default=1)
    parser.add_argument("--patients", type=int, default=40, help="a quarter of them are tested")
    parser.add_argument("--rounds", type=int, default=5, help="beside one that is not shown")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="another checkout")
    args = parser.parse_args()
    trees = {"now": ROOT} | ({} if args.beside is None else {"before": args.beside.resolve()})
    with tempfile.TemporaryDirectory(prefix="busbench-startup-") as name:
        cases = make_challenge(Path(name), args)
        taken = rounds(Path(name), trees, args)
    print(section(taken, args, cases))


def make_challenge(root: Path, args: argparse.Namespace) -> int:
    """Seal phantoms and hand in a fresh network; how many images are tested."""
    bundles = seal_phantoms(root, patients=args.patients, folds=5).bundles
    torch.manual_seed(0)
    network = build(args.network, image_size=args.size)
    data = export_network(network, torch.rand(2, 1, args.size, args.size), {}).data
    folds = [None] if args.models == 1 else list(range(args.models))
    submission = Submission(
        team="benchmark",
        method=args.network,
        track=bundles.sealed.track,
        input=InputSpec(height=args.size, width=args.size, resize="letterbox"),
        output=OutputSpec(),
        models=tuple(
            ModelFile(fold=fold, file=f"{fold}.onnx", sha256=sha256_bytes(data)) for fold in folds
        ),
        opset=OPSET,
    )
    assemble(submission, lambda _: data, root / "submission")
    return bundles.sealed.cases


def rounds(root: Path, trees: dict[str, Path], args: argparse.Namespace) -> dict[str, Taken]:
    """Seconds of each checkout's evaluations, which take turns; the first round warms up."""
    taken: dict[str, Taken] = {label: defaultdict(list) for label in trees}
    for number in range(1 + args.rounds):
        for label, tree in trees.items():
            found = evaluate(root, tree, args)
            load = f"load {os.getloadavg()[0]:.1f}"
            print(f"round {number}, {label}: {found[WHOLE]:.1f} s, {load}", file=sys.stderr)
            for what, seconds in found.items() if number else ():
                taken[label][what].append(seconds)
    return taken


def evaluate(root: Path, tree: Path, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of one evaluation by the checkout `tree`: whole, of each stage, and of the rest."""
    runs = root / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    words = [sys.executable, "-m", "harness", "evaluate", str(root / "submission")]
    words += ["--bundle", str(root / "bundles"), "--keys", str(root / "keys"), "--out", str(runs)]
    words += ["--runner", "process", "--device", args.device]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    worked, begun = _children(), time.perf_counter()
    subprocess.run(words, cwd=tree, env=environment, check=True, capture_output=True)
    whole = time.perf_counter() - begun
    (folder,) = (path.parent for path in runs.glob("*/result.json"))
    stages = read_seconds(folder)
    rest = {REST: whole - sum(stages.values())} if stages else {}
    return {WHOLE: whole, CPU: _children() - worked, **rest, **stages}


def _children() -> float:
    """CPU seconds of the processes that have ended, and of theirs."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def section(taken: dict[str, Taken], args: argparse.Namespace, cases: int) -> str:
    """The section in Markdown: least and median seconds."""
    number = f"{args.models} model" + "s" * (args.models > 1)
    where = device_name(args.device)
    lines = [
        f"## A whole evaluation, on {'a GPU' if args.device == 'cuda' else 'the CPU'}",
        "",
        f"{where}; host: {machine('onnx', 'numba')}.",
        "",
        f"{args.network} at {args.size} x {args.size}, {number}, {cases} images in five passes, "
        f"`--runner process`. Seconds, least and median of {args.rounds}, in turns.",
        "",
        head("what", *(f"{label}, {how}" for label in taken for how in ("least", "median"))),
    ]
    for what in dict.fromkeys(name for found in taken.values() for name in found):
        cells = [
            f"{how(found[what]):.2f}" if what in found else "–"
            for found in taken.values()
            for how in (min, median)
        ]
        lines.append(row(what, *cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""A long ledger: what an append costs, and a verification of everything, in time and memory.

    python -m benchmarks.ledger [--entries N ...]

Each length is a ledger of its own, and all lengths take turns at appending. Every act is done by a
new process: its time by the clock, the processor's time of it and its workers together, and the
most memory that it and the largest of them had.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.made import make_report
from benchmarks.timing import head, machine, row, seconds
from evaluator.documents.reading import load_json
from harness.ledger import append, sign, utc_now, verify_ledger
from harness.ledger.attestation import SIGNED
from harness.ledger.entries import Position, Reported, entry_line, genesis_line
from harness.sealing.keys import Keys

LENGTHS, APPENDS = (1_000, 10_000, 100_000), 15
ACTS = {
    "verify": "verify everything",
    "again": "verify it again",
    "reports": "read every report",
    "first": "append",
    "touched": "append, once its times are new",
}


def build(path: Path, entries: int, keys: Keys) -> None:
    """Write a ledger of so many reports, without verifying any."""
    now, line = utc_now(), b""
    with path.open("wb") as handle:
        for number in range(entries):
            if number == 0:
                line = genesis_line(now, keys)
            else:
                body = Reported(envelope=sign(make_report(f"made-{number}"), keys))
                previous = load_json(line[:-1], SIGNED)["digest"]
                line = entry_line(body, Position(number, previous, now), keys)
            handle.write(line)


def read(path: Path) -> None:
    """Read every report that counts, as a review of them does: one at a time."""
    for entry in verify_ledger(path).each("reports"):
        _ = entry.report


def act(name: str, path: Path, keys: Keys) -> dict[str, float]:
    """Do one act in this process, and say what it took."""
    before = time.process_time()
    if name == "touched":
        path.touch()
    if name in ("verify", "again"):
        taken = seconds(lambda: verify_ledger(path, anew=name == "verify"))
    elif name == "reports":
        taken = seconds(read, path)
    else:
        taken = seconds(append, path, sign(make_report(name), keys), keys)
    own, workers = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = time.process_time() - before + workers.ru_utime + workers.ru_stime
    peaks = {"own": own.ru_maxrss / 1024, "worker": workers.ru_maxrss / 1024}
    return {"seconds": taken, "cpu": cpu, **peaks}


def in_a_process(name: str, path: Path, keys: Keys) -> dict[str, float]:
    """What `act` says of a process that does nothing else."""
    command = [sys.executable, "-m", "benchmarks.ledger", "--act", name, str(path), str(keys.path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(lengths: Sequence[int]) -> None:
    """Print the table."""
    print(f"## A long ledger\n\n{machine()}\n")
    columns = ("entries", "what", "seconds", "CPU seconds", "MB", "MB of the largest worker")
    print(head(*columns, text=2), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = name
        keys = Keys.new(folder / "keys")
        paths = {entries: folder / f"{entries}.jsonl" for entries in lengths}
        for entries, path in paths.items():
            build(path, entries, keys)
            for what, words in ACTS.items():
                found = in_a_process(what, path, keys)
                cells = (f"{figure:,.3g}" for figure in found.values())
                print(row(f"{entries:,}", words, *cells), flush=True)
        _print_turns(paths, keys)


def _print_turns(paths: Mapping[int, Path], keys: Keys) -> None:
    """The median of many appends in one process, the lengths in turn."""
    clocks = (time.perf_counter, time.process_time)
    turns: dict[int, list[list[float]]] = {entries: [] for entries in paths}
    for turn in range(APPENDS):
        for entries, path in paths.items():
            signed, before = sign(make_report(f"turn-{turn}"), keys), [each() for each in clocks]
            append(path, signed, keys)
            turns[entries].append([each() - one for each, one in zip(clocks, before, strict=True)])
    first = next(iter(paths))
    medians = {
        entries: [*map(median, zip(*taken, strict=True))] for entries, taken in turns.items()
    }
    for entries, figures in medians.items():
        ratio = figures[1] / medians[first][1]
        what = f"one of {APPENDS} appends, {ratio:.2f} of the CPU at {first:,}"
        cells = (f"{figure:,.3g}" for figure in figures)
        print(row(f"{entries:,}", what, *cells, "", ""), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--act", nargs=3, metavar=("ACT", "LEDGER", "KEYS"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.act:
        name, path, keys = chosen.act
        print(json.dumps(act(name, Path(path), Keys.open(Path(keys)))))
    else:
        measure(chosen.entries)


if __name__ == "__main__":
    main()

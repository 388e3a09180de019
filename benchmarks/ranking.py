"""What do ranking cost, and how do they grow with the submissions? 10, 100 and 1,000.

Each has 400 cases of 200 patients, three metrics and 2,000 resamples, and runs in a process of its
own for the sake of its peak memory. Run from the project's root: `python -m benchmarks.ranking`.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.made import make_report
from benchmarks.timing import machine, versions
from evaluator.files import canonical_json, sha256_bytes
from harness.ranking import METRICS
from harness.ranking.cases import CaseTable
from harness.ranking.statistics import make_ranking

SIZES = (10, 100, 1000)
CASES, PATIENTS = 400, 200


def make_table(submissions: int) -> CaseTable:
    """Submissions of different skill on cases of different difficulty."""
    random = np.random.default_rng(submissions)
    shape = (CASES, submissions)
    ease = 1.5 + random.normal(0, 1, (CASES, 1)) + random.normal(0, 0.3, submissions)
    dice = 1 / (1 + np.exp(-ease - random.normal(0, 0.5, shape)))
    values = {"dice": dice, "iou": dice / (2 - dice)}
    values["hd95"] = 100 * (1 - dice) + random.exponential(2, shape)
    return CaseTable(
        tuple(sha256_bytes(str(number).encode()) for number in range(submissions)),
        tuple(f"p{case % PATIENTS:03}" for case in range(CASES)),
        {metric.key: values[metric.key] for metric in METRICS},
    )


def measure(submissions: int) -> str:
    """One row of the table."""
    table = make_table(submissions)
    wall, cpu = time.perf_counter(), time.process_time()
    found = make_ranking(make_report(), table)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = len(canonical_json(found.document())) / 1000
    each = 1000 * cpu / submissions
    return (
        f"| {submissions} | {wall:.1f} s | {cpu:.1f} s | {each:.1f} ms "
        f"| {peak:.2f} GiB | {size:.0f} kB |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, help="Measure this many submissions in this process.")
    size = parser.parse_args().size
    if size:
        print(measure(size))
        return 0
    print("## Ranking of a track\n")
    print(f"{machine()}; {versions('numpy', 'scipy')}.\n")
    print("| submissions | wall | CPU | CPU per submission | peak memory | ledger entry |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for count in SIZES:
        command = [sys.executable, "-m", "benchmarks.ranking", "--size", str(count)]
        subprocess.run(command, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

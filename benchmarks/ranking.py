"""Cost of a track's ranking by number of submissions: 10, 100 and 1,000.

Each has 400 cases of 200 patients, three metrics and 2,000 resamples, and runs in a process of its
own for the sake of its peak memory. Run from the project's root: `python -m benchmarks.ranking`.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from benchmarks.made import make_report
from benchmarks.timing import head, machine, peak_gigabytes, row
from evaluator.files import canonical_json, sha256_bytes
from harness.ranking import METRICS
from harness.ranking.cases import CaseTable
from harness.ranking.statistics import make_ranking

SIZES = (10, 100, 1000)
CASES, PATIENTS = 400, 200
COLUMNS = ("submissions", "wall", "CPU", "CPU per submission", "peak memory", "ledger entry")


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
    """One row of the table, and the work that it is about."""
    table = make_table(submissions)
    wall, cpu = time.perf_counter(), time.process_time()
    found = make_ranking(make_report(), table)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size, each = len(canonical_json(found.document())) / 1000, 1000 * cpu / submissions
    costs = (f"{wall:.1f} s", f"{cpu:.1f} s", f"{each:.1f} ms")
    return row(submissions, *costs, f"{peak_gigabytes():.2f} GB", f"{size:.0f} kB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(int(sys.argv[1])))
    else:
        print(f"## Ranking of a track\n\n{machine('numpy', 'scipy')}.\n")
        print(head(*COLUMNS, text=0), flush=True)
        for count in SIZES:
            subprocess.run([sys.executable, "-m", "benchmarks.ranking", str(count)], check=True)

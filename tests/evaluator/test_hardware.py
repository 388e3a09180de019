"""Memory that a process frees and asks for again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.support import ROOT

# Threads that take and free arrays of 3 MB, as batches are, in turns; what they hold differs.
SCRIPT = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from evaluator.inference.hardware import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work(number):
    some = [np.full(800_000, size, np.float32) for size in range(1 + number % 4)]
    return sum(float(each[0]) for each in some)

with ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(16)))
    before = faults()
    list(pool.map(work, range(40)))
    print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_of_batches_does_not_come_anew_page_by_page() -> None:
    def faults(word: str) -> int:
        command = [sys.executable, "-c", SCRIPT, word]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert 2 * faults("kept") < faults("given back")

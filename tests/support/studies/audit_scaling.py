"""How does the audit's time grow? 200, 400, 800 and 1,600 images.

Real images of the three subsets, drawn; beyond their number, planted copies. Run from the
project's root: `python -m tests.support.studies.audit_scaling --data ../shared/data`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.audit import audit
from harness.store import write_store
from tests.support.studies.audit_real import planted, real_samples

SIZES = (200, 400, 800, 1600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| images | read | compare | in all | per image | CPU per image |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        samples = real_samples(arguments.data, Path(folder))
        order = np.random.default_rng(0).permutation(len(samples))
        pool = [samples[place] for place in order]
        pool += [copy for _, copy in planted(pool, seed=0)]
        for size in SIZES:
            store = write_store(Path(folder) / str(size), "planted", pool[:size])
            read = _Clock()
            cpu = time.process_time()
            audit(store, progress=read)
            cpu = time.process_time() - cpu
            whole = time.perf_counter() - read.start
            compare = whole - read.pictures
            each, cpu_each = 1000 * whole / size, 1000 * cpu / size
            print(
                f"| {size} | {read.pictures:.1f} s | {compare:.1f} s | {whole:.1f} s "
                f"| {each:.0f} ms | {cpu_each:.0f} ms |",
                flush=True,
            )


class _Clock:
    """A `Progress` that remembers when all pictures were read."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.pictures = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        if what == "read pictures" and done == total:
            self.pictures = time.perf_counter() - self.start


if __name__ == "__main__":
    main()

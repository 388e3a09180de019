"""The simulated device of the benchmarks: as slow as it says, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.host import HOST_SIDE, Free, Simulated, load, speckle, write_masks
from benchmarks.made import echo, seal_images
from evaluator.documents.submission import OutputSpec


def test_no_simulated_device_is_faster_than_it_says_or_gives_other_masks(tmp_path: Path) -> None:
    output = OutputSpec(kind="probabilities")
    made = seal_images(tmp_path, speckle(24), echo(), side=HOST_SIDE, output=output)
    free = load(Free(HOST_SIDE), made, batch_size=8)
    write_masks(made, (free,), helpers=2)
    expected = (made.out / "masks.bits").read_bytes()
    device = load(Simulated(HOST_SIDE, 2), made, batch_size=8, fixed=True)
    start = time.perf_counter()
    write_masks(made, (device,), helpers=2)
    assert time.perf_counter() - start >= 24 * 0.002  # though two batches are under way
    assert (made.out / "masks.bits").read_bytes() == expected
    assert any(expected)

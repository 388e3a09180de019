"""`CITATION`: what a release asks of whoever has its images, beside the split that they are in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.datasets import ADAPTERS, Release
from harness.splits.lock import SplitLock
from harness.store import Case

LICENCES = Path(__file__).parent / "licences"  # texts that have to be in every copy, as published
UNKNOWN = Release(
    classes={},
    patients=None,
    paper="not known to BUSBench: ask whoever published the images",
    download="not known to BUSBench",
    terms="not known to BUSBench: ask whoever published the images",
)


def release_of(dataset: str) -> Release:
    """What the publishers of a dataset state; of one with an adapter of its own, nothing."""
    return ADAPTERS[dataset].release if dataset in ADAPTERS else UNKNOWN


def citation(lock: SplitLock, training: Iterable[Case | None]) -> str:
    """The text of `CITATION`.

    Args:
        training: cases; a repair of a test case may tell of its mask, so none of those is counted.
    """
    release = release_of(lock.dataset)
    repaired = [bool(case and case.repairs) for case in training]
    licence = LICENCES / f"{lock.dataset}.txt"
    lines = [
        f"Images: {lock.dataset}",
        f"Cite: {release.paper}",
        f"Release: {release.download}",
        f"Terms: {release.terms}",
        "",
        f"Split: {lock.dataset} {lock.version}, made with BUSBench",
        f"Digest of the split: {lock.digest}",
        lock.verdict,
        "",
        "What differs from the release: images are 8-bit grey PNG, and masks are PNG of the same "
        f"size. {sum(repaired)} of {len(repaired)} training cases were repaired when they were "
        "read.",
    ]
    if licence.exists():
        lines += ["", "The licence of the release, word for word:", "", licence.read_text("utf-8")]
    return "\n".join(lines).rstrip("\n") + "\n"

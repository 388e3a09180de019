"""Recall of perceptual hashes and of the audit on the same planted copies, at equal precision.

A hash takes two images for one frame where few of its bits differ. As in `audit_recall`, every
image gets one copy of one kind; of each hash the largest distance is taken at which at least 99 %
of the pairs it finds are right, so that no hash is judged at a poor threshold. Mirrored copies are
looked for, too: the hash of either image's mirror image counts. Run from the project's root:
`python -m tests.support.studies.audit_hashes --data ../shared/data`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import imagehash
import numpy as np
import pdqhash
from numpy.typing import NDArray
from PIL import Image

from harness.audit import audit, connected_groups
from harness.store import Sample, write_store
from tests.support.studies.audit_plants import KINDS
from tests.support.studies.audit_recall import NATURAL, planted, real_samples

PRECISION = 0.99
Bits = NDArray[np.bool_]
Hash = Callable[[NDArray[np.uint8]], Bits]
Link = tuple[str, str]


def _imagehash(function: Callable[..., imagehash.ImageHash], **options: int) -> Hash:
    return lambda image: function(Image.fromarray(image), **options).hash.ravel()


def _pdq(image: NDArray[np.uint8]) -> Bits:
    bits, _ = pdqhash.compute(np.ascontiguousarray(np.repeat(image[..., None], 3, axis=2)))
    return bits.astype(bool)


HASHES: Mapping[str, Hash] = {
    "aHash, 64 bits": _imagehash(imagehash.average_hash),
    "pHash, 64 bits": _imagehash(imagehash.phash),
    "pHash, 256 bits": _imagehash(imagehash.phash, hash_size=16),
    "dHash, 64 bits": _imagehash(imagehash.dhash),
    "dHash, 256 bits": _imagehash(imagehash.dhash, hash_size=16),
    "wHash, 64 bits": _imagehash(imagehash.whash),
    "PDQ, 256 bits": _pdq,
}
OURS = "busbench audit"


@dataclass(frozen=True)
class Found:
    """What a method found of the planted copies."""

    threshold: str
    precision: float  # of all pairs it names; 1 where it names none
    recall: Mapping[str, float]  # by kind of copy, and "all"


def distances(images: Sequence[NDArray[np.uint8]], hashed: Hash) -> NDArray[np.int64]:
    """(n, n): how many bits differ, as the two are or with either mirrored."""
    bits = np.array([hashed(image) for image in images]).astype(np.float32) * 2 - 1
    flipped = [hashed(np.ascontiguousarray(image[:, ::-1])) for image in images]
    mirrored = np.array(flipped).astype(np.float32) * 2 - 1
    alike = np.maximum(bits @ bits.T, bits @ mirrored.T)
    alike = np.maximum(alike, alike.T)
    return np.rint((bits.shape[1] - alike) / 2).astype(np.int64)


def best_threshold(apart: NDArray[np.int64], right: NDArray[np.bool_]) -> int:
    """The largest distance at which the pairs found are right to `PRECISION`; -1 for none."""
    upper = np.triu_indices(len(apart), 1)
    size = int(apart.max()) + 1
    found = np.bincount(apart[upper], minlength=size).cumsum()
    hits = np.bincount(apart[upper][right[upper]], minlength=size).cumsum()
    good = np.flatnonzero((found > 0) & (hits >= PRECISION * found))
    return int(good[-1]) if good.size else -1


def compare(samples: Sequence[Sample], seed: int, folder: Path) -> Iterator[tuple[str, Found]]:
    """Every hash, and the audit, on the images with one planted copy each."""
    copies = list(planted(samples, seed))
    kinds = {copy.case_id: kind for kind, copy in copies}
    everything = [*samples, *(copy for _, copy in copies)]
    names = [sample.case_id for sample in everything]
    expected = {(name.removeprefix("copy."), name): kind for name, kind in kinds.items()}
    source = {Path(sample.source_image).name: sample.case_id for sample in samples}
    natural = [(source[a], source[b]) for a, b in NATURAL if a in source and b in source]
    groups = connected_groups([*natural, *expected])
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    numbers = np.array([group_of[name] for name in names])
    right = numbers[:, None] == numbers
    images = [sample.image for sample in everything]
    for method, hashed in HASHES.items():
        apart = distances(images, hashed)
        limit = best_threshold(apart, right)
        first, second = np.nonzero(np.triu(apart <= limit, 1))
        links = {(names[a], names[b]) for a, b in zip(first, second, strict=True)}
        threshold = f"{limit} bits" if limit >= 0 else "none"
        yield method, _found(threshold, links, expected, group_of=group_of)
    report = audit(write_store(folder / f"hashes-{seed}", "planted", everything))
    links = {(pair.first, pair.second) for pair in report.pairs}
    yield OURS, _found("–", links, expected, group_of=group_of)


def _found(
    threshold: str, links: set[Link], expected: Mapping[Link, str], *, group_of: Mapping[str, int]
) -> Found:
    either = links | {(b, a) for a, b in links}
    totals = Counter(expected.values())
    hits = Counter(kind for pair, kind in expected.items() if pair in either)
    wrong = sum(group_of[a] != group_of[b] for a, b in links)
    recall = {kind: hits[kind] / totals[kind] for kind in KINDS if totals[kind]}
    return Found(
        threshold,
        precision=1 - wrong / len(links) if links else 1.0,
        recall={"all": hits.total() / totals.total(), **recall},
    )


def table(found: Iterable[tuple[str, Found]]) -> Iterator[str]:
    """The comparison in Markdown."""
    yield f"| method | threshold | precision | all | {' | '.join(KINDS)} |"
    yield f"| --- | ---: | ---: | ---: |{' ---: |' * len(KINDS)}"
    for method, one in found:
        shares = (f"{one.recall[kind]:.2f}" for kind in KINDS if kind in one.recall)
        precision = "–" if one.threshold == "none" else f"{one.precision:.3f}"
        known = f"{one.threshold} | {precision} | {one.recall['all']:.3f}"
        yield f"| {method} | {known} | {' | '.join(shares)} |"


def main() -> None:
    """Print the table of docs/audit.md that compares the audit with hashes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("imagehash", "pdqhash"))
    with tempfile.TemporaryDirectory() as folder:
        samples = real_samples(args.data, Path(folder))
        print(f"{date.today()}, {len(samples)} images and as many copies, {versions}\n")
        for line in table(compare(samples, args.seed, Path(folder))):
            print(line, flush=True)


if __name__ == "__main__":
    main()

"""Recall, precision and time of the audit on copies planted among real images.

Every image of the three real subsets gets one copy of one kind; originals and copies are written
to one store, and the audit looks at all of them without knowing patients. Run from the project's
root: `python -m tests.support.studies.audit_recall --data ../shared/data`. With `--sizes 200 400`
it measures how the audit's time grows with the number of images instead.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from harness.audit import audit, connected_groups
from harness.prepare import prepare
from harness.store import CaseStore, Sample, write_store
from tests.support.studies.audit_plants import KINDS

RAW = {"busbra": "BUSBRA", "busi": "Dataset_BUSI_with_GT", "bus-uclm": "BUS-UCLM"}
# Images of one frame that the releases themselves contain, by name of the file, each pair looked at
# on the audit's sheet: identical pixels (once in BUSI, four times in BUS-UCLM), the same frame cut
# otherwise (BUSI), with and without callipers (BUS-UCLM). Whatever else is found is wrong.
NATURAL = (
    ("benign (1).png", "benign (318).png"),
    ("benign (86).png", "benign (163).png"),
    ("benign (437).png", "normal (34).png"),
    ("benign (42).png", "benign (131).png"),
    ("benign (42).png", "malignant (51).png"),
    ("benign (433).png", "malignant (145).png"),
    ("CHCO_000.png", "CHVI_005.png"),
    ("CHCO_001.png", "CHVI_008.png"),
    ("CHCO_002.png", "CHVI_009.png"),
    ("CHCO_003.png", "CHVI_013.png"),
    ("CHVI_001.png", "CHVI_002.png"),
)


def main() -> None:
    """Print one of the two tables of docs/audit.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=1, help="how often all is done anew")
    parser.add_argument("--sizes", type=int, nargs="+", help="measure the time of so many images")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples = real_samples(args.data, Path(folder))
        if args.sizes:
            scaling(samples, Path(folder), args.sizes)
        else:
            recall(samples, Path(folder), args.seeds)


def real_samples(data: Path, work: Path) -> list[Sample]:
    """All cases of the three subsets under `data`, without patients, in order of case id."""
    samples: list[Sample] = []
    for dataset, folder in RAW.items():
        if not (data / folder).is_dir():
            sys.exit(f"{data / folder} is missing: name the folder of the subsets with --data.")
        prepare(dataset, data / folder, work / dataset, skip_refused=True)
        store = CaseStore.open(work / dataset)
        for case in store.cases:
            image, mask = store.image(case.case_id), store.mask(case.case_id)
            samples.append(
                Sample(case.case_id, case.label, None, image, mask, case.source_image, "")
            )
    return sorted(samples, key=lambda sample: sample.case_id)


def planted(samples: Sequence[Sample], seed: int) -> Iterator[tuple[str, Sample]]:
    """One copy of every sample, with its kind; which kind is drawn, all kinds equally often."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.resize(sorted(KINDS), len(samples)))
    for sample, kind in zip(samples, map(str, kinds), strict=True):
        image, mask = KINDS[kind](sample.image, sample.mask, rng)
        name = f"copy.{sample.case_id}"
        yield kind, Sample(name, sample.label, None, image, mask, name, "")


def recall(samples: list[Sample], work: Path, seeds: int) -> None:
    """Count what is found; precision is over pairs that a copy of the kind is part of."""
    totals, found, wrong = Counter[str](), Counter[str](), Counter[str]()
    named = {Path(sample.source_image).name: sample.case_id for sample in samples}
    natural = [(named[first], named[second]) for first, second in NATURAL]
    for seed in range(seeds):
        copies = list(planted(samples, seed))
        everything = [*samples, *(copy for _, copy in copies)]
        report = audit(write_store(work / f"planted-{seed}", "planted", everything))
        pairs = {(pair.first, pair.second) for pair in report.pairs}
        kinds = {copy.case_id: kind for kind, copy in copies}
        expected = {(name.removeprefix("copy."), name): kind for name, kind in kinds.items()}
        groups = connected_groups([*natural, *expected])
        group_of = {name: number for number, group in enumerate(groups) for name in group}
        for pair, kind in expected.items():
            totals[kind] += 1
            found[kind] += tuple(sorted(pair)) in pairs
        for first, second in pairs:
            if group_of[first] != group_of[second]:
                wrong.update({kinds[name] for name in (first, second) if name in kinds} or {""})
                print(f"wrong: {first} {second}")
    print("| kind | planted | found | recall | wrong pairs | precision |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in KINDS:
        share, exact = found[kind] / totals[kind], found[kind] / (found[kind] + wrong[kind])
        counts = f"{totals[kind]} | {found[kind]} | {share:.3f} | {wrong[kind]} | {exact:.3f}"
        print(f"| {kind} | {counts} |")
    print(f"| no copy | 0 | 0 | – | {wrong['']} | – |")


def scaling(samples: Sequence[Sample], work: Path, sizes: Sequence[int]) -> None:
    """Measure audits of so many images, drawn; beyond the real ones, planted copies."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| images | read | compare | in all | per image | CPU per image |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    pool = [samples[index] for index in np.random.default_rng(0).permutation(len(samples))]
    pool += [copy for _, copy in planted(pool, seed=0)]
    for size in sizes:
        store = write_store(work / str(size), "planted", pool[:size])
        marks: dict[str, float] = {}  # when each step of the audit was done
        start, cpu = time.perf_counter(), time.process_time()

        def note(what: str, done: int, total: int, marks: dict[str, float] = marks) -> None:
            marks[what] = time.perf_counter()

        audit(store, progress=note)
        whole, cpu = time.perf_counter() - start, time.process_time() - cpu
        read = next(at for what, at in marks.items() if what.startswith("read")) - start
        each = f"{1000 * whole / size:.0f} ms | {1000 * cpu / size:.0f} ms"
        times = f"{read:.1f} s | {whole - read:.1f} s | {whole:.1f} s"
        print(f"| {size} | {times} | {each} |", flush=True)


if __name__ == "__main__":
    main()

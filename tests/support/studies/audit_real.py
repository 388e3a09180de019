"""Where the audit's benchmarks get real pictures, and which of those are copies by nature."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.prepare import prepare
from harness.store import CaseStore, Sample
from tests.support.studies.audit_plants import KINDS

RAW = {"busbra": "BUSBRA", "busi": "Dataset_BUSI_with_GT", "bus-uclm": "BUS-UCLM"}

# Pictures of one frame that the releases themselves hold, by name of the file, each pair looked at
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


def natural_links(samples: list[Sample]) -> list[tuple[str, str]]:
    """`NATURAL` by case id."""
    named = {Path(sample.source_image).name: sample.case_id for sample in samples}
    return [(named[first], named[second]) for first, second in NATURAL]


def real_samples(data: Path, work: Path) -> list[Sample]:
    """All cases of the three subsets under `data`, without patients, in order of case id."""
    stores = []
    for dataset, folder in RAW.items():
        if not (data / folder).is_dir():
            sys.exit(
                f"{data / folder} is missing: name the folder of the real subsets with --data."
            )
        prepare(dataset, data / folder, work / dataset, skip_refused=True)
        stores.append(CaseStore.open(work / dataset))
    samples = [sample for store in stores for sample in _samples(store)]
    return sorted(samples, key=lambda sample: sample.case_id)


def _samples(store: CaseStore) -> Iterator[Sample]:
    for case in store.cases:
        image, mask = store.image(case.case_id), store.mask(case.case_id)
        yield Sample(case.case_id, case.label, None, image, mask, case.source_image, "")


def planted(samples: list[Sample], seed: int) -> list[tuple[str, Sample]]:
    """One copy of every sample, with its kind; which kind is drawn, all kinds equally often."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.resize(sorted(KINDS), len(samples)))
    return [
        (str(kind), _copy(sample, str(kind), rng))
        for sample, kind in zip(samples, kinds, strict=True)
    ]


def _copy(sample: Sample, kind: str, rng: np.random.Generator) -> Sample:
    image, mask = KINDS[kind](sample.image, sample.mask, rng)
    name = f"copy.{sample.case_id}"
    return Sample(name, sample.label, None, image, mask, name, "")

"""Where the audit's benchmarks get real pictures, and which of those are copies by nature."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.audit_plants import KINDS
from harness.prepare import prepare
from harness.store import CaseStore, Sample

RAW = {"busbra": "BUSBRA", "busi": "Dataset_BUSI_with_GT", "bus-uclm": "BUS-UCLM"}

# Pairs of one frame that the releases themselves hold, each looked at on the audit's picture sheet:
# identical pixels (once in BUSI, four times in BUS-UCLM), the same frame cut otherwise (BUSI), the
# same frame with and without callipers (BUS-UCLM). Whatever else is found among them is wrong.
NATURAL = (
    ("busi_0cb63dc881", "busi_38ffd9c9f2"),
    ("busi_5250481406", "busi_ce959bc2ce"),
    ("busi_5250481406", "busi_d2faef29a9"),
    ("busi_ce959bc2ce", "busi_d2faef29a9"),
    ("busi_8ba669c18c", "busi_dd3d1116a7"),
    ("busi_ae04efc5ae", "busi_f8f207443e"),
    ("busi_b7a96ea944", "busi_eec8c40086"),
    ("CHCO_000", "CHVI_005"),
    ("CHCO_001", "CHVI_008"),
    ("CHCO_002", "CHVI_009"),
    ("CHCO_003", "CHVI_013"),
    ("CHVI_001", "CHVI_002"),
)


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

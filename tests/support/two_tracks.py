"""Two tracks of tiny cases that share some images, and a submission that was trained on one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluator.documents.base import write
from harness.audit import audit
from harness.audit.across import CrossAudit, JoinedStores, audit_across
from harness.challenge import Challenge, Generalisation, Track
from harness.evaluation.evaluate import EvaluateSubmission
from harness.execution import ExecutionEnvironment
from harness.sealing.bundle import Bundles, Recipients, seal
from harness.splits import FrozenSplit, freeze
from harness.store import CaseStore, Sample, write_store
from tests.support.samples import SECRET, samples
from tests.support.small_challenge import SmallChallenge

HOME, OTHER = "phantom", "bus-uc"
SHARED = 12  # patients of the other dataset whose left image is one of the home dataset's


@dataclass(frozen=True)
class TwoTracks:
    """`home` is what submissions are for; `other` is the track that they are tested on."""

    home: SmallChallenge
    other: Bundles
    audit: CrossAudit
    splits: Path

    @classmethod
    def make(cls, root: Path) -> TwoTracks:
        home = SmallChallenge.make(root)
        store = write_store(root / "other", OTHER, others())
        split = freeze(
            store,
            audit(store, near=False),
            root / "splits" / "other",
            version="v1",
            secret=SECRET,
            seed=7,
        )
        recipients = Recipients(home.keys.images.recipient, home.keys.labels.recipient)
        sealed = seal(store, split, recipients, out=root / "others")
        joined = JoinedStores([CaseStore.open(root / "store"), store])
        found, _ = audit_across(joined, near=False)
        audited = found.model_copy(update={"near": True})  # of noise, there is none that is near
        write(audited, root / "cross-audit.json")
        return cls(home, sealed, audited, root / "splits")

    @property
    def root(self) -> Path:
        return self.home.root

    @property
    def settings(self) -> Challenge:
        other = Track(dataset=OTHER, split_version="v1")
        return Challenge(
            tracks={**self.home.settings.tracks, OTHER: other},
            generalisation=Generalisation(twins=(self.root / "cross-audit.json",)),
        )

    def job(
        self, submission: Path, runs: Path, challenge: Challenge | None = None
    ) -> EvaluateSubmission:
        """The evaluation of a submission for the home track on the other."""
        environment = ExecutionEnvironment(
            "process", challenge or self.settings, self.home.keys.path
        )
        return EvaluateSubmission.of(
            submission, self.other, runs, environment=environment, splits=[self.splits]
        )

    def twins(self) -> set[str]:
        """The test cases of the other track's patients with an image in the home training part."""
        own, other = (FrozenSplit.open(self.splits / name) for name in ("v1", "other"))
        training = {row.image_sha256 for row in own.rows if row.part == "train"}
        test = [row for row in other.rows if row.part == "test"]
        patients = {row.patient_group for row in test if row.image_sha256 in training}
        return {row.case_id for row in test if row.patient_group in patients}


def others() -> list[Sample]:
    """As many cases of other patients; every left image of the first ones is in both datasets."""
    made = []
    for number, sample in enumerate(samples()):
        image = sample.image
        if not (sample.case_id.endswith("-l") and number < 2 * SHARED):
            image = np.random.RandomState(9000 + number).randint(0, 256, (24, 32)).astype(np.uint8)
        made.append(replace(sample, case_id=f"uc-{number:02}", image=image))
    return made

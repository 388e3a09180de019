"""The leak certificate of a published split: a document, and one page with the worst pairs.

The page contains pixels and masks of the dataset, held-out cases included: it is for those who may
have them. The document contains names and numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from evaluator.documents.base import Contract, Digest, Name
from harness.audit.published import Published
from harness.audit.report import AuditReport, Pair, unknown_patients
from harness.audit.verdict import Verdict, compare
from harness.store import CaseStore

SHOWN = 12  # pairs on the page


class LeakCertificate(Contract):
    """How many held-out cases of a published split have their patient or a twin in training."""

    schema_: Literal["busbench/leak-certificate/v2"] = Field(
        default="busbench/leak-certificate/v2", alias="schema"
    )
    dataset: Name
    store_digest: Digest
    cases: int  # of the store, without those left out
    excluded: int  # cases that were left out on request
    split: str  # the name of its file or folder, or the rule that drew it
    read_as: str  # table, JSON, lists of names, folders of images, ...
    split_digest: Digest  # over which case is in which part, however it was written
    named: int  # of those cases, how many are in it
    unmatched: int  # names in it that are no case of the store
    by_name_alone: int  # image files in it whose pixels are no case's, matched by name
    renamed: int  # image files in it that were matched by pixels against their name
    near: bool  # whether near-duplicates were looked for
    without_patient: int  # cases of the store of which no patient is known
    leaks: bool  # whether any case that is held out leaks
    verdicts: dict[str, Verdict]  # by comparison: "test", "fold 1, validation"

    @property
    def headline(self) -> str:
        """The verdict in one sentence, which claims no more than was looked for."""
        if self.leaks:
            return "This split leaks."
        return "No leak was found in this split" + (
            ", as far as can be seen." if self.limits else "."
        )

    @property
    def limits(self) -> tuple[str, ...]:
        """What the numbers do not cover, in sentences."""
        facts = (
            (
                self.cases - self.named,
                f"The split names {self.named} of {self.cases} cases: nothing is said of others.",
            ),
            (
                self.excluded,
                f"{self.excluded} cases were left out on request: nothing is said of them.",
            ),
            (
                self.unmatched,
                f"{self.unmatched} names in it are no case of the store: nothing is said of them.",
            ),
            (
                self.by_name_alone,
                f"{self.by_name_alone} files have pixels of no case: their names were matched.",
            ),
            (
                self.renamed,
                f"{self.renamed} files have the pixels of one case and the name of another: they "
                "were matched by pixels.",
            ),
            (self.without_patient, unknown_patients(self.without_patient, self.cases)),
            (not self.near, "Near-duplicates were not looked for."),
        )
        return tuple(sentence for true, sentence in facts if true)


def certify(report: AuditReport, split: Published) -> LeakCertificate:
    """Compare every part of a split that is held out with what is trained on."""
    verdicts = {
        name: compare(report, held_out, training)
        for name, held_out, training in split.comparisons()
    }
    return LeakCertificate(
        dataset=report.dataset,
        store_digest=report.store_digest,
        cases=report.cases,
        excluded=len(report.excluded or ()),
        split=split.name,
        read_as=split.kind,
        split_digest=split.digest,
        named=len(split.named),
        unmatched=len(split.unmatched),
        by_name_alone=split.by_name_alone,
        renamed=split.renamed,
        near=report.near,
        without_patient=report.without_patient or 0,
        leaks=any(verdict.leaking for verdict in verdicts.values()),
        verdicts=verdicts,
    )


def worst(verdicts: Iterable[Verdict]) -> list[Pair]:
    """The pairs to show, each once: twins first, with a conflict, then the most alike."""
    crossing = {pair for verdict in verdicts for pair in verdict.pairs}
    return sorted(
        crossing,
        key=lambda pair: (pair.kind == "same-patient", not pair.conflict, -pair.similarity, pair),
    )[:SHOWN]


def certificate_page(store: CaseStore, certificate: LeakCertificate) -> bytes:
    """The certificate as one HTML page without scripts, with the worst pairs side by side.

    Raises:
        BusbenchError: `store-invalid` where an image or mask of the store is gone.
    """
    from harness.audit.sheet import row  # noqa: PLC0415  imports OpenCV
    from harness.pages import page  # noqa: PLC0415  as above

    cases = {case.case_id: case for case in store.cases}
    apart: dict[Pair, list[str]] = {}
    for name, verdict in certificate.verdicts.items():
        for pair in verdict.pairs:
            apart.setdefault(pair, []).append(name)
    rows = [
        row(store, pair, cases[pair.first], second=cases[pair.second])
        for pair in worst(certificate.verdicts.values())
    ]
    return page("audit/certificate.html", certificate=certificate, apart=apart, rows=rows)

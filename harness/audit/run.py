"""The whole audit: every search, and the report of them."""

from __future__ import annotations

from evaluator.progress import Progress, quiet
from harness.audit.exact import identical, same_patient
from harness.audit.report import AuditReport, compose
from harness.store import CaseStore


def audit(store: CaseStore, *, near: bool = True, progress: Progress = quiet) -> AuditReport:
    """Find the pairs of cases that belong on one side of a split.

    Args:
        near: also look for near-duplicates, which reads every image.

    Raises:
        BusbenchError: `store-invalid` where an image of the store is gone.
    """
    progress("equal pixels", len(store.cases), len(store.cases))
    pairs = [*same_patient(store.cases), *identical(store.cases)]
    if near:
        from harness.audit.near import near_duplicates  # noqa: PLC0415  takes a second to import

        pairs += near_duplicates(store, progress)
    return compose(
        store.info.dataset,
        store.info.digest,
        len(store.cases),
        near=near,
        pairs=pairs,
        without_patient=sum(case.patient is None for case in store.cases),
    )

"""Verification of a frozen split: against its lock, its store and a reveal document.

`verify` names whatever differs: an image, a mask, a row, a field of the lock, a commitment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evaluator.documents.base import read
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_pixels
from evaluator.progress import Progress, quiet
from harness.audit import AuditReport
from harness.splits.commitments import Reveal, commit, unopened
from harness.splits.croissant import croissant_differs
from harness.splits.drawing import RULES, Assignment, Subject, draw
from harness.splits.freezing import verdict
from harness.splits.manifest import REMEDY, FrozenSplit, inspect
from harness.splits.proportions import tally
from harness.store import Case, CaseStore


def verify(
    path: Path,
    store: CaseStore | None = None,
    reveal: Reveal | None = None,
    *,
    secret: bytes | None = None,
    progress: Progress = quiet,
) -> list[str]:
    """Compare a frozen split with its lock, and with whatever else is at hand.

    Args:
        store: is it the one that was frozen, pixels included, and does drawing again from it
            give the same parts and folds?
        reveal: checked to open every commitment, and to agree with the store.
        secret: the organiser's; with a store, opens the commitments before they are revealed.

    Returns:
        What differs, one line each; empty where all is as it was frozen.
    """
    try:
        split, differences = inspect(path)
        differences += _audit_differs(split, _read_audit(split))
    except BusbenchError as error:
        return [error.message]
    if reveal is not None:
        differences += unopened(split.lock, reveal)
    if store is not None:
        by_id = {case.case_id: case for case in store.cases}
        differences += _cases_differ(split, by_id)
        differences += _withheld_differ(split, by_id, reveal, secret=secret)
        subjects, changed = _read_pixels(store, progress)
        differences += changed
        if store.info.digest != split.lock.store_digest:
            differences.append(f"{store.path}: its table is not the one that was frozen")
        if not differences:  # else drawing again would only repeat them in other words
            left_out = split.lock.excluded or {}
            taken = [subject for subject in subjects if subject.case_id not in left_out]
            differences += _drawn_otherwise(split, taken)
    differences += croissant_differs(split)
    return differences


def require_store(split: FrozenSplit, store: CaseStore) -> None:
    """Refuse a store that is not the one that was frozen, or of which the split says otherwise.

    Raises:
        BusbenchError: `split-invalid`.
    """
    if split.lock.store_digest != store.info.digest:
        raise BusbenchError(
            Code.SPLIT_INVALID,
            f"{split.path} was not frozen from {store.path}.",
            "Name the store that the split was frozen from.",
        )
    for difference in _cases_differ(split, {case.case_id: case for case in store.cases}):
        remedy = "Restore the split and the store from their backups."
        raise BusbenchError(Code.SPLIT_INVALID, f"{split.path}: {difference}.", remedy)


def published_audit(split: FrozenSplit) -> AuditReport | None:
    """The audit beside a split; None where it was left out.

    Raises:
        BusbenchError: `split-invalid` where it contradicts the split.
    """
    report = _read_audit(split)
    for difference in _audit_differs(split, report):
        raise BusbenchError(Code.SPLIT_INVALID, f"{split.path}: {difference}.", REMEDY)
    return report


def _read_audit(split: FrozenSplit) -> AuditReport | None:
    file = split.path / "audit.json"
    if not file.exists():
        return None
    return read(AuditReport, file, Code.SPLIT_INVALID, remedy=REMEDY)


def _audit_differs(split: FrozenSplit, report: AuditReport | None) -> Iterator[str]:
    """audit.json may be left out, but not contradict the split that it explains."""
    if report is None:
        return
    if report.store_digest != split.lock.store_digest:
        yield "audit.json: it is the audit of another store"
    groups: dict[str, list[str]] = {}
    for row in split.rows:
        groups.setdefault(row.patient_group, []).append(row.case_id)
    if {tuple(sorted(g)) for g in groups.values() if len(g) > 1} != set(report.groups):
        yield "audit.json: its groups are not those of split.csv"
    if verdict(report, split.rows) != split.lock.audit:
        yield "audit.json: its verdict is not that of lock.json"


def _cases_differ(split: FrozenSplit, by_id: Mapping[str, Case]) -> Iterator[str]:
    """What everybody may compare: images, and the classes and masks of training cases."""
    rows = {row.case_id: row for row in split.rows}
    left_out = (split.lock.excluded or {}).keys()
    for case_id in sorted(rows.keys() | by_id.keys() - left_out):
        if case_id not in by_id:
            yield f"store: the case {case_id} is missing"
            continue
        if case_id not in rows:
            yield f"store: the case {case_id} is not in the split"
            continue
        row, case = rows[case_id], by_id[case_id]
        if row.image_sha256 != case.image_sha256:
            yield f"store: the image of {case_id} is not the one that was frozen"
        if row.label not in (None, case.label):
            yield f"store: the class of {case_id} is not the one that was frozen"
        if split.lock.masks.get(case_id, case.mask_sha256) != case.mask_sha256:
            yield f"store: the mask of {case_id} is not the one that was frozen"


def _withheld_differ(
    split: FrozenSplit, by_id: Mapping[str, Case], reveal: Reveal | None, *, secret: bytes | None
) -> Iterator[str]:
    """Classes and masks of hidden cases, as far as a reveal document or the secret opens them."""
    for case_id, committed in split.lock.commitments.items():
        case = by_id.get(case_id)
        if case is None:
            continue
        shown = reveal.cases.get(case_id) if reveal else None
        if shown and (shown.label, shown.mask_sha256) != (case.label, case.mask_sha256):
            yield f"store: the class or mask of {case_id} is not the one that was revealed"
        elif secret and commit(secret, case) != committed:
            yield f"store: the class or mask of {case_id} is not the one that was committed to"


def _read_pixels(store: CaseStore, progress: Progress) -> tuple[list[Subject], list[str]]:
    """The cases with the areas of their masks, and which files are not what the table says."""
    subjects, changed = [], []
    for done, case in enumerate(store.cases, start=1):
        try:
            mask = store.mask(case.case_id)
            if sha256_pixels(mask) != case.mask_sha256:
                changed.append(f"{store.mask_path(case.case_id)}: the mask was changed")
            if sha256_pixels(store.image(case.case_id)) != case.image_sha256:
                changed.append(f"{store.image_path(case.case_id)}: the image was changed")
            subjects.append(Subject(case.case_id, case.label, int(mask.sum()), case.source_image))
        except BusbenchError as error:
            changed.append(error.message)
        progress("images and masks", done, len(store.cases))
    return subjects, changed


def _drawn_otherwise(split: FrozenSplit, subjects: Sequence[Subject]) -> Iterator[str]:
    """Whether the rule that the lock names gives this split; other rules are not known."""
    lock = split.lock
    if lock.tool_version != RULES:
        return
    groups: dict[str, list[str]] = {}
    for row in split.rows:
        groups.setdefault(row.patient_group, []).append(row.case_id)
    places = draw(
        subjects,
        groups.values(),
        policy=lock.policy,
        test_fraction=lock.test_fraction,
        final_fraction=lock.final_fraction,
        folds=lock.folds,
        seed=lock.seed,
    )
    elsewhere = [r.case_id for r in split.rows if places[r.case_id] != Assignment(r.part, r.fold)]
    if elsewhere:
        yield f"split.csv: drawing again moves {len(elsewhere)} cases, first {elsewhere[0]}"
    if (lock.counts, lock.quartiles) != tally(subjects, places):
        yield "lock.json: counts or quartiles are not those of the store"

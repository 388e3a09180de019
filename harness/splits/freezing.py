"""From a case store and its audit to a frozen split: draw, commit, write once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from evaluator.documents.base import CaseId, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import pretty_json, sha256_bytes, write_atomically
from evaluator.progress import Progress, quiet
from harness.audit import AuditReport, Pair, judge
from harness.audit.verdict import KINDS
from harness.folders import whole_folder
from harness.splits.commitments import commit
from harness.splits.croissant import write_croissant
from harness.splits.drawing import RULES, Assignment, Group, Subject, draw, whole_groups
from harness.splits.lock import Policy, SplitAudit, SplitLock, SplitRule
from harness.splits.manifest import FrozenSplit, SplitRow, complete_lock, table_bytes
from harness.splits.proportions import tally
from harness.splits.stated import contradictions, with_stated
from harness.store import CaseStore


def freeze(
    store: CaseStore,
    report: AuditReport,
    out: Path,
    *,
    version: str,
    policy: Policy = "patient",
    test_fraction: float = 0.2,
    final_fraction: float | None = None,
    folds: int = 5,
    seed: int = 42,
    secret: bytes,
    pairs: Sequence[Pair] = (),
    excluded: Mapping[CaseId, str] | None = None,
    progress: Progress = quiet,
) -> FrozenSplit:
    """Draw a split and freeze it in `out`; the same input gives the same bytes.

    Args:
        report: the audit of this very store.
        final_fraction: the share of the hidden cases that are kept for the end; see `draw`.
        secret: the organiser's; salts the commitments to the test labels.
        pairs: those that the organiser knows of, beside the audit's.
        excluded: case -> why it is in no part.

    Raises:
        BusbenchError: `split-frozen` where `out` contains a split with other bytes, `output-exists`
            where it contains something else, `split-impossible` where the cases cannot be split as
            asked, `store-invalid` where masks or audit are not those of the store, `usage` where
            a setting is out of its range.
    """
    rule = _rule(
        store,
        version,
        policy,
        test_fraction=test_fraction,
        final_fraction=final_fraction,
        folds=folds,
        seed=seed,
    )
    if report.store_digest != store.info.digest:
        raise BusbenchError(
            Code.STORE_INVALID, f"The audit is not one of {store.path}.", "Audit this store again."
        )
    store, report = with_stated(report, store, pairs=pairs, excluded=excluded or {})
    subjects = subjects_of(store, progress)
    groups = whole_groups((case.case_id for case in store.cases), report.groups)
    places = draw(
        subjects,
        groups,
        policy=policy,
        test_fraction=test_fraction,
        final_fraction=final_fraction,
        folds=folds,
        seed=seed,
    )
    rows = _rows(store, groups, places)
    counts, quartiles = tally(subjects, places)
    audit = verdict(report, rows)
    lock = complete_lock(
        {
            **({} if final_fraction is None else {"schema": "busbench/split-lock/v4"}),
            **rule.document(),
            "counts": counts,
            "quartiles": quartiles,
            "leaks": audit.leaking > 0,
            "audit": audit,
            "excluded": report.excluded,
            "stated_pairs": report.stated_pairs,
            "contradicting": _contradicting(report, places),
            "tool_version": RULES,
            "store_digest": store.info.digest,
            "split_sha256": sha256_bytes(table_bytes(rows)),
            "rows": {row.case_id: row.digest for row in rows},
            "masks": {
                case.case_id: case.mask_sha256
                for case in store.cases
                if places[case.case_id].part == "train"
            },
            "commitments": {
                case.case_id: commit(secret, case)
                for case in store.cases
                if places[case.case_id].part != "train"
            },
        }
    )
    return _write_once(FrozenSplit(out, lock, rows), published(report, rows))


def _contradicting(report: AuditReport, places: Mapping[str, Assignment]) -> int:
    """The hidden cases that contradict a twin."""
    found = {end for pair in contradictions(report) for end in (pair.first, pair.second)}
    return sum(places[case_id].part != "train" for case_id in found)


def verdict(report: AuditReport, rows: tuple[SplitRow, ...]) -> SplitAudit:
    """What the audit says about a split, in counts."""
    part_of = {row.case_id: row.part for row in rows}
    parts = sorted({*part_of.values()} - {"train"})
    found = [judge(report, part_of, part) for part in parts]
    hidden, leaking = (sum(getattr(one, name) for one in found) for name in ("test", "leaking"))
    sides = ({part_of.get(case_id) for case_id in group} - {None} for group in report.groups)
    return SplitAudit(
        near=report.near,
        leaking=leaking,
        share=leaking / hidden if hidden else 0.0,
        by_kind={str(kind): sum(one.by_kind[kind] for one in found) for kind in KINDS},
        groups=sum(len(side) > 1 for side in sides),
        without_patient=report.without_patient,
    )


def published(report: AuditReport, rows: tuple[SplitRow, ...]) -> AuditReport:
    """The audit without what it reveals of withheld labels.

    That two hidden cases show one image under two classes, or with two masks, reveals something of
    both; so does that a hidden case contradicts a training case, whose class is known.
    """
    hidden = {row.case_id for row in rows if row.part != "train"}
    pairs = tuple(
        replace(pair, conflict="") if {pair.first, pair.second} & hidden else pair
        for pair in report.pairs
    )
    conflicts = tuple(pair for pair in pairs if pair.conflict)
    return report.model_copy(update={"pairs": pairs, "conflicts": conflicts})


def _rule(
    store: CaseStore,
    version: str,
    policy: Policy,
    *,
    test_fraction: float,
    final_fraction: float | None,
    folds: int,
    seed: int,
) -> SplitRule:
    try:
        return SplitRule(
            dataset=store.info.dataset,
            version=version,
            policy=policy,
            test_fraction=test_fraction,
            final_fraction=final_fraction,
            folds=folds,
            seed=seed,
        )
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{first['loc'][0]} cannot be {first['input']!r}: {first['msg']}."
        raise BusbenchError(Code.USAGE, message, "See `busbench freeze --help`.") from error


def subjects_of(store: CaseStore, progress: Progress = quiet) -> tuple[Subject, ...]:
    """The cases of a store as a draw takes them, with the areas of their masks.

    Raises:
        BusbenchError: `store-invalid` where a mask is not the one that the table names.
    """
    subjects = []
    for done, case in enumerate(store.cases, start=1):
        area = int(store.checked_mask(case).sum())
        subjects.append(Subject(case.case_id, case.label, area, case.source_image))
        progress("lesion areas", done, len(store.cases))
    return tuple(subjects)


def _rows(
    store: CaseStore, groups: tuple[Group, ...], places: Mapping[str, Assignment]
) -> tuple[SplitRow, ...]:
    """Groups are numbered by their smallest case id, so that a name reveals nothing."""
    group_of = {
        case_id: f"g{number:04d}" for number, group in enumerate(groups, 1) for case_id in group
    }
    return tuple(
        SplitRow.model_validate(
            {
                "case_id": case.case_id,
                "part": (place := places[case.case_id]).part,
                "fold": place.fold,
                "class": case.label if place.part == "train" else None,
                "patient_group": group_of[case.case_id],
                "image_sha256": case.image_sha256,
            }
        )
        for case in sorted(store.cases, key=lambda case: case.case_id)
    )


def _write_once(split: FrozenSplit, report: AuditReport) -> FrozenSplit:
    """Write the split's folder in one step, or find it there with the same bytes."""
    out = split.path
    if (out / "lock.json").exists():
        return _same(FrozenSplit.open(out), split)
    with whole_folder(out, last="lock.json") as partial:
        write_atomically(partial / "split.csv", table_bytes(split.rows))
        write_atomically(partial / "audit.json", pretty_json(report.document()))
        write(split.lock, partial / "lock.json")
        write_croissant(replace(split, path=partial))
    return split


def _same(frozen: FrozenSplit, drawn: FrozenSplit) -> FrozenSplit:
    """The frozen split, where drawing again gave the same."""
    if frozen.lock == drawn.lock:
        return frozen
    differing = [
        name
        for name in _FIELDS
        if (before := getattr(frozen.lock, name)) != getattr(drawn.lock, name)
        and (before is not None or name in SplitRule.model_fields)
    ]
    if not differing and not (drawn.lock.excluded or drawn.lock.stated_pairs):
        return frozen  # by an older version, which did not say all that is said now
    raise BusbenchError(
        Code.SPLIT_FROZEN,
        f"{frozen.path} is frozen, and would now differ in: {', '.join(differing)}.",
        "Freeze a correction as a new version, in a folder of its own.",
    )


# What a lock consists of, in its own order; the digests over the lock itself always differ along.
_FIELDS = [n for n in SplitLock.model_fields if n not in ("schema_", "field_digests", "digest")]

"""Known pairs and cases to leave out: statements of the organiser on a store.

Where a release names no patient, its curators may still know which images are of one; and of
images that are there twice under two classes, no truth is known. Both are handed in as tables and
are on record in the audit's report and in the lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import get_args

from evaluator.documents.base import CaseId
from evaluator.errors import BusbenchError, Code
from harness.audit import AuditReport, Pair
from harness.audit.exact import conflicts
from harness.audit.report import Kind, compose
from harness.store import Case, CaseStore

STATED = "stated"  # in the place of a transform: nobody compared the pixels
LONGEST = 200  # characters of a reason
REMEDY = "Correct the table: a case is named by its id, or by its file in the release."
KINDS = f"Write one of {', '.join(get_args(Kind))}."


Stated = tuple[tuple[Pair, ...], dict[CaseId, str]]  # known pairs; case left out -> why


def read_stated(pairs: Path | None, exclude: Path | None, store: CaseStore) -> Stated:
    """What the organiser hands in; see `read_pairs` and `read_excluded`."""
    return (
        read_pairs(pairs, store) if pairs else (),
        read_excluded(exclude, store) if exclude else {},
    )


def read_pairs(path: Path, store: CaseStore) -> tuple[Pair, ...]:
    """The pairs in a table with the columns `first`, `second` and, if it differs, `kind`.

    Raises:
        BusbenchError: `split-invalid` where a row names no case of the store, or no kind of pair;
            `raw-missing` where it is no such table.
    """
    names, found = _names(store), []
    for row in _rows(path, ("first", "second"), ("kind",)):
        one, other = sorted(
            (_case(names, row[end], path) for end in ("first", "second")),
            key=lambda case: case.case_id,
        )
        kind = row.get("kind") or "same-patient"
        if kind not in get_args(Kind):
            raise _wrong(f"{path} has the kind of pair {kind!a}", KINDS)
        if one == other:
            raise _wrong(f"{path} pairs {one.case_id} with itself")
        differ = kind != "same-patient" and one.mask_sha256 != other.mask_sha256
        said = "" if kind == "same-patient" else conflicts(one, other, differ)
        found.append(
            Pair(one.case_id, other.case_id, kind, 0.0, transform=STATED, conflict=said)  # type: ignore[arg-type]
        )
    return tuple(found)


def _rows(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...]
) -> tuple[dict[str, str], ...]:
    from harness.datasets.layout import read_table  # noqa: PLC0415  takes half a second to import

    return read_table(path, columns, optional).rows


def read_excluded(path: Path, store: CaseStore) -> dict[CaseId, str]:
    """Case -> why it is left out, of a table with the columns `case` and `reason`.

    Raises:
        BusbenchError: as `read_pairs`; also where a case is named twice, or without a reason.
    """
    names, found = _names(store), dict[CaseId, str]()
    for row in _rows(path, ("case", "reason"), ()):
        case_id, reason = _case(names, row["case"], path).case_id, row["reason"]
        if not reason or len(reason) > LONGEST:
            raise _wrong(f"{path} gives no reason of 1 to {LONGEST} characters for {row['case']!a}")
        if found.setdefault(case_id, reason) != reason:
            raise _wrong(f"{path} names {case_id} twice")
    return found


def with_stated(
    report: AuditReport,
    store: CaseStore,
    *,
    pairs: Sequence[Pair],
    excluded: Mapping[CaseId, str],
) -> tuple[CaseStore, AuditReport]:
    """The store without the cases that are left out, and the audit of it with the known pairs.

    What was joined by a case that is left out stays joined.
    """
    known = {(pair.first, pair.second, pair.kind) for pair in report.pairs}
    new = [pair for pair in pairs if (pair.first, pair.second, pair.kind) not in known]
    kept = tuple(case for case in store.cases if case.case_id not in excluded)
    whole = compose(
        report.dataset,
        report.store_digest,
        len(kept),
        near=report.near,
        pairs=[*report.pairs, *dict.fromkeys(new)],
        without_patient=sum(case.patient is None for case in kept),
    )

    def inside(found: Iterable[Pair]) -> tuple[Pair, ...]:
        return tuple(pair for pair in found if not {pair.first, pair.second} & excluded.keys())

    groups = (tuple(c for c in group if c not in excluded) for group in whole.groups)
    left = {
        "pairs": inside(whole.pairs),
        "conflicts": inside(whole.conflicts),
        "groups": tuple(sorted(group for group in groups if len(group) > 1)),
        "excluded": dict(excluded),
        "stated_pairs": ends_of(pairs),
    }
    return replace(store, cases=kept), whole.model_copy(update=left)


def contradictions(report: AuditReport) -> tuple[Pair, ...]:
    """The pairs of which no truth is known: one image under two classes, or with two masks."""
    return tuple(
        pair for pair in report.conflicts if {"class", "mask"} & set(pair.conflict.split(", "))
    )


def ends_of(pairs: Iterable[Pair]) -> tuple[tuple[CaseId, CaseId], ...]:
    """The cases of pairs; each two once, sorted."""
    return tuple(sorted({(pair.first, pair.second) for pair in pairs}))


def _names(store: CaseStore) -> dict[str, list[Case]]:
    """What a case may be called -> the cases that are called so."""
    found: dict[str, list[Case]] = {}
    for case in store.cases:
        file = PurePosixPath(case.source_image)
        for name in {case.case_id, case.source_image, file.name, file.stem}:
            found.setdefault(name, []).append(case)
    return found


def _case(names: Mapping[str, Sequence[Case]], name: str, path: Path) -> Case:
    found = names.get(name, ())
    if len(found) != 1:
        what = "no case" if not found else f"{len(found)} cases"
        raise _wrong(f"{path} names {name!a}, which is {what} of the store")
    return found[0]


def _wrong(what: str, remedy: str = REMEDY) -> BusbenchError:
    return BusbenchError(Code.SPLIT_INVALID, f"{what}.", remedy)

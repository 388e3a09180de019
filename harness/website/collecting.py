"""Collection of a site's extras from the organiser's own folders.

Each folder that is named must give something: one that cannot is refused, since whoever named it
would take it for used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evaluator.documents.base import CaseId, Digest, Name, read
from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress, quiet
from harness.audit import Pair
from harness.export.citation import release_of
from harness.ranking.runs import FIND
from harness.splits import FrozenSplit, published_audit, require_store, subjects_of
from harness.splits.lock import SplitLock
from harness.store import CaseStore
from harness.website.edition import Edition
from harness.website.extras import Extras, Sources, SplitExtras
from harness.website.images.examples import Material, examples, show_pairs, transformed
from harness.website.images.logo import read_logo
from harness.website.images.sheets import Evidence, Sheet, make_sheet, require_open
from harness.website.images.thumbnails import Credit
from harness.website.leaks import leaks
from harness.website.plots.curves import find_curves
from harness.website.views import View

UNKNOWN = "not known"  # of a scanner
SCANNERS = 12  # that have a bar of their own


def find_splits(folders: Sequence[Path], wanted: set[Digest]) -> dict[Digest, FrozenSplit]:
    """The frozen splits in `folders` that are among those `wanted`.

    Raises:
        BusbenchError: `split-invalid` where a folder contains none, or one of them was changed.
    """
    remedy = "Name a folder that `busbench freeze` made, or one that contains such folders."
    found = {}
    for folder in folders:
        paths = sorted(folder.rglob("lock.json"))
        if not paths:
            raise BusbenchError(Code.SPLIT_INVALID, f"{folder} contains no frozen split.", remedy)
        for path in paths:
            lock = read(SplitLock, path, Code.SPLIT_INVALID, remedy=remedy)
            if lock.digest in wanted:
                found[lock.digest] = FrozenSplit.open(path.parent)
    return found


def collect(
    edition: Edition,
    splits: Mapping[Digest, FrozenSplit],
    sources: Sources,
    *,
    progress: Progress = quiet,
) -> Extras:
    """The extras of an edition.

    Args:
        splits: that the edition's results name, as far as they are at hand.

    Raises:
        BusbenchError: `usage` where a source gives nothing, or what it gives may not be shown;
            `results-closed`; `split-invalid`, `store-invalid`, `cases-invalid`,
            `predictions-invalid` where what is shown is not what was frozen or signed;
            what `read_logo` raises.
    """
    named = edition.challenge.logo
    logo = None if named is None else read_logo(named)
    views = _chosen(edition, sources)
    stores = _matched(sources.stores, splits)
    _require_terms(sources.may_show, [store.info.dataset for store in stores.values()])
    materials = {
        digest: Material(
            split,
            stores.get(digest),
            _may_show(split.lock.dataset, sources),
            _held_out_elsewhere(split, splits.values()),
        )
        for digest, split in splits.items()
    }
    pairs = [(view, _material(view, materials)) for view in views]
    return Extras(
        splits={d: _of_split(material, progress) for d, material in materials.items()},
        sheets=tuple(_sheets(edition, pairs, sources.cases, progress=progress)),
        curves=find_curves(sources.trained, edition.reports),
        logo=logo,
    )


def _matched(
    paths: Sequence[Path], splits: Mapping[Digest, FrozenSplit]
) -> dict[Digest, CaseStore]:
    """The store of each split that there is one of."""
    found: dict[Digest, CaseStore] = {}
    for path in paths:
        store = CaseStore.open(path)
        own = [s for s in splits.values() if s.lock.store_digest == store.info.digest]
        if not own:
            message = f"No split that this site shows was frozen from {path}."
            remedy = "Name the split's folder with --splits, or leave this --store out."
            raise BusbenchError(Code.USAGE, message, remedy)
        for split in own:
            require_store(split, store)
            left_out = (split.lock.excluded or {}).keys()
            kept = tuple(case for case in store.cases if case.case_id not in left_out)
            found[split.lock.digest] = replace(store, cases=kept)
    return found


def _require_terms(may_show: Sequence[Name], datasets: Sequence[Name]) -> None:
    for name in may_show:
        if name not in datasets:
            message = f"--may-show {name!a} is the dataset of no --store."
            raise BusbenchError(Code.USAGE, message, "Name its store, too, or leave it out.")
        if release_of(name).may_show:
            message = f"--may-show {name} changes nothing: its terms let anybody show images."
            raise BusbenchError(Code.USAGE, message, "Leave it out.")


def _may_show(dataset: Name, sources: Sources) -> bool:
    return release_of(dataset).may_show or dataset in sources.may_show


def _held_out_elsewhere(split: FrozenSplit, others: Iterable[FrozenSplit]) -> frozenset[CaseId]:
    """The cases that other splits of a split's dataset hold out: to it they may be training."""
    same = [one for one in others if one.lock.dataset == split.lock.dataset and one != split]
    return frozenset[CaseId]().union(*(one.hidden() for one in same))


# --- a split ---------------------------------------------------------------------------------


def _of_split(material: Material, progress: Progress) -> SplitExtras:
    split, store = material.split, material.store
    report = published_audit(split)
    twins = [pair for pair in report.pairs if pair.kind != "same-patient"] if report else []
    found = SplitExtras(pairs=tuple(sorted(twins, key=_worst_first)), has_store=store is not None)
    if store is None:
        return found
    subjects = subjects_of(store, progress)
    found = replace(
        found,
        devices=_devices(split, store),
        leaks=leaks(split, report, subjects) if report else (),
    )
    if not material.shows:
        return found
    shown = examples(material, store, subjects)
    outlined = [one for one in shown if one.path]
    return replace(
        found,
        credit=Credit.of(split.lock.dataset),
        examples=shown,
        pictured=show_pairs(material, store, found.pairs),
        transformed=transformed(store, outlined[0]) if outlined else None,
    )


def _worst_first(pair: Pair) -> tuple[object, ...]:
    return not pair.conflict, -pair.similarity, pair


def _devices(split: FrozenSplit, store: CaseStore) -> dict[str, dict[str, int]]:
    """Scanner -> part -> images, the most frequent first; none where no scanner is known."""
    part_of = {row.case_id: row.part for row in split.rows}
    parts = ("train", *split.lock.hidden_parts)
    found: dict[str, dict[str, int]] = {}
    for case in store.cases:
        counts = found.setdefault(case.device or UNKNOWN, dict.fromkeys(parts, 0))
        counts[part_of[case.case_id]] += 1
    if {*found} <= {UNKNOWN}:
        return {}
    ordered = sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    rest = [counts for _, counts in ordered[SCANNERS:]]
    others = {part: sum(counts[part] for counts in rest) for part in parts}
    return dict(ordered[:SCANNERS]) | ({f"{len(rest)} others": others} if rest else {})


# --- sheets -------------------------------------------------------------------------------


def _chosen(edition: Edition, sources: Sources) -> tuple[View, ...]:
    """The tables that sheets are asked for of."""
    if not sources.cases:
        return ()
    views = [view for view in edition.views if view.track.ranked]
    names = dict.fromkeys(view.track.track for view in views)
    if unknown := [name for name in sources.cases_of if name not in names]:
        message = f"--cases-of {unknown[0]!a}: no track of that name has a complete result."
        raise BusbenchError(Code.USAGE, message, f"Name some of {', '.join(names)}.")
    chosen = sources.cases_of or tuple(names)
    require_open(edition.reports, chosen, edition.challenge)
    return tuple(view for view in views if view.track.track in chosen)


def _material(view: View, materials: Mapping[Digest, Material]) -> Material:
    """The images of a table; a sheet of those that are not at hand, or may not be shown, is none.

    Raises:
        BusbenchError: `usage`.
    """
    track = view.track
    material = materials.get(track.split_digest)
    if material is None or material.store is None:
        message = f"A sheet of {track.track} needs the images of {track.dataset} "
        message += f"{track.split_version}."
        remedy = "Name its frozen split with --splits, and the store it was frozen from with "
        remedy += "--store, or leave the track out with --cases-of."
        raise BusbenchError(Code.USAGE, message, remedy)
    if not material.shows:
        message = f"The terms of {track.dataset} do not let anybody show its images: "
        message += f"{release_of(track.dataset).terms}."
        remedy = f"Leave the track out with --cases-of, or state with --may-show {track.dataset} "
        raise BusbenchError(Code.USAGE, message, f"{remedy}that you may.")
    return material


def _sheets(
    edition: Edition,
    pairs: Sequence[tuple[View, Material]],
    runs: Sequence[Path],
    *,
    progress: Progress,
) -> Iterator[Sheet]:
    if not pairs:
        return
    evidence = Evidence.of(runs, edition.reports)
    lacking = dict.fromkeys(view.track.track for view, _ in pairs)
    for done, (view, material) in enumerate(pairs, start=1):
        sheet = make_sheet(view.name, view.track, material=material, evidence=evidence)
        progress("sheets", done, len(pairs))
        if sheet is not None:
            lacking.pop(view.track.track, None)
            yield sheet
    if lacking:
        message = f"No run in {', '.join(map(str, runs))} contains a result that is shown on "
        message += f"{', '.join(lacking)}."
        remedy = f"{FIND} To make no sheet of a track, name the others with --cases-of."
        raise BusbenchError(Code.CASES_INVALID, message, remedy)

"""Sheet of a track: the best, middling and worst cases of each method, outlined.

It shows test images with their references. So it is made on request, of tracks
whose labels are public, on a day on which every phase lets per-case results be read. It is made of
plain images alone: what the consistency pass cut out of them would tell of the secret seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.base import CaseId, Digest
from evaluator.errors import BusbenchError, Code
from evaluator.predictions import bits_file, majority, open_predictions, read_packed, unpack
from harness.challenge import Challenge
from harness.ledger import RecordedReport
from harness.quotas import recording
from harness.ranking import Row, Track
from harness.ranking.runs import FIND, kept_predictions, read_case_values, run_folders, who
from harness.store import Case
from harness.website.images.examples import Example, Material, example
from harness.website.plots.shown import MOST

if TYPE_CHECKING:
    import pandas as pd

MARKED = "normal, marked"  # why a case without a lesion is shown
SIDE_BY_SIDE = 6  # methods, the first ranked, that are shown on each other's cases


@dataclass(frozen=True)
class Prediction:
    """What a method gave for a case."""

    dice: float  # mean of the fold models
    hd95: float
    path: str  # the outline of what more than half of the fold models mark


@dataclass(frozen=True)
class Method:
    """A ranked result and its chosen cases."""

    entry: int
    rank: int
    method: str
    team: str
    folds: int
    chosen: Mapping[str, CaseId]  # why -> case


@dataclass(frozen=True)
class Sheet:
    """The images of a track."""

    name: str  # of its table, by which pages are called
    track: Track
    methods: tuple[Method, ...]
    cases: Mapping[CaseId, Example]
    predictions: Mapping[tuple[int, CaseId], Prediction]  # of (entry, case)
    lost: tuple[str, ...]  # whose cases or predictions are in no run

    @property
    def file(self) -> str:
        """Its page."""
        return f"sheets/{self.name}.html"

    @property
    def side_by_side(self) -> tuple[Method, ...]:
        """The methods that are shown on each other's cases; none where there is but one."""
        return self.methods[:SIDE_BY_SIDE] if len(self.methods) > 1 else ()

    @property
    def shared_cases(self) -> Mapping[CaseId, tuple[tuple[str, str], ...]]:
        """The cases that are shown side by side: why each was chosen, and of which method."""
        found: dict[CaseId, list[tuple[str, str]]] = {}
        for one in self.side_by_side:
            for why, case_id in one.chosen.items():
                found.setdefault(case_id, []).append((why, one.method))
        return {case_id: tuple(reasons) for case_id, reasons in found.items()}


@dataclass(frozen=True)
class Evidence:
    """What a sheet is made from."""

    runs: Mapping[Digest, Path]  # as `run_folders` finds them
    kept: Mapping[Digest, Path]  # as `kept_predictions` finds them
    reports: Mapping[int, RecordedReport]  # by entry

    @classmethod
    def of(cls, runs: Sequence[Path], reports: Iterable[RecordedReport]) -> Evidence:
        """That of some folders of runs."""
        by_entry = {entry.number: entry for entry in reports}
        return cls(run_folders(runs), kept_predictions(runs), by_entry)

    def predictions(self, entry: int) -> Path | None:
        """Where the predictions of an entry are; None where no run has them or their scores."""
        report = self.reports[entry].report
        folder = self.kept.get(report.provenance.predictions_sha256)
        return None if folder is None or report.identity() not in self.runs else folder / "infer"

    def values(self, entry: int, hidden: set[CaseId]) -> pd.DataFrame:
        """An entry's metrics on every case, as `average_folds` gives them.

        Raises:
            BusbenchError: `cases-invalid` where a run contradicts its report, or is of other cases
                than the `hidden` ones of the split.
        """
        one = self.reports[entry]
        found = read_case_values(one, self.runs)
        if not {*map(str, found.index)} <= hidden:
            message = f"The cases of {who(one)} are not those that its split holds out."
            raise BusbenchError(Code.CASES_INVALID, message, FIND)
        return found


def require_open(
    reports: Iterable[RecordedReport], tracks: Iterable[str], challenge: Challenge
) -> None:
    """Refuse a sheet that would show what participants may not have.

    Args:
        reports: all of the ledger: the labels of one that no longer counts are private still.

    Raises:
        BusbenchError: `usage` where the labels of a track, or of another track of its dataset, are
            private; `results-closed` where a phase does not let per-case results be read.
    """
    private = {one.dataset for one in challenge.tracks.values() if one.labels == "private"}
    datasets: dict[str, set[str]] = {}
    for report in (entry.report for entry in reports):
        datasets.setdefault(report.track, set()).add(report.dataset)
        if report.labels != "public":
            private.add(report.dataset)
    for name in tracks:
        if closed := sorted(datasets[name] & private):
            message = f"A sheet of {name} would show test masks of {closed[0]}, "
            message += "whose labels are private on a track."
            remedy = "Leave --cases out, or name tracks of other datasets with --cases-of."
            raise BusbenchError(Code.USAGE, message, remedy)
    day = recording.today()
    for phase in challenge.phases:
        if not phase.shows_all(day):
            opens = phase.results_open or "a day that challenge.yaml does not name yet"
            message = f"A sheet shows per-case results, which the phase {phase.name} closes "
            message += f"until {opens}."
            raise BusbenchError(Code.RESULTS_CLOSED, message, "Publish without --cases till then.")


def make_sheet(name: str, track: Track, *, material: Material, evidence: Evidence) -> Sheet | None:
    """The sheet of a track; None where no complete result has its cases in a run.

    Args:
        name: of its table.
        material: with its store.

    Raises:
        BusbenchError: `cases-invalid` where a run contradicts its report, `predictions-invalid`,
            `store-invalid`.
    """
    split, store = material.split, material.store
    assert store is not None
    known = {case.case_id: case for case in store.cases}
    rows = track.ranked[:MOST]
    folders = {row.entry: evidence.predictions(row.entry) for row in rows}
    kept = {entry: folder for entry, folder in folders.items() if folder is not None}
    lost = tuple(who(evidence.reports[entry]) for entry in folders if entry not in kept)
    values = {entry: evidence.values(entry, split.hidden(track.part)) for entry in kept}
    methods = tuple(_method(row, values[row.entry], known) for row in rows if row.entry in kept)
    if not methods:
        return None
    sheet = Sheet(name, track, methods, {}, {}, lost)
    wanted = _wanted(sheet)
    predictions = {
        (entry, case_id): found
        for entry, case_ids in wanted.items()
        for case_id, found in _predictions(kept[entry], case_ids, known=known, values=values[entry])
    }
    shown = sorted({case_id for case_ids in wanted.values() for case_id in case_ids})
    cases = {case_id: example(split, store, known[case_id]) for case_id in shown}
    return replace(sheet, cases=cases, predictions=predictions)


def _method(row: Row, values: pd.DataFrame, known: Mapping[CaseId, Case]) -> Method:
    assert row.rank is not None
    folds = max(1, row.models)  # of a container image, which may be called once
    return Method(row.entry, row.rank, row.method, row.team, folds, choose(values, known))


def choose(values: pd.DataFrame, known: Mapping[CaseId, Case]) -> dict[str, CaseId]:
    """Why -> case: by Dice among the images with a lesion, and a normal image that is marked.

    Args:
        values: a row a case, with `dice`, as `average_folds` gives them.
    """
    ordered = sorted((float(dice), str(case)) for case, dice in values["dice"].items())
    lesions = [case for _, case in ordered if known[case].label != "normal"]
    marked = [case for dice, case in ordered if known[case].label == "normal" and dice < 1]
    chosen = {}
    if lesions:
        chosen = {"best": lesions[-1], "median": lesions[len(lesions) // 2], "worst": lesions[0]}
    return chosen | ({MARKED: marked[0]} if marked else {})


def _wanted(sheet: Sheet) -> dict[int, set[CaseId]]:
    """The cases of each entry that are shown."""
    wanted = {one.entry: {*one.chosen.values()} for one in sheet.methods}
    for one in sheet.side_by_side:
        wanted[one.entry] |= sheet.shared_cases.keys()
    return wanted


def _predictions(
    folder: Path, wanted: set[CaseId], *, known: Mapping[CaseId, Case], values: pd.DataFrame
) -> Iterator[tuple[CaseId, Prediction]]:
    """What the fold models gave for some cases, on the plain images."""
    from harness.website.images.thumbnails import outline  # noqa: PLC0415 - imports OpenCV

    found = open_predictions(folder)
    masks: dict[CaseId, list[NDArray[np.bool_]]] = {case_id: [] for case_id in wanted}
    for fold in found.folds:
        for case, packed in read_packed(folder / bits_file(fold), found.cases):
            if case.case_id in wanted:
                masks[case.case_id].append(unpack(packed, case.height, case.width))
    for case_id in sorted(wanted):
        size = (known[case_id].height, known[case_id].width)
        if not masks[case_id] or masks[case_id][0].shape != size:
            message = f"{folder} has no mask of {case_id} of the size of its image."
            raise BusbenchError(Code.PREDICTIONS_INVALID, message, FIND)
        dice, hd95 = (float(values[name].to_dict()[case_id]) for name in ("dice", "hd95"))
        path = outline(majority(masks[case_id]))
        yield case_id, Prediction(dice, hd95, path)

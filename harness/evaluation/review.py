"""Review of a ledger's reports: frozen splits, committed labels, kept predictions scored again.

Each function gives the differences that it finds, one line each; none means that all agree.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import eq
from pathlib import Path

from evaluator.documents.base import CaseId, Digest, read
from evaluator.documents.scores import Scores
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file
from evaluator.predictions import DOCUMENT, open_predictions
from evaluator.progress import Progress, quiet
from harness.challenge import HiddenPart
from harness.evaluation.stage_commands import score_stage, write_left_out
from harness.evaluation.stage_output import known_profile
from harness.ledger.report import Report
from harness.sandbox.cached import Context
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit, Reveal, read_secret, secret_path, verify
from harness.splits.commitments import opened_labels
from harness.splits.lock import SplitLock
from harness.splits.manifest import REMEDY
from harness.store import CaseStore

Reports = Mapping[str, Report]  # what each is called in a difference -> the report


@dataclass(frozen=True)
class Evidence:
    """What a reviewer has at hand of the labels: stores with a secret, or reveal documents."""

    stores: Sequence[CaseStore] = ()
    secret: Path | None = None  # null: beside each split, where a freeze leaves it
    reveals: Sequence[Reveal] = ()

    def store_of(self, lock: SplitLock) -> CaseStore | None:
        """The store of the lock's dataset; whether it is the frozen one is for `verify` to say."""
        return next((s for s in self.stores if s.info.dataset == lock.dataset), None)

    def reveal_of(self, lock: SplitLock) -> Reveal | None:
        """The reveal document of the lock's split."""
        return next((r for r in self.reveals if r.split_digest == lock.digest), None)


def review_splits(
    reports: Reports, folder: Path, evidence: Evidence, *, progress: Progress = quiet
) -> list[str]:
    """Hold the reports against the frozen splits under `folder`, and those against their labels.

    Args:
        folder: a frozen split, or a folder with any number of them below.

    Raises:
        BusbenchError: `split-invalid` where there is no split, `keys-invalid` where a store is
            named and there is no secret to open its commitments.
    """
    splits, named, judged = _locks(folder), list[str](), dict[Digest, _Judged]()
    for name, report in reports.items():  # each is read in its turn, and only here
        digest = report.provenance.split_digest
        if digest not in splits:
            named.append(f"{name}: {folder} contains no split with the digest {digest}")
            continue
        path, lock = splits[digest]
        if (report.dataset, report.split_version) != (lock.dataset, lock.version):
            what = "another dataset or version than the split it was scored on"
            named.append(f"{name}: it names {what}")
        if digest not in judged:
            judged[digest] = _Judged.of(path, lock, evidence, progress=progress)
        judged[digest].take(name, report)
    differences = (line for digest in sorted(judged) for line in judged[digest].differences)
    return [*named, *differences, *_unused(evidence, [splits[digest][1] for digest in judged])]


@dataclass(frozen=True)
class _Judged:
    """A frozen split, and what is found of it and of the reports that were scored on it."""

    path: Path
    opened: Mapping[HiddenPart, Digest | None] | None
    # ^ of the labels of each part; None where the split does not verify
    differences: list[str]

    @classmethod
    def of(cls, path: Path, lock: SplitLock, evidence: Evidence, *, progress: Progress) -> _Judged:
        store, reveal = evidence.store_of(lock), evidence.reveal_of(lock)
        secret = None
        if store is not None and reveal is None:
            secret = read_secret(evidence.secret or secret_path(path.resolve()))
        found = verify(path, store, reveal, secret=secret, progress=progress)
        opened = None
        if not found:  # else which cases are of which part is not known
            split, source = FrozenSplit.open(path), reveal or store
            opened = {part: opened_labels(split.hidden(part), source) for part in lock.hidden_parts}
        return cls(path, opened, [f"{path}: {difference}" for difference in found])

    def take(self, name: str, report: Report) -> None:
        """Find whether a report was scored with other labels than those of its part."""
        if self.opened is None:
            return
        if report.part not in self.opened:
            what = f"it was scored on the part {report.part}, which {self.path} lacks"
            self.differences.append(f"{name}: {what}")
        elif self.opened[report.part] not in (None, report.scores.labels_sha256):
            what = "the classes or masks that it was scored with are not those of"
            self.differences.append(f"{name}: {what} {self.path}")


def count_opened(reports: Reports, folder: Path, evidence: Evidence) -> int:
    """How many of the reports were scored on a split whose labels the evidence opens."""
    locks = [lock for _, lock in _locks(folder).values()]
    opened = {lock.digest for lock in locks if evidence.reveal_of(lock) or evidence.store_of(lock)}
    return sum(report.provenance.split_digest in opened for report in reports.values())


def _locks(folder: Path) -> dict[str, tuple[Path, SplitLock]]:
    files = sorted(folder.rglob("lock.json"))
    if not files:
        raise BusbenchError(Code.SPLIT_INVALID, f"{folder} contains no frozen split.", REMEDY)
    locks = [
        (file.parent, read(SplitLock, file, Code.SPLIT_INVALID, remedy=REMEDY)) for file in files
    ]
    return {lock.digest: (path, lock) for path, lock in locks}


def _unused(evidence: Evidence, locks: Sequence[SplitLock]) -> Iterator[str]:
    """Evidence that proved nothing must not look as if it had."""
    for store in evidence.stores:
        if store.info.dataset not in {lock.dataset for lock in locks}:
            yield f"{store.path}: no report was scored on a split of it"
    for reveal in evidence.reveals:
        if reveal.split_digest not in {lock.digest for lock in locks}:
            yield f"the reveal document of {reveal.dataset} {reveal.version}: no report needs it"


def rescore(
    reports: Reports,
    runs: Path,
    bundles: Sequence[tuple[Bundles, Keys]],
    *,
    context: Context,
) -> list[str]:
    """Score the kept predictions of every report again and require the same numbers.

    Args:
        runs: the folder that `busbench evaluate --out` filled.
        bundles: the sealed bundles of all tracks and parts concerned, each with its keys.

    Raises:
        BusbenchError: whatever the scoring stage fails with.
    """
    kept = {sha256_file(file): file.parent for file in sorted(runs.glob(f"*/infer/{DOCUMENT}"))}
    by_labels = {opened[0].sealed.labels_sha256: opened for opened in bundles}
    found = []
    for number, (name, report) in enumerate(reports.items(), start=1):
        predictions = kept.get(report.provenance.predictions_sha256)
        opened = by_labels.get(report.provenance.sealed_labels_sha256)
        if predictions is None:
            found.append(f"{name}: {runs} does not contain its predictions")
        elif opened is None:
            more = "; those of a final part take --final-keys" if report.part == "final" else ""
            found.append(f"{name}: the sealed labels it was scored with are in no bundle{more}")
        elif (damage := _damage(predictions)) is not None:
            found.append(f"{name}: {damage}")
        else:
            how = Scoring(
                known_profile(report.scores, f"The result of {name}"),
                report.left_out,
            )
            again = _score_again(predictions, opened, how, context=context)
            found += [f"{name}: {difference}" for difference in scores_differ(report.scores, again)]
        context.progress("scoring again", number, len(reports))
    return found


def _damage(predictions: Path) -> str | None:
    """What is wrong with kept masks, which their document names by digest."""
    try:
        open_predictions(predictions)
    except BusbenchError as error:
        return error.message
    return None


@dataclass(frozen=True)
class Scoring:
    """How predictions were scored."""

    profile: str  # the version of the metric profile
    left_out: tuple[CaseId, ...]  # test cases that were not


def _score_again(
    predictions: Path, sealed: tuple[Bundles, Keys], how: Scoring, *, context: Context
) -> Scores:
    bundles, keys = sealed
    with tempfile.TemporaryDirectory(prefix="busbench-rescore-") as name:
        folder = Path(name)
        stage = score_stage(
            predictions,
            folder,
            labels=bundles.labels,
            key=keys.labels.identity,
            profile=how.profile,
            challenge=context.challenge,
            left_out=write_left_out(folder, how.left_out),
        )
        out = context.run_once(stage)
        return read(
            Scores, out / "scores.json", Code.STAGE_CRASHED, remedy="Run the same command again."
        )


def scores_differ(reported: Scores, again: Scores) -> Iterator[str]:
    """Every number that is another one now, by its name; equal means equal to the last bit."""
    for line in differing(leaves_of(reported.document()), leaves_of(again.document())):
        yield f"{line} when scored again"


def differing(
    before: Mapping[str, object],
    after: Mapping[str, object],
    equal: Callable[[object, object], bool] = eq,
) -> Iterator[str]:
    """Every number and word of `leaves_of` that is another one now, by its name."""
    for name in sorted(before.keys() | after.keys()):
        if not equal(before.get(name), after.get(name)):
            yield f"{name} was {before.get(name)} and is {after.get(name)}"


def leaves_of(value: object, at: str = "") -> dict[str, object]:
    """The numbers and words of a document, by their dotted names."""
    if isinstance(value, dict):
        parts: Iterator[tuple[object, object]] = iter(value.items())
    elif isinstance(value, list):
        parts = enumerate(value)
    else:
        return {at: value}
    leaves: dict[str, object] = {}
    for name, part in parts:
        leaves |= leaves_of(part, f"{at}.{name}" if at else str(name))
    return leaves

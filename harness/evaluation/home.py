"""Home track of a submission that is tested on another one, and the test cases it may have seen.

Datasets share images. A submission that was trained on one of them is not scored on the patients of
another of whom its own training part shows a frame: the organiser's cross-audit names the twins,
the two frozen splits say which of them are on those sides, and what else is of their patients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.documents.base import CASE_BY_CASE, Digest, Name, Title, parse
from evaluator.documents.inference import Precision
from evaluator.documents.reading import read_bytes
from evaluator.documents.submission import AnySubmission
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes
from harness.challenge import Challenge, Generalisation
from harness.ledger.report import HomeTrack
from harness.sealing.documents import SealedBundle
from harness.splits import FrozenSplit

if TYPE_CHECKING:
    from harness.audit.across import CrossAudit

AUDIT = "`busbench audit STORE STORE --out` of both stores makes it; name it under `twins`."
FREEZE = "Name the folder of the frozen split, or one that contains it, with --splits."


@dataclass(frozen=True)
class Visitor:
    """Who hands in a submission, on the track that it is tested on."""

    team: Title
    method: Title
    track: Name
    digest: Digest


def home_of(
    facts: AnySubmission, tested: SealedBundle, challenge: Challenge, *, splits: Sequence[Path]
) -> HomeTrack:
    """The track that a submission was trained on, with the test cases of another to leave out.

    Args:
        tested: the sealed test set of the other track.
        splits: frozen splits, or folders of them, those of both tracks among them.

    Raises:
        BusbenchError: `usage` where it is the submission's own track, or not the test part;
            `challenge-invalid` where challenge.yaml offers no generalisation, lacks the
            submission's track, or names no cross-audit of both stores; `split-invalid` where a
            frozen split is not there, or two of one name differ.
    """
    if facts.track == tested.track:
        message = f"--on {tested.track} is the submission's own track."
        raise BusbenchError(Code.USAGE, message, "Leave --on out.")
    if tested.part != "test":
        message = f"--on tests on the part test, and this bundle has the part {tested.part}."
        raise BusbenchError(Code.USAGE, message, "Wait until the phase is over, or leave --on out.")
    if challenge.generalisation is None:
        message = "challenge.yaml offers no evaluation on other tracks than a submission's own."
        remedy = "Declare `generalisation: {twins: [cross-audit.json]}`."
        raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)
    declared = challenge.tracks.get(facts.track)
    if declared is None:
        message = f"challenge.yaml declares no track {facts.track}, which the submission is for."
        raise BusbenchError(Code.CHALLENGE_INVALID, message, "Declare it with dataset and split.")
    found = list(_frozen(splits))
    own = _split(found, declared.dataset, declared.split_version)
    other = _split(found, tested.dataset, tested.split_version, digest=tested.split_digest)
    audit = _audit_of(challenge.generalisation, own, other)
    return HomeTrack(
        track=facts.track,
        dataset=own.lock.dataset,
        split_version=own.lock.version,
        split_digest=own.lock.digest,
        twins_sha256=sha256_bytes(canonical_json(audit.document())),
        left_out=tuple(sorted(_twins(audit, own, other))),
    )


def require_home_precision(precision: Precision, track: Name) -> None:
    """Refuse to test in a precision whose loss is measured on the track's own validation cases.

    Raises:
        BusbenchError: `challenge-invalid`.
    """
    if precision != "fp32":
        message = f"Track {track} is computed in {precision}, and --on takes tracks in fp32 alone."
        remedy = "What a precision loses is measured on validation cases of its own track."
        raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)


def _frozen(folders: Sequence[Path]) -> Iterator[FrozenSplit]:
    for folder in folders:
        yield from (FrozenSplit.open(path.parent) for path in sorted(folder.rglob("lock.json")))


def _split(
    found: Sequence[FrozenSplit], dataset: Name, version: Name, *, digest: Digest | None = None
) -> FrozenSplit:
    named = {
        split.lock.digest: split
        for split in found
        if (split.lock.dataset, split.lock.version) == (dataset, version)
        and digest in (None, split.lock.digest)
    }
    if len(named) == 1:
        return named.popitem()[1]
    if named:
        paths = " and ".join(str(split.path) for split in named.values())
        message = f"{paths} are both called {dataset} {version}, and differ."
        raise BusbenchError(Code.SPLIT_INVALID, message, "Name with --splits the one in force.")
    message = f"--splits contains no frozen split {dataset} {version} that these bundles are of."
    raise BusbenchError(Code.SPLIT_INVALID, message, FREEZE)


def _audit_of(declared: Generalisation, own: FrozenSplit, other: FrozenSplit) -> CrossAudit:
    """The declared cross-audit of the two stores that the splits were frozen from.

    Raises:
        BusbenchError: `challenge-invalid` where there is none, or it looked for equal pixels alone.
    """
    wanted = {own.lock.store_digest, other.lock.store_digest}
    if len(wanted) == 1:
        message = f"{own.path} and {other.path} were frozen from one store."
        remedy = "Test on the track of another dataset: these two may share test and training."
        raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)
    for path in declared.twins:
        audit = _read(path)
        if not wanted <= {dataset.store_digest for dataset in audit.datasets}:
            continue
        if audit.near:
            return audit
        message = f"{path} was made with --no-near, and twins that differ in a pixel are missing."
        raise BusbenchError(Code.CHALLENGE_INVALID, message, AUDIT)
    names = f"{own.lock.dataset} and {other.lock.dataset}"
    message = f"challenge.yaml names no cross-audit of the stores of {names}."
    raise BusbenchError(Code.CHALLENGE_INVALID, message, AUDIT)


def _read(path: Path) -> CrossAudit:
    from harness.audit.across import CrossAudit  # noqa: PLC0415  it imports datasets and SciPy

    code = Code.CHALLENGE_INVALID
    data = read_bytes(path, CASE_BY_CASE.bytes, code, remedy=AUDIT)
    return parse(CrossAudit, data, str(path), code=code, remedy=AUDIT)


def _twins(audit: CrossAudit, own: FrozenSplit, other: FrozenSplit) -> Iterator[str]:
    """The test cases of `other` whose patient the training part of `own` has a frame of."""
    names = {dataset.store_digest: dataset.name for dataset in audit.datasets}
    home, away = names[own.lock.store_digest], names[other.lock.store_digest]
    training = {row.case_id for row in own.rows if row.part == "train"}
    test = {row.case_id: row.patient_group for row in other.rows if row.part == "test"}
    sides = [((p.first_dataset, p.first), (p.second_dataset, p.second)) for p in audit.pairs]
    patients = {
        test[there]
        for pair in sides
        for (one, here), (two, there) in (pair, pair[::-1])
        if (one, two) == (home, away) and here in training and there in test
    }
    yield from (case_id for case_id, patient in test.items() if patient in patients)

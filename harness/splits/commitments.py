"""Commitments to the withheld labels: proof, after the challenge, that no test label ever changed.

At the freeze every hidden case gets a commitment: SHA-256 over a salt, its id, class and mask. The
salt keeps it from being guessed: the empty mask of a normal case is no riddle. It is
HMAC-SHA256(secret, case id), so that one secret opens all, and one salt opens no other. The reveal
document publishes salts, classes and mask digests; anyone can then hash for themselves.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterator, Set
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from evaluator.documents.base import CASE_BY_CASE, CaseId, Contract, Digest, Label, Name
from evaluator.documents.reading import Bounds
from evaluator.documents.scores import labels_digest
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes, write_atomically
from harness.folders import keep_from_git
from harness.locking import locked
from harness.splits.lock import SplitLock
from harness.splits.manifest import FrozenSplit
from harness.store import Case, CaseStore

SECRET_BYTES = 32


class RevealedCase(Contract):
    """What opens one commitment."""

    salt: Digest
    label: Label = Field(alias="class")
    mask_sha256: Digest  # over shape and pixels, see `evaluator.files.sha256_pixels`


class Reveal(Contract):
    """The document that opens all commitments of a split."""

    bounds: ClassVar[Bounds] = CASE_BY_CASE
    schema_: Literal["busbench/split-reveal/v1"] = Field(
        default="busbench/split-reveal/v1", alias="schema"
    )
    dataset: Name
    version: Name
    split_digest: Digest
    cases: dict[CaseId, RevealedCase]


def salt_of(secret: bytes, case_id: str) -> str:
    """HMAC-SHA256 of the case id under the secret, in hexadecimal."""
    return hmac.digest(secret, case_id.encode(), "sha256").hex()


def commitment(salt: str, case_id: str, label: str, *, mask_sha256: str) -> str:
    """SHA-256 of the JSON list [kind, salt, case id, class, mask digest], written without spaces.

    A list of quoted strings can be read in one way only, so no two cases share a text.
    """
    return sha256_bytes(
        canonical_json(["busbench/commitment/v1", salt, case_id, label, mask_sha256])
    )


def commit(secret: bytes, case: Case) -> str:
    """The commitment to a case's class and mask."""
    return commitment(
        salt_of(secret, case.case_id), case.case_id, case.label, mask_sha256=case.mask_sha256
    )


def reveal(split: FrozenSplit, store: CaseStore, secret: bytes) -> Reveal:
    """The document that opens the commitments of a split.

    Raises:
        BusbenchError: `split-invalid` where store and secret do not open every one of them.
    """
    by_id = {case.case_id: case for case in store.cases if case.case_id in split.lock.commitments}
    document = Reveal(
        dataset=split.lock.dataset,
        version=split.lock.version,
        split_digest=split.lock.digest,
        cases={
            case_id: RevealedCase.model_validate(
                {
                    "salt": salt_of(secret, case_id),
                    "class": case.label,
                    "mask_sha256": case.mask_sha256,
                }
            )
            for case_id, case in by_id.items()
        },
    )
    for difference in unopened(split.lock, document):
        raise BusbenchError(
            Code.SPLIT_INVALID,
            f"{store.path} and the secret do not open {split.path}: {difference}.",
            "Name the store that the split was frozen from, and the secret made at that freeze.",
        )
    return document


def unopened(lock: SplitLock, document: Reveal) -> Iterator[str]:
    """Which commitments a reveal document fails to open."""
    if document.split_digest != lock.digest:
        yield "the reveal document belongs to another split"
    for case_id in sorted(lock.commitments.keys() | document.cases.keys()):
        case = document.cases.get(case_id)
        if case is None:
            yield f"the reveal document does not name the hidden case {case_id}"
        elif case_id not in lock.commitments:
            yield f"the reveal document names {case_id}, which is no hidden case"
        elif (
            commitment(case.salt, case_id, case.label, mask_sha256=case.mask_sha256)
            != (lock.commitments[case_id])
        ):
            yield f"the class or mask of {case_id} is not the one that was committed to"


def opened_labels(hidden: Set[CaseId], source: Reveal | CaseStore | None) -> Digest | None:
    """The digest that a report scored on these labels carries; None where nothing opens them.

    Args:
        hidden: the cases of the report's part.

    Whether they are those that were committed to is for `unopened` and `commit` to say.
    """
    if source is None:
        return None
    cases = (
        source.cases.items()
        if isinstance(source, Reveal)
        else ((case.case_id, case) for case in source.cases)
    )
    return labels_digest((i, case.label, case.mask_sha256) for i, case in cases if i in hidden)


def secret_path(split: Path) -> Path:
    """Where the organiser's secret of a split lies unless another place is named: beside it."""
    return split.with_name(f"{split.name}.secret")


def make_secret(path: Path) -> bytes:
    """The secret in a file; where there is none, a new one, for its owner's eyes only.

    Raises:
        BusbenchError: `keys-invalid` where the file contains something else.
    """
    with locked(path.with_name(f".{path.name}.lock")):  # or two splits would share one's secret
        if not path.exists():
            secret = secrets.token_bytes(SECRET_BYTES)
            keep_from_git(path)
            write_atomically(path, secret.hex().encode() + b"\n", mode=0o600)
        return read_secret(path)


def read_secret(path: Path) -> bytes:
    """The secret in a file.

    Raises:
        BusbenchError: `keys-invalid` where it is gone or is none.
    """
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        text = ""
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise BusbenchError(
            Code.KEYS_INVALID,
            f"{path} is missing, or contains no secret of {SECRET_BYTES} bytes in hexadecimal.",
            "Name the secret that was made at the freeze, or restore it from its backup.",
        )
    return bytes.fromhex(text)

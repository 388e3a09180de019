"""Archives sealed to ephemeral keys: sandboxed like test images, and never opened again."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

import pyrage

from evaluator.documents.base import Digest
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.files import write_atomically
from evaluator.sealed import seal_archive
from harness.evaluation.sealed_files import KeyText


def new_key() -> tuple[str, KeyText]:
    """The public half of a new key that is in memory alone, and what gives the key."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity.to_public()), lambda: str(identity)


def seal_once(
    archive: Path, cases: Iterable[SealedCase], content: Iterable[bytes], *, split_digest: Digest
) -> tuple[Path, KeyText]:
    """Seal one file a case to a key that is in memory alone.

    Returns:
        `archive`, and what gives the key.
    """
    recipient, key = new_key()
    index = SealedIndex(
        split_digest=split_digest, repeat_seed=secrets.token_hex(32), cases=tuple(cases)
    )
    write_atomically(archive, seal_archive(index, content, recipient))
    return archive, key

"""Provenance attestations: signed statements, beside a submission, that it was trained here.

Anyone can write a file, so the attestation is a DSSE envelope by the organiser's report key, over a
payload type of its own: no signature on a report, or on a ledger entry, passes for one of these.
It is valid for one submission, one image and one split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from evaluator.documents.base import Contract, Digest, Title, parse, read
from evaluator.documents.reading import read_bytes
from evaluator.documents.submission import AnySubmission
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, write_atomically
from harness.ledger.attestation import SignatureText, check_signature, decode, named_key
from harness.sealing.keys import Keys, parse_public_key

PAYLOAD_TYPE: Literal["application/vnd.busbench.provenance+json"] = (
    "application/vnd.busbench.provenance+json"
)
SUFFIX = "provenance.json"  # beside the submission folder, never in it
CODE = Code.PROVENANCE_INVALID
REMEDY = (
    "Remove it to evaluate the submission as if trained elsewhere, train it again, or name the"
    " --ledger whose keys signed it."
)


class ProvenanceAttestation(Contract):
    """Which image made a submission on this machine, out of which split."""

    schema_: Literal["busbench/provenance/v1"] = Field(
        default="busbench/provenance/v1", alias="schema"
    )
    image: Title  # its id, or `process` and the version
    submission_sha256: Digest
    split_digest: Digest


class SignedProvenance(Contract):
    """The DSSE envelope as JSON."""

    payload: str  # base64 of the attestation
    payload_type: Literal["application/vnd.busbench.provenance+json"] = Field(
        default=PAYLOAD_TYPE, alias="payloadType"
    )
    signatures: tuple[SignatureText, ...] = Field(min_length=1, max_length=1)


def provenance_path(submission: Path) -> Path:
    """Where the attestation of a submission lies: out of its container's reach."""
    return submission.with_name(f"{submission.name}.{SUFFIX}")


def write_provenance(attestation: ProvenanceAttestation, submission: Path, keys: Keys) -> None:
    """Sign `attestation` and write it beside the submission folder."""
    envelope = Envelope(canonical_json(attestation.document()), PAYLOAD_TYPE, {})
    envelope.sign(keys.signer())
    signed = SignedProvenance.model_validate(envelope.to_dict())
    write_atomically(provenance_path(submission), canonical_json(signed.document()) + b"\n")


def keep_provenance(submission: Path, copy: Path) -> None:
    """Copy the attestation of a submission, where there is one, beside a copy of the submission.

    Else evaluating the copy would say that it was trained elsewhere.
    """
    path = provenance_path(submission)
    if path.exists():
        data = read_bytes(path, SignedProvenance.bounds.bytes, CODE, remedy=REMEDY)
        write_atomically(provenance_path(copy), data)


def trained_here(
    folder: Path,
    submission: AnySubmission,
    split_digest: str,
    *,
    keys: Keys,
    known_keys: Iterable[str] = (),
) -> str | None:
    """The image that trained this very submission on this very split here, or None.

    Args:
        known_keys: those (PEM) that the ledger names; what any of them signed counts, too.

    Raises:
        BusbenchError: `provenance-invalid` where one is there that the organiser did not sign.
    """
    path = provenance_path(folder)
    if not path.exists():
        return None
    found = _open(path, signers(keys, known_keys))
    about = (found.submission_sha256, found.split_digest)
    return found.image if about == (submission.digest, split_digest) else None


def signers(keys: Keys, known_keys: Iterable[str]) -> tuple[SSlibKey, ...]:
    """The organiser's report key, and those (PEM) that a ledger names."""
    return (keys.report, *map(parse_public_key, known_keys))


def _open(path: Path, keys: Sequence[SSlibKey]) -> ProvenanceAttestation:
    signed, where = read(SignedProvenance, path, CODE, remedy=REMEDY), str(path)
    (signature,) = signed.signatures
    try:
        payload, key = decode(signed.payload, where), named_key(signature, keys)
        check_signature(payload, PAYLOAD_TYPE, signature, key=key, where=where)
    except BusbenchError as error:
        raise BusbenchError(CODE, error.message, REMEDY) from error
    return parse(ProvenanceAttestation, payload, str(path), code=CODE, remedy=REMEDY)

"""Provenance attestations: signed statements, beside a submission, that it was trained here.

Anyone can write a file, so the attestation is a DSSE envelope by the organiser's report key, over a
payload type of its own: no signature on a report, or on a ledger entry, passes for one of these.
It is valid for one submission, one image and one split.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Literal

from pydantic import Field
from securesystemslib.dsse import Envelope

from evaluator.documents.base import Contract, Digest, Title, parse, read
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, write_atomically
from harness.ledger.attestation import SignatureText, check_signature
from harness.sealing.keys import Keys

PAYLOAD_TYPE: Literal["application/vnd.busbench.provenance+json"] = (
    "application/vnd.busbench.provenance+json"
)
SUFFIX = "provenance.json"  # beside the submission folder, never in it
CODE = Code.PROVENANCE_INVALID
REMEDY = "Remove it to evaluate the submission as if trained elsewhere, or train it again."


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


def trained_here(
    folder: Path, submission: Submission, split_digest: str, *, keys: Keys
) -> str | None:
    """The image that trained this very submission on this very split here, or None.

    Raises:
        BusbenchError: `provenance-invalid` where one is there that the organiser did not sign.
    """
    path = provenance_path(folder)
    if not path.exists():
        return None
    found = _open(path, keys)
    about = (found.submission_sha256, found.split_digest)
    return found.image if about == (submission.digest, split_digest) else None


def _open(path: Path, keys: Keys) -> ProvenanceAttestation:
    signed = read(SignedProvenance, path, CODE, remedy=REMEDY)
    try:
        payload = base64.b64decode(signed.payload, validate=True)
        check_signature(
            payload, PAYLOAD_TYPE, signed.signatures[0], key=keys.report, where=str(path)
        )
    except (BusbenchError, ValueError) as error:
        why = error.message if isinstance(error, BusbenchError) else f"{path} is damaged."
        raise BusbenchError(CODE, why, REMEDY) from error
    return parse(ProvenanceAttestation, payload, str(path), code=CODE, remedy=REMEDY)

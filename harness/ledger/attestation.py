"""Signed reports: in-toto statements in DSSE envelopes, and their verification.

A report is the predicate of an in-toto Statement v1 (https://in-toto.io/Statement/v1) whose
subjects are the digests of the ONNX files it judges. The statement, as canonical JSON, is the
payload of a DSSE envelope (https://github.com/secure-systems-lab/dsse) with one ed25519 signature.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Literal

from pydantic import Field
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, SSlibKey

from evaluator.documents.base import Contract, Digest, Document, FileName, parse
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes, write_atomically
from harness.ledger.report import Report
from harness.sealing.keys import Keys

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_FIRST_BYTES = b'{"payload":'
CODE = Code.LEDGER_INVALID
REMEDY = "Do not trust it: get it again from the organiser, or restore it from a backup."


class Subject(Contract):
    """One file that a statement is about."""

    name: FileName
    digest: dict[Literal["sha256"], Digest] = Field(min_length=1)


class Statement(Contract):
    """An in-toto statement: these files got this report."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(
        default="https://in-toto.io/Statement/v1", alias="_type"
    )
    subject: tuple[Subject, ...] = Field(min_length=1)
    predicate_type: Literal["https://busbench.org/report/v3"] = Field(
        default="https://busbench.org/report/v3", alias="predicateType"
    )
    predicate: Report


class SignatureText(Contract):
    """A DSSE signature: the fingerprint of its key, and the signature in base64."""

    keyid: Digest
    sig: str = Field(max_length=128)


class SignedReport(Contract):
    """A DSSE envelope as JSON; `open_report` gives the report inside."""

    payload: str  # base64 of the statement
    payload_type: Literal["application/vnd.in-toto+json"] = Field(
        default="application/vnd.in-toto+json", alias="payloadType"
    )
    signatures: tuple[SignatureText, ...] = Field(min_length=1, max_length=1)

    @property
    def payload_sha256(self) -> Digest:
        """SHA-256 of the payload's text, by which the same report is known again."""
        return sha256_bytes(self.payload.encode())


def subjects(report: Report) -> tuple[Subject, ...]:
    """The files a report is about, in the report's order."""
    return tuple(
        Subject(
            name=f"fold-{'all' if model.fold is None else model.fold}.onnx",
            digest={"sha256": model.sha256},
        )
        for model in report.models
    )


def sign(report: Report, keys: Keys) -> SignedReport:
    """Sign `report` with the organiser's report key. The same report gives the same bytes."""
    statement = Statement(subject=subjects(report), predicate=report)
    payload = canonical_json(statement.document())
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(keys.signer())
    return SignedReport.model_validate(envelope.to_dict())


def open_report(signed: SignedReport, key: SSlibKey, where: str) -> Report:
    """The report in an envelope, once everything about the envelope is verified.

    Raises:
        BusbenchError: `ledger-invalid` where the base64 is not canonical, the signature is not
            by `key`, or the statement is not about the files its report judges.
    """
    payload = _decode(signed.payload, where)
    check_signature(payload, PAYLOAD_TYPE, signed.signatures[0], key=key, where=where)
    statement = parse_canonical(Statement, payload, f"{where}: statement")
    if statement.subject != subjects(statement.predicate):
        raise invalid(where, "its subjects are not the files that its report judges")
    return statement.predicate


def check_signature(
    payload: bytes, payload_type: str, signature: SignatureText, *, key: SSlibKey, where: str
) -> None:
    """Check a DSSE signature over `payload`.

    Raises:
        BusbenchError: `ledger-invalid` where it is by another key, or is not valid.
    """
    if signature.keyid != key.keyid:
        raise invalid(where, f"it is signed by another key ({signature.keyid[:16]}…)")
    raw = Signature(signature.keyid, _decode(signature.sig, where).hex())
    try:
        Envelope(payload, payload_type, {raw.keyid: raw}).verify([key], 1)
    except UnverifiedSignatureError as error:
        raise invalid(where, "its signature is not valid") from error


def _decode(text: str, where: str) -> bytes:
    """Decode base64 of which only the one canonical spelling is taken."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise invalid(where, "its base64 is damaged") from error
    if base64.b64encode(data).decode() != text:
        raise invalid(where, "its base64 is not in canonical form")
    return data


def write_report(signed: SignedReport, path: Path) -> None:
    """Write a signed report to a file of its own, as one line of canonical JSON."""
    write_atomically(path, canonical_json(signed.document()) + b"\n")


def verify_report(path: Path, key: SSlibKey) -> Report:
    """The report in a file that `write_report` wrote, once its signature by `key` is verified.

    Raises:
        BusbenchError: `ledger-invalid` where anything about the file is not valid.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror})."
        raise BusbenchError(CODE, message, "Name the right file.") from error
    return open_bytes(data, key, str(path))


def is_report(path: Path) -> bool:
    """Whether the file at `path` means to be a lone signed report, not a ledger."""
    try:
        with path.open("rb") as handle:
            return handle.read(len(_FIRST_BYTES)) == _FIRST_BYTES
    except OSError:
        return False  # who reads it next says what is wrong with it


def open_bytes(data: bytes, key: SSlibKey, where: str) -> Report:
    """What `verify_report` does, on the file's bytes."""
    if not data.endswith(b"\n"):
        raise invalid(where, "it ends in the middle")
    return open_report(parse_canonical(SignedReport, data[:-1], where), key, where)


def parse_canonical(model: type[Document], data: bytes, where: str) -> Document:
    """Parse JSON that must be in the one form `canonical_json` gives it.

    Two texts of one document would let a byte change unnoticed. The text is compared, not the
    model's own dump, so that a field added to the model later leaves old documents valid.

    Raises:
        BusbenchError: `ledger-invalid` where it is another form, or not a valid `model`.
    """
    document = parse(model, data, where, code=CODE, remedy=REMEDY)
    try:
        canonical = canonical_json(json.loads(data))
    except (ValueError, RecursionError) as error:  # NaN, in a field that takes any JSON
        raise invalid(where, "it is no strict JSON") from error
    if canonical != data:
        raise invalid(where, "it is not in canonical form")
    return document


def invalid(where: str, why: str) -> BusbenchError:
    """The error of the ledger: what is not valid, and why."""
    return BusbenchError(CODE, f"{where} is not valid: {why}.", REMEDY)

"""Signed reports: in-toto statements in DSSE envelopes, and their verification.

A report is the predicate of an in-toto Statement v1 (https://in-toto.io/Statement/v1) whose
subjects are the digests of the ONNX files, or of the image, that it judges. The statement, as
canonical JSON, is the payload of a DSSE envelope (https://github.com/secure-systems-lab/dsse) with
one ed25519 signature.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, SSlibKey

from evaluator.documents.base import GROUP_BY_GROUP, Contract, Digest, Document, FileName, parse
from evaluator.documents.reading import MEBIBYTE, Bounds, load_to_compare, read_bytes
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, write_atomically
from harness.ledger.report import Report
from harness.sealing.keys import Keys

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_FIRST_BYTES = b'{"payload":'
CODE = Code.LEDGER_INVALID
REMEDY = "Do not trust it: get it again from the organiser, or restore it from a backup."


# A report in base64 is one long string; so is the one in an entry of a ledger.
SIGNED = Bounds(8 * MEBIBYTE, values=200_000, keys=2000, text=6 * MEBIBYTE)


class Subject(Contract):
    """One file that a statement is about."""

    name: FileName
    digest: dict[Literal["sha256"], Digest] = Field(min_length=1)


class Statement(Contract):
    """An in-toto statement: these files got this report."""

    bounds: ClassVar[Bounds] = GROUP_BY_GROUP
    type_: Literal["https://in-toto.io/Statement/v1"] = Field(
        default="https://in-toto.io/Statement/v1", alias="_type"
    )
    subject: tuple[Subject, ...] = Field(min_length=1)
    predicate_type: Literal["https://busbench.org/report/v5"] = Field(
        default="https://busbench.org/report/v5", alias="predicateType"
    )
    predicate: Report


class SignatureText(Contract):
    """A DSSE signature: the fingerprint of its key, and the signature in base64."""

    keyid: Digest
    sig: str = Field(max_length=128)


class SignedReport(Contract):
    """A DSSE envelope as JSON; `open_report` gives the report inside."""

    bounds: ClassVar[Bounds] = SIGNED
    payload: str  # base64 of the statement
    payload_type: Literal["application/vnd.in-toto+json"] = Field(
        default="application/vnd.in-toto+json", alias="payloadType"
    )
    signatures: tuple[SignatureText, ...] = Field(min_length=1, max_length=1)


def subjects(report: Report) -> tuple[Subject, ...]:
    """The files a report is about, in the report's order, or its container image."""
    if (image := report.provenance.image) is not None:
        return (Subject(name="image", digest={"sha256": image.rpartition("sha256:")[2]}),)
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


def open_report(signed: SignedReport, keys: Sequence[SSlibKey], where: str) -> Report:
    """The report in an envelope, once everything about the envelope is verified.

    Raises:
        BusbenchError: `ledger-invalid` where the base64 is not canonical, the signature is by none
            of `keys`, or the statement is not about the files its report judges.
    """
    payload, signature = decode(signed.payload, where), signed.signatures[0]
    key = named_key(signature, keys)
    check_signature(payload, PAYLOAD_TYPE, signature, key=key, where=where)
    statement = parse_canonical(Statement, payload, f"{where}: statement")
    if statement.subject != subjects(statement.predicate):
        raise invalid(where, "its subjects are not the files that its report judges")
    return statement.predicate


def stated_report(signed: SignedReport, where: str) -> Report:
    """The report that an envelope says it contains: its signature is not looked at.

    Raises:
        BusbenchError: `ledger-invalid` where it contains none.
    """
    payload = decode(signed.payload, where)
    return parse(Statement, payload, f"{where}: statement", code=CODE, remedy=REMEDY).predicate


def named_key(signature: SignatureText, keys: Sequence[SSlibKey]) -> SSlibKey:
    """The one of `keys` that a signature names; where it names none, the first, to refuse it by."""
    return next((key for key in keys if key.keyid == signature.keyid), keys[0])


def check_signature(
    payload: bytes, payload_type: str, signature: SignatureText, *, key: SSlibKey, where: str
) -> None:
    """Check a DSSE signature over `payload`.

    Raises:
        BusbenchError: `ledger-invalid` where it is by another key, or is not valid.
    """
    if signature.keyid != key.keyid:
        raise invalid(where, f"it is signed by another key ({signature.keyid[:16]}…)")
    raw = Signature(signature.keyid, decode(signature.sig, where).hex())
    try:
        Envelope(payload, payload_type, {raw.keyid: raw}).verify([key], 1)
    except UnverifiedSignatureError as error:
        raise invalid(where, "its signature is not valid") from error


def decode(text: str, where: str) -> bytes:
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


def verify_report(path: Path, key: SSlibKey, *earlier: SSlibKey) -> Report:
    """The report in a file that `write_report` wrote, once its signature is verified.

    Args:
        key: the organiser's; it, or one of the earlier ones, must have signed it.

    Raises:
        BusbenchError: `ledger-invalid` where anything about the file is not valid.
    """
    data = read_bytes(path, SIGNED.bytes, CODE, remedy="Name the right file.")
    return open_bytes(data, key, str(path), earlier=earlier)


def is_report(path: Path) -> bool:
    """Whether the file at `path` means to be a lone signed report, not a ledger."""
    try:
        with path.open("rb") as handle:
            return handle.read(len(_FIRST_BYTES)) == _FIRST_BYTES
    except OSError:
        return False  # who reads it next says what is wrong with it


def open_bytes(
    data: bytes, key: SSlibKey, where: str, *, earlier: Sequence[SSlibKey] = ()
) -> Report:
    """What `verify_report` does, on the file's bytes."""
    if not data.endswith(b"\n"):
        raise invalid(where, "it ends in the middle")
    signed = parse_canonical(SignedReport, data[:-1], where)
    return open_report(signed, (key, *earlier), where)


def parse_canonical(
    model: type[Document],
    data: bytes,
    where: str,
    *,
    form: Callable[[Any], bytes] = canonical_json,
) -> Document:
    """Parse JSON that must be in the one form that `form` gives it.

    Two texts of one document would let a byte change unnoticed. The text is compared, not the
    model's own dump, so that a field added to the model later leaves old documents valid.

    Raises:
        BusbenchError: `ledger-invalid` where it is another form, or not a valid `model`.
    """
    try:
        value = load_to_compare(data, model.bounds)
    except (ValueError, RecursionError):  # `parse` says what is wrong
        return parse(model, data, where, code=CODE, remedy=REMEDY)
    return validate_canonical(model, value, data, where=where, form=form)


def validate_canonical(
    model: type[Document],
    value: Any,
    data: bytes,
    *,
    where: str,
    form: Callable[[Any], bytes] = canonical_json,
) -> Document:
    """What `parse_canonical` does, on a value that was loaded from `data` already."""
    try:
        document = model.model_validate(value)
    except ValueError:  # as above
        return parse(model, data, where, code=CODE, remedy=REMEDY)
    try:
        written = form(value)
    except ValueError:  # a number of another spelling can be beyond what `form` writes
        written = b""
    if written != data:
        raise invalid(where, "it is not in canonical form")
    return document


def invalid(where: str, why: str) -> BusbenchError:
    """The error of the ledger: what is not valid, and why."""
    return BusbenchError(CODE, f"{where} is not valid: {why}.", REMEDY)

"""Entries of a ledger, and the lines that they are written as.

The ledger is JSON lines, each as RFC 8785 writes it. Entry 0, the genesis, names the organiser's
key; each further entry is of a kind in `ENTRIES`. An entry's digest is SHA-256 over all its other
fields, the digest of the entry before and the time of recording among them. The organiser signs the
same bytes, so that nobody else can drop, move or add an entry and compute the chain anew. A
rotation hands over to a new key: the old one signs it, the new one countersigns it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, field_validator
from securesystemslib.dsse import Envelope

from evaluator.documents.base import Contract, Digest
from evaluator.documents.reading import Bounds, load_json
from evaluator.files import rfc8785_json, sha256_bytes
from harness.ledger.attestation import SIGNED, SignatureText, SignedReport
from harness.sealing.keys import Keys, public_pem

SCHEMA: Literal["busbench/ledger-entry/v3"] = "busbench/ledger-entry/v3"
EARLIER = {  # schema -> who wrote it
    "busbench/ledger-entry/v1": "BUSBench 0.1",
    "busbench/ledger-entry/v2": "BUSBench 0.2",
}
ENTRY_TYPE = "application/vnd.busbench.ledger-entry+json"
ROTATION_TYPE = "application/vnd.busbench.key-rotation+json"
NOTHING_BEFORE = "0" * 64
MAX_RANKING_BYTES = 1024 * 1024
MAX_REPLACED = 2000  # reports of one rescoring: it is one line
PublicKey = Annotated[str, StringConstraints(max_length=512)]  # ed25519, PEM
Reason = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
    ),
]


def _is_a_time(text: str) -> str:
    datetime.fromisoformat(text)  # no 30 February
    return text


# UTC to the second, as RFC 3339 writes it: in one form only, so that text sorts as time does.
Instant = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"),
    AfterValidator(_is_a_time),
]


CLOCKS_DIFFER = timedelta(minutes=5)  # as much as two machines' clocks may


def is_ahead(recorded: Instant, now: Instant) -> bool:
    """Whether an entry says that it was recorded at a time that is still to come."""
    return datetime.fromisoformat(recorded) - datetime.fromisoformat(now) > CLOCKS_DIFFER


# --- bodies: what an entry says ----------------------------------------------------------------


class Reported(Contract):
    """One signed report."""

    kind: Literal["report"] = "report"
    envelope: SignedReport


class Rescored(Contract):
    """An earlier report, its kept predictions scored anew; it counts from a `Rescoring` on."""

    kind: Literal["rescored"] = "rescored"
    replaces: Digest  # of the entry of the earlier report
    envelope: SignedReport


class Replacement(Contract):
    """One report that takes the place of another, and what that changes."""

    before: Digest  # of the entry that no longer counts
    after: Digest  # of the `rescored` entry that does
    means: dict[str, tuple[float, float]] = Field(max_length=64)
    # ^ metric -> mean over all cases, before and after: of those that rank, or change
    ranks: tuple[int | None, int | None]  # on the board, before and after; null: not ranked


class Rescoring(Contract):
    """The one entry by which reports that were scored anew count, all at once."""

    kind: Literal["rescoring"] = "rescoring"
    reason: Reason
    replaced: tuple[Replacement, ...] = Field(min_length=1, max_length=MAX_REPLACED)
    left: tuple[Digest, ...] = Field(default=(), max_length=MAX_REPLACED)
    # ^ reports that stay as they were, since nobody has their predictions any more

    @property
    def pairs(self) -> tuple[tuple[Digest, Digest], ...]:
        """The entries before and after, of each report."""
        return tuple((one.before, one.after) for one in self.replaced)


class Retraction(Contract):
    """An earlier report no longer counts: the board drops it, the ledger keeps it."""

    kind: Literal["retraction"] = "retraction"
    entry: Digest  # of the entry of the report
    reason: Reason


class Ranking(Contract):
    """The ranking of a track, as the organiser computed it; its meaning is not the ledger's."""

    kind: Literal["ranking"] = "ranking"
    body: dict[str, JsonValue]

    @field_validator("body")
    @classmethod
    def _bounded(cls, body: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if len(rfc8785_json(body)) > MAX_RANKING_BYTES:
            raise ValueError(f"a ranking takes more than {MAX_RANKING_BYTES} bytes")
        return body


class Rotation(Contract):
    """The organiser's new key, which signs all later entries."""

    kind: Literal["rotation"] = "rotation"
    public_key: PublicKey
    countersignature: SignatureText  # by the new key, over the entry without its signatures


Body: TypeAlias = Reported | Rescored | Rescoring | Retraction | Ranking


# --- entries: a body in its place ----------------------------------------------------------------


class Entry(Contract):
    """What all entries share."""

    bounds: ClassVar[Bounds] = SIGNED
    schema_: Literal["busbench/ledger-entry/v3"] = Field(alias="schema")
    number: int = Field(ge=0)
    previous: Digest  # the digest of the entry before; zeros in the genesis
    recorded: Instant  # by the organiser's clock; never before the entry before
    digest: Digest
    signature: SignatureText


class Genesis(Entry):
    """Entry 0: whose ledger this is."""

    kind: Literal["genesis"]
    public_key: PublicKey


class ReportEntry(Entry, Reported):
    """A report in its place."""


class RescoredEntry(Entry, Rescored):
    """A report that was scored anew, in its place."""


class RescoringEntry(Entry, Rescoring):
    """A rescoring in its place."""


class RetractionEntry(Entry, Retraction):
    """A retraction in its place."""


class RankingEntry(Entry, Ranking):
    """A ranking in its place."""


class RotationEntry(Entry, Rotation):
    """A change of keys in its place."""


# An entry's kind -> how it is read. Only entry 0 is a genesis, and it is no other kind.
ENTRIES: dict[str, type[Entry]] = {
    "report": ReportEntry,
    "rescored": RescoredEntry,
    "rescoring": RescoringEntry,
    "retraction": RetractionEntry,
    "ranking": RankingEntry,
    "rotation": RotationEntry,
}


# --- lines: an entry written and signed ----------------------------------------------------------


@dataclass(frozen=True)
class Position:
    """Where and when an entry is recorded."""

    number: int
    previous: Digest
    recorded: Instant

    def around(self, body: dict[str, Any]) -> dict[str, Any]:
        """The fields of an entry without its seal."""
        return {"schema": SCHEMA, **vars(self), **body}


def genesis_line(recorded: Instant, keys: Keys) -> bytes:
    """The first line of a new ledger."""
    body = {"kind": "genesis", "public_key": public_pem(keys.report)}
    return _line(body, Position(0, NOTHING_BEFORE, recorded), keys)


def entry_line(body: Body, place: Position, keys: Keys) -> bytes:
    """The line that records `body` at `place`."""
    return _line(body.document(), place, keys)


def rotation_line(new: Keys, place: Position, keys: Keys) -> bytes:
    """The line with which `keys` hand over to `new`, signed by both."""
    body = {"kind": "rotation", "public_key": public_pem(new.report)}
    countersignature = _signature(rfc8785_json(place.around(body)), ROTATION_TYPE, new)
    return _line({**body, "countersignature": countersignature}, place, keys)


def signed_part(line: bytes, *also_without: str) -> bytes:
    """The part of a line that is hashed and signed."""
    return unsealed(load_json(line, SIGNED), *also_without)


def unsealed(fields: dict[str, Any], *also_without: str) -> bytes:
    """The same of an entry whose fields were loaded."""
    left_out = {"digest", "signature", *also_without}
    return rfc8785_json({name: fields[name] for name in fields.keys() - left_out})


def _line(body: dict[str, Any], place: Position, keys: Keys) -> bytes:
    fields = place.around(body)
    data = rfc8785_json(fields)
    seal = {"digest": sha256_bytes(data), "signature": _signature(data, ENTRY_TYPE, keys)}
    return rfc8785_json({**fields, **seal}) + b"\n"


def _signature(data: bytes, payload_type: str, keys: Keys) -> dict[str, str]:
    envelope = Envelope(data, payload_type, {})
    envelope.sign(keys.signer())
    (signature,) = envelope.to_dict()["signatures"]
    return {"keyid": signature["keyid"], "sig": signature["sig"]}

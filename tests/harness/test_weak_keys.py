"""No public key that verifies what nobody signed is read, wherever keys are read.

The weak points are computed here from the curve's equation: those of order 1, 2, 4 and 8, each in
every encoding that a lenient decoder takes, and those that have a part of small order.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import SSlibKey

from evaluator.errors import BusbenchError
from evaluator.files import canonical_json, sha256_bytes
from harness.ledger import verify_bytes
from harness.ledger.entries import Position, genesis_line, rotation_line
from harness.sealing.keys import Keys, fingerprint, parse_public_key, read_public_key
from tests.support.factories import TIME

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # of -1
Point = tuple[int, int]


def add(one: Point, other: Point) -> Point:
    (x, y), (u, v) = one, other
    t = D * x * y * u * v % P
    return (x * v + y * u) * pow(1 + t, -1, P) % P, (y * v + x * u) * pow(1 - t, -1, P) % P


def x_of(y: int) -> int | None:
    """The even x of a point, or None where there is no point."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * ROOT % P
    return None if x * x % P != square else min(x, P - x, key=lambda one: one & 1)


def decode(raw: bytes) -> Point:
    y = int.from_bytes(raw, "little")
    x = x_of(y % 2**255)
    assert x is not None
    return (P - x if y >> 255 != x & 1 else x) % P, y % 2**255


def encodings(point: Point) -> set[bytes]:
    """Every encoding of a point: y or y + P, and either sign where x is 0."""
    x, y = point
    return {
        (each | sign << 255).to_bytes(32, "little")
        for each in (y, y + P)
        if each < 2**255
        for sign in ({0, 1} if x == 0 else {x & 1})
    }


def small_points() -> set[Point]:
    """The eight points whose order divides 8: the multiples of one of order 8."""
    y = 2
    while True:
        x = x_of(y)
        if x is not None:
            point, order = (x, y), 2**252 + 27742317777372353535851937790883648493
            total: Point = (0, 1)
            while order:
                total = add(total, point) if order & 1 else total
                point, order = add(point, point), order >> 1
            multiples = [(0, 1)]
            while (following := add(multiples[-1], total)) not in multiples:
                multiples.append(following)
            if len(multiples) == 8:
                return set(multiples)
        y += 1


SMALL = small_points()
WEAK = sorted(each for point in SMALL for each in encodings(point))
NOT_CANONICAL = [(y + P).to_bytes(32, "little") for y in range(2, 19)]
HONEST = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
MIXED = sorted(each for small in SMALL - {(0, 1)} for each in encodings(add(decode(HONEST), small)))


def pem_of(raw: bytes) -> str:
    key = Ed25519PublicKey.from_public_bytes(raw)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_the_list_is_whole_and_an_honest_key_is_not_on_it() -> None:
    assert len(SMALL) == 8 and len(WEAK) == 14 and len(MIXED) == 7
    assert (1).to_bytes(32, "little") in WEAK and bytes(32) in WEAK
    assert parse_public_key(pem_of(HONEST)).keyval["public"] == HONEST.hex()


def test_the_danger_is_real_a_weak_key_verifies_what_nobody_signed() -> None:
    """Else refusing them would forbid nothing."""
    identity = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"anything")


@pytest.mark.parametrize("raw", [*WEAK, *NOT_CANONICAL, *MIXED], ids=bytes.hex)
def test_no_weak_key_is_read_from_a_file(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.pub").write_text(pem_of(raw))
    with pytest.raises(BusbenchError, match=r"report\.pub") as caught:
        read_public_key(tmp_path / "report.pub")
    assert caught.value.code == "keys-invalid"


@pytest.mark.parametrize("raw", [*WEAK, *MIXED], ids=bytes.hex)
def test_no_key_folder_has_a_weak_key(raw: bytes, tmp_path: Path) -> None:
    folder = Keys.new(tmp_path / "keys").path
    (folder / "report.pub").write_text(pem_of(raw))
    with pytest.raises(BusbenchError) as caught:
        Keys.open(folder)
    assert caught.value.code == "keys-invalid"


def forged(line: bytes, raw: bytes, **seals: str) -> bytes:
    """An entry that names a weak key, sealed with a signature that such a key verifies."""
    fields = json.loads(line)
    fields["public_key"] = pem_of(raw)
    keyid = fingerprint(Ed25519PublicKey.from_public_bytes(raw))
    weak = base64.b64encode((1).to_bytes(32, "little") + bytes(32)).decode()
    for name in ("signature", "countersignature"):
        if name in fields and name not in seals:
            fields[name] = {"keyid": keyid, "sig": weak}
    body = {name: fields[name] for name in fields.keys() - {"digest", "signature"}}
    fields["digest"] = sha256_bytes(canonical_json(body))
    return canonical_json(fields) + b"\n"


@pytest.mark.parametrize("raw", WEAK, ids=bytes.hex)
def test_no_ledger_begins_with_a_weak_key(raw: bytes, keys: Keys) -> None:
    with pytest.raises(BusbenchError, match="weak") as caught:
        verify_bytes(forged(genesis_line(TIME, keys), raw), "ledger.jsonl")
    assert caught.value.code == "ledger-invalid"


@pytest.mark.parametrize("raw", WEAK, ids=bytes.hex)
def test_no_ledger_is_handed_over_to_a_weak_key(
    raw: bytes, keys: Keys, other_keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old key signs the change, as its owner or its thief can."""
    data = genesis_line(TIME, keys)
    place = Position(1, verify_bytes(data, "built").head, TIME)
    monkeypatch.setattr("harness.ledger.entries.public_pem", lambda key: pem_of(raw))
    with pytest.raises(BusbenchError, match="weak"):
        verify_bytes(data + rotation_line(other_keys, place, keys), "ledger.jsonl")


def test_an_honest_key_from_outside_is_taken() -> None:
    """Most random keys are honest: the rule must not refuse one."""
    for seed in range(64):
        raw = Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32)).public_key()
        assert isinstance(parse_public_key(pem_of(raw.public_bytes_raw())), SSlibKey)

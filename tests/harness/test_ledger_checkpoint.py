"""Checkpoints: who keeps one finds every entry that was dropped or exchanged since."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from harness.cli import app
from harness.ledger import (
    LedgerVerdict,
    Ranking,
    append,
    require_witnessed,
    rotate,
    sign_checkpoint,
    verify_bytes,
    verify_ledger,
    write_checkpoint,
)
from harness.ledger.checkpoint import tree_root
from harness.sealing.keys import Keys

ENTRIES = 8  # the genesis and a rotation among them
ROTATED = 5  # the number of the entry that hands over


@pytest.fixture(scope="module")
def keys_2(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return keys.renewed(tmp_path_factory.mktemp("new") / "keys")


@pytest.fixture(scope="module")
def ledger(keys: Keys, keys_2: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(keys, keys_2, tmp_path_factory.mktemp("ledger"), "net")


@pytest.fixture(scope="module")
def notes(ledger: Path, keys: Keys, keys_2: Keys) -> dict[int, bytes]:
    """The checkpoint after each entry, by the key that signed then."""
    return {
        n: sign_checkpoint(prefix(ledger, n), keys_2 if n > ROTATED else keys)
        for n in range(1, ENTRIES + 1)
    }


def build(keys: Keys, keys_2: Keys, folder: Path, what: str, since: bytes = b"") -> Path:
    path = folder / f"{what}.jsonl"
    path.write_bytes(since)
    for number in range(max(len(since.splitlines()), 1), ENTRIES):
        if number == ROTATED:
            rotate(path, keys, keys_2)
        else:
            append(path, Ranking(body={what: number}), keys_2 if number > ROTATED else keys)
    return path


def lines_of(ledger: Path) -> list[bytes]:
    return ledger.read_bytes().splitlines(keepends=True)


def prefix(ledger: Path, entries: int) -> LedgerVerdict:
    return verify_bytes(b"".join(lines_of(ledger)[:entries]), "ledger.jsonl")


def refused(whole: LedgerVerdict, note: bytes) -> str:
    with pytest.raises(BusbenchError) as caught:
        require_witnessed(whole, note, "note")
    assert caught.value.code == "ledger-invalid"
    return caught.value.message


@pytest.mark.parametrize("seen", range(1, ENTRIES + 1))
@pytest.mark.parametrize("entries", range(1, ENTRIES + 1))
def test_no_ledger_shorter_than_its_checkpoint_is_taken(
    ledger: Path, notes: dict[int, bytes], seen: int, entries: int
) -> None:
    whole = prefix(ledger, entries)
    if seen > entries:
        assert f"has seen {seen} entries" in refused(whole, notes[seen])
    else:
        assert require_witnessed(whole, notes[seen], "note").entries == seen


@pytest.mark.parametrize("fork", range(1, ENTRIES))
def test_no_fork_passes_a_checkpoint_of_what_it_dropped(
    ledger: Path, notes: dict[int, bytes], keys: Keys, keys_2: Keys, tmp_path: Path, fork: int
) -> None:
    since = b"".join(lines_of(ledger)[:fork])
    other = verify_ledger(build(keys, keys_2, tmp_path, "other", since))
    for seen, note in notes.items():
        if seen <= fork:
            require_witnessed(other, note, "note")
        elif fork != ROTATED or seen > fork + 1:  # the same rotation again has another time only
            assert "has not seen" in refused(other, note)


@pytest.mark.parametrize("seen", [1, ROTATED, ENTRIES])
def test_no_byte_of_a_checkpoint_changes_unnoticed(
    ledger: Path, notes: dict[int, bytes], seen: int
) -> None:
    whole, note = verify_ledger(ledger), notes[seen]
    for at in range(len(note)):
        for other in (note[at] ^ 1, note[at] ^ 32, 10):
            changed = note[:at] + bytes([other]) + note[at + 1 :]
            if changed != note:
                refused(whole, changed)
        refused(whole, note[:at])
        refused(whole, note[:at] + note[at + 1 :])


def test_no_other_key_signs_a_checkpoint(
    ledger: Path, notes: dict[int, bytes], keys: Keys, keys_2: Keys, other_keys: Keys
) -> None:
    """Neither a stranger, nor the old key after the rotation, nor the new one before."""
    whole = verify_ledger(ledger)
    for seen, note in notes.items():
        text, _, _ = note.decode().rpartition("\n— ")
        text, right = text.rstrip("\n") + "\n", keys_2 if seen > ROTATED else keys
        for wrong in {keys, keys_2, other_keys} - {right}:
            signed = signed_by(wrong, text)
            assert "not signed by the key" in refused(whole, signed)
        assert signed_by(right, text) == note
    with pytest.raises(BusbenchError, match="another key"):
        sign_checkpoint(whole, keys)


def signed_by(keys: Keys, text: str) -> bytes:
    """A note as https://c2sp.org/signed-note says, by its own arithmetic."""
    name = text.split("\n", maxsplit=1)[0]
    public = bytes.fromhex(keys.report.keyval["public"])
    hint = hashlib.sha256(f"{name}\n\x01".encode() + public).digest()[:4]
    raw = bytes.fromhex(keys.signer().sign(text.encode()).signature)
    return f"{text}\n— {name} {base64.b64encode(hint + raw).decode()}\n".encode()


def test_a_checkpoint_is_a_signed_note_with_a_tree_of_rfc_6962(
    ledger: Path, notes: dict[int, bytes], keys_2: Keys
) -> None:
    text, _, tail = notes[ENTRIES].decode().rpartition("\n\n")
    origin, entries, root, *_ = text.split("\n")
    assert origin.startswith("busbench.org/ledger/") and entries == str(ENTRIES)
    assert base64.b64decode(root) == slow_root([line[:-1] for line in lines_of(ledger)])
    raw = base64.b64decode(tail.split(" ")[2])
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(keys_2.report.keyval["public"]))
    public.verify(raw[4:], f"{text}\n".encode())


def test_cosignatures_of_witnesses_are_let_be(ledger: Path, notes: dict[int, bytes]) -> None:
    cosigned = notes[3] + b"\xe2\x80\x94 witness.example/w1 " + base64.b64encode(bytes(76)) + b"\n"
    assert require_witnessed(verify_ledger(ledger), cosigned, "note").entries == 3


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n",
        b"\n\n",
        b"\xff" * 99,
        b"x" * 70_000,
        b"a\n1\nb\n\n",
        b"a\n1\n\n\xe2\x80\x94 a b\n",
    ],
)
def test_no_nonsense_is_a_checkpoint(ledger: Path, note: bytes) -> None:
    refused(verify_ledger(ledger), note)


# The roots that the reference implementation of certificate transparency is tested with.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize(("count", "root"), [*enumerate(ROOTS, start=1)])
def test_the_tree_is_the_one_of_certificate_transparency(count: int, root: str) -> None:
    assert tree_root(map(leaf_hash, LEAVES[:count])).hex() == root


def leaf_hash(leaf: bytes) -> bytes:
    """As RFC 6962 says."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def slow_root(leaves: list[bytes]) -> bytes:
    """Level by level: an odd one out goes up as it is."""
    level = [leaf_hash(leaf) for leaf in leaves]
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\x01" + b"".join(p)).digest() if p[1:] else p[0] for p in pairs]
    return level[0]


@settings(deadline=None, max_examples=60)
@given(leaves=st.lists(st.binary(max_size=4), min_size=1, max_size=70))
def test_no_number_of_leaves_gives_another_root(leaves: list[bytes]) -> None:
    assert tree_root(map(leaf_hash, leaves)) == slow_root(leaves)


# --- the commands --------------------------------------------------------------------------------


def verify(ledger: Path, *witnesses: Path) -> tuple[int, str]:
    options = [word for path in witnesses for word in ("--witness", str(path))]
    done = CliRunner().invoke(app, ["verify", str(ledger), *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_no_rollback_passes_the_folder_of_a_witness(
    ledger: Path, keys: Keys, keys_2: Keys, tmp_path: Path
) -> None:
    """As days go by the ledger grows, and each day's checkpoint is kept."""
    growing, kept = tmp_path / "ledger.jsonl", tmp_path / "repository" / "witness"
    for entries in (2, 4, ENTRIES):
        growing.write_bytes(b"".join(lines_of(ledger)[:entries]))
        owner = keys_2 if entries > ROTATED else keys
        command = ["ledger", "checkpoint", str(growing), "--keys", str(owner.path)]
        assert CliRunner().invoke(app, [*command, "--out", str(kept)]).exit_code == 0
    (kept.parent / "README.md").write_text("Checkpoints of a ledger.")
    status, said = verify(growing, kept.parent)
    assert status == 0 and f"3 checkpoints, the longest of {ENTRIES} entries" in said
    growing.write_bytes(b"".join(lines_of(ledger)[:4]))
    status, said = verify(growing, kept.parent)
    assert status == 20 and said.count("differs") >= 1 and f"has seen {ENTRIES} entries" in said
    with pytest.raises(BusbenchError, match="has seen"):
        write_checkpoint(growing, keys, kept)  # nor does a fork get a checkpoint beside them


def test_no_checkpoint_of_another_ledger_is_passed_over(
    ledger: Path, other_keys: Keys, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    append(other, Ranking(body={}), other_keys)
    write_checkpoint(other, other_keys, tmp_path / "witness")
    status, said = verify(ledger, tmp_path / "witness")
    assert status == 20 and "has not seen" in said


def test_no_witness_without_a_checkpoint_is_taken_for_one(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(app, ["verify", str(ledger), "--witness", str(tmp_path / "empty")])
    assert isinstance(done.exception, BusbenchError) and done.exception.code == "usage"
    os.mkfifo(tmp_path / "pipe.checkpoint")
    status, said = verify(ledger, tmp_path)
    assert status == 20 and "it is no file" in said


def test_the_same_checkpoint_twice_is_one_file(ledger: Path, keys_2: Keys, tmp_path: Path) -> None:
    first, again = (write_checkpoint(ledger, keys_2, tmp_path) for _ in range(2))
    assert first == again and len(list(tmp_path.iterdir())) == 1


def test_openssl_alone_checks_a_checkpoint(
    notes: dict[int, bytes], keys_2: Keys, tmp_path: Path
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    text, _, tail = notes[ENTRIES].decode().rpartition("\n\n")
    (tmp_path / "text").write_text(f"{text}\n")
    (tmp_path / "sig").write_bytes(base64.b64decode(tail.split(" ")[2])[4:])
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin"]
    command += ["-inkey", str(keys_2.path / "report.pub")]
    command += ["-in", str(tmp_path / "text"), "-sigfile", str(tmp_path / "sig")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""The key folder: private from birth, never overwritten, and never half a pair."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pyrage
import pytest
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from harness.cli import app
from harness.sealing.keys import PUBLICS, SECRETS, Keys, read_public_key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Keys.new(tmp_path / "keys").path


def refused(path: Path) -> str:
    with pytest.raises(BusbenchError) as caught:
        Keys.open(path)
    assert caught.value.code == "keys-invalid"
    return caught.value.message


def test_secrets_are_for_the_owner_alone(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {p.name for p in folder.iterdir()} == {*SECRETS, *PUBLICS, ".gitignore"}
    assert all((folder / name).stat().st_mode & 0o777 == 0o600 for name in SECRETS)


def test_what_is_sealed_to_one_key_stays_shut_to_the_other(folder: Path) -> None:
    keys = Keys.open(folder)
    recipient = pyrage.x25519.Recipient.from_str(keys.labels.recipient)
    sealed = pyrage.encrypt(b"labels", [recipient])
    label_key = pyrage.x25519.Identity.from_str(keys.labels.identity())
    image_key = pyrage.x25519.Identity.from_str(keys.images.identity())
    assert pyrage.decrypt(sealed, [label_key]) == b"labels"
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(sealed, [image_key])


def test_no_secret_shows_when_keys_are_printed(folder: Path) -> None:
    keys = Keys.open(folder)
    assert keys.images.identity() not in repr(keys)
    assert "SECRET" not in repr(keys)


def test_existing_keys_are_never_overwritten(folder: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(BusbenchError) as caught:
        Keys.new(folder)
    assert caught.value.code == "output-exists"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == ["keys"]


def test_a_file_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("mine")
    with pytest.raises(BusbenchError) as caught:
        Keys.new(tmp_path / "keys")
    assert caught.value.code == "output-exists"


def test_an_empty_folder_may_become_the_key_folder(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    assert Keys.new(tmp_path / "keys").path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", SECRETS + PUBLICS)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in refused(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "nowhere" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("name", SECRETS + PUBLICS)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"age1nonsense\n", b"x" * 100_000])
def test_a_damaged_file_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert name.split(".", maxsplit=1)[0] in refused(folder)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_others_can_read_is_refused(folder: Path, name: str) -> None:
    (folder / name).chmod(0o640)
    assert "open to other users" in refused(folder)


def test_a_folder_that_others_can_write_is_refused(folder: Path) -> None:
    folder.chmod(0o770)
    assert "open to other users" in refused(folder)


@pytest.mark.parametrize("name", PUBLICS)
def test_a_foreign_public_half_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    other = Keys.new(tmp_path / "other").path
    shutil.copy(other / name, folder / name)
    assert "not one pair" in refused(folder)


def test_the_fingerprint_is_the_one_openssl_gives(folder: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = ["openssl", "pkey", "-pubin", "-in", str(folder / "report.pub"), "-outform", "DER"]
    der = subprocess.run(command, check=True, capture_output=True).stdout
    assert read_public_key(folder / "report.pub").keyid == hashlib.sha256(der).hexdigest()


def test_the_verb_makes_keys_and_names_no_secret(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["keys", "new", str(tmp_path / "keys")])
    assert result.exit_code == 0
    assert "AGE-SECRET" not in result.output
    assert Keys.open(tmp_path / "keys").report.keyid in result.output

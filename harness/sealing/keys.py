"""The organiser's three key pairs: for the test images, the test labels, and the reports.

KEYS/images.key  KEYS/images.pub   age X25519: opens the test images, given to infer alone
KEYS/labels.key  KEYS/labels.pub   age X25519: opens the test labels, given to score alone
KEYS/report.key  KEYS/report.pub   ed25519 (PEM): signs reports and ledger entries

Each file is in the form its own public tool reads (`age -i`, `openssl pkey`). Secrets have mode
0600 in a folder of mode 0700; a folder that others can look into is refused, as ssh does it.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyrage
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from nacl.bindings import crypto_core_ed25519_is_valid_point
from securesystemslib.signer import CryptoSigner, SSlibKey

from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, write_atomically
from harness.locking import locked

SECRETS = ("images.key", "labels.key", "report.key")
PUBLICS = ("images.pub", "labels.pub", "report.pub")
MAX_KEY_BYTES = 4096  # no key file comes near it; a device or a disk image would pass it
PARTIAL = ".keys.partial"
RESTORE = "Restore the key folder from its backup, or name the right one with --keys."


@dataclass(frozen=True)
class SealingKey:
    """One age key pair, by the place of its secret: the secret itself is never kept."""

    secret: Path  # one line, AGE-SECRET-KEY-1...
    recipient: str  # age1...

    def identity(self) -> str:
        """The secret as age writes it; raises `keys-invalid` where the file is unreadable."""
        return _text(self.secret)


@dataclass(frozen=True)
class Keys:
    """An organiser's key folder, checked: all six files are there and belong together."""

    path: Path
    images: SealingKey
    labels: SealingKey
    report: SSlibKey  # public; its keyid is the key's fingerprint

    @classmethod
    def new(cls, path: Path) -> Keys:
        """Make three fresh key pairs in a folder that does not exist yet, or is empty.

        Raises:
            BusbenchError: `output-exists` where the folder contains anything; `disk-full`,
                `permission-denied`.
        """
        return cls._made(path, _write_all)

    def renewed(self, path: Path) -> Keys:
        """The same two sealing keys in a new folder, with a fresh key to sign reports.

        Raises:
            BusbenchError: as `new` does.
        """
        return self._made(path, partial(_write_all, sealing=self))

    def with_other_seals(self, path: Path, sealing: Keys | None = None) -> Keys:
        """Other sealing keys in a new folder, with the same key to sign reports.

        Args:
            sealing: whose they are; None: fresh ones.

        Raises:
            BusbenchError: as `new` does.
        """
        return self._made(path, partial(_write_all, sealing=sealing, report=self))

    @classmethod
    def _made(cls, path: Path, write: Callable[[Path], None]) -> Keys:
        taken = BusbenchError(
            Code.OUTPUT_EXISTS,
            f"{path} is already there, and keys are never overwritten.",
            "Name a new folder: what was sealed to the old keys cannot be opened by new ones.",
        )
        if _is_taken(path):
            raise taken
        given = path.is_dir()  # and empty: it may be where the user is, so it stays the same folder
        base = path if given else path.parent
        with disk_errors(path), locked(base / f"{PARTIAL}.lock"):
            begun = base / PARTIAL
            shutil.rmtree(begun, ignore_errors=True)  # secrets of a process that was killed here
            begun.mkdir(mode=0o700)
            try:
                write(begun)
                (begun / ".gitignore").write_text("*.key\n")  # `git add` of the folder takes none
                if given:
                    path.chmod(0o700)
                    for file in sorted(begun.iterdir()):
                        (path / file.name).hardlink_to(file)
                else:
                    begun.rename(path)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # another process was faster
                    raise taken from error
                raise
            finally:
                shutil.rmtree(begun, ignore_errors=True)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Keys:
        """Open a key folder and check that each public half belongs to its secret.

        Raises:
            BusbenchError: `keys-invalid` where a file is missing, unreadable, open to other
                users, or does not fit its other half.
        """
        if not path.is_dir():
            remedy = f"Make keys with `busbench keys new {path}`, or name the right folder."
            raise BusbenchError(Code.KEYS_INVALID, f"{path} is not a folder of keys.", remedy)
        for name in SECRETS + PUBLICS:
            if not (path / name).is_file():
                raise BusbenchError(Code.KEYS_INVALID, f"{path / name} is missing.", RESTORE)
        _require_private(path, "700", forbidden=0o022)
        for name in SECRETS:
            _require_private(path / name, "600", forbidden=0o077)
        keys = cls(
            path,
            SealingKey(path / "images.key", _text(path / "images.pub")),
            SealingKey(path / "labels.key", _text(path / "labels.pub")),
            read_public_key(path / "report.pub"),
        )
        for key in (keys.images, keys.labels):
            _require_pair(key.secret, _age_recipient(key) == key.recipient)
        keys.signer()
        return keys

    def signer(self) -> CryptoSigner:
        """The signer of reports and ledger entries; raises `keys-invalid` where it cannot be."""
        path = self.path / "report.key"
        try:
            secret = load_pem_private_key(_text(path).encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _damaged(path) from error
        if not isinstance(secret, Ed25519PrivateKey):
            raise _damaged(path)
        _require_pair(path, fingerprint(secret.public_key()) == self.report.keyid)
        return CryptoSigner(secret, self.report)


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key's DER form: `openssl pkey -pubin -outform DER | sha256sum` gives it."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def public_pem(key: SSlibKey) -> str:
    """The one PEM text of an ed25519 public key."""
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def parse_public_key(pem: str) -> SSlibKey:
    """An ed25519 public key from its PEM text, with its fingerprint as key id.

    A key whose point has a small order verifies signatures that nobody made, and one with a part of
    small order verifies in one tool and not in the next, so only the main group's points are taken.

    Raises:
        ValueError: where it is no such key, is weak, or not in the one form `public_pem` writes.
    """
    try:
        raw = load_pem_public_key(pem.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError("an unknown kind of key") from error
    if not isinstance(raw, Ed25519PublicKey):
        raise ValueError("another kind of key")
    if not crypto_core_ed25519_is_valid_point(raw.public_bytes_raw()):
        raise ValueError("a weak key")
    key = SSlibKey.from_crypto(raw, keyid=fingerprint(raw))
    if public_pem(key) != pem:
        raise ValueError("not in canonical form")
    return key


def read_public_key(path: Path) -> SSlibKey:
    """The public key in the file `path`; raises `keys-invalid` where it is none."""
    try:
        return parse_public_key(_text(path) + "\n")
    except ValueError as error:
        remedy = "Name the organiser's `report.pub`."
        raise BusbenchError(
            Code.KEYS_INVALID, f"{path} is no ed25519 public key.", remedy
        ) from error


def _is_taken(path: Path) -> bool:
    return path.exists() and (
        not path.is_dir() or any(not found.name.startswith(PARTIAL) for found in path.iterdir())
    )


def _write_all(folder: Path, *, sealing: Keys | None = None, report: Keys | None = None) -> None:
    """Write the six files, fresh or those of other folders; the folder itself has mode 0700."""
    for name in ("images", "labels"):
        if sealing is None:
            identity = pyrage.x25519.Identity.generate()
            secret, public = f"{identity}", f"{identity.to_public()}"
        else:
            key: SealingKey = getattr(sealing, name)
            secret, public = key.identity(), key.recipient
        _write_pair(folder, name, f"{secret}\n", public=f"{public}\n")
    if report is None:
        signer = CryptoSigner.generate_ed25519()
        pem, known = signer.private_bytes.decode(), signer.public_key
    else:
        pem, known = f"{_text(report.path / 'report.key')}\n", report.report
    _write_pair(folder, "report", pem, public=public_pem(known))


def _write_pair(folder: Path, name: str, secret: str, *, public: str) -> None:
    write_atomically(folder / f"{name}.key", secret.encode(), mode=0o600)
    write_atomically(folder / f"{name}.pub", public.encode())


def _text(path: Path) -> str:
    """A key file's text without its final newline."""
    try:
        with path.open("rb") as handle:
            return handle.read(MAX_KEY_BYTES).decode("ascii").rstrip("\n")
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror})."
        raise BusbenchError(Code.KEYS_INVALID, message, RESTORE) from error
    except UnicodeDecodeError as error:
        raise _damaged(path) from error


def _age_recipient(key: SealingKey) -> str:
    try:
        return str(pyrage.x25519.Identity.from_str(key.identity()).to_public())
    except pyrage.IdentityError as error:
        raise _damaged(key.secret) from error


def _damaged(path: Path) -> BusbenchError:
    return BusbenchError(Code.KEYS_INVALID, f"{path} does not contain a key of its kind.", RESTORE)


def _require_pair(secret: Path, fits: bool) -> None:
    if not fits:
        message = f"{secret} and {secret.with_suffix('.pub').name} beside it are not one pair."
        raise BusbenchError(Code.KEYS_INVALID, message, RESTORE)


def _require_private(path: Path, wanted: str, forbidden: int) -> None:
    if path.stat().st_mode & forbidden:
        raise BusbenchError(
            Code.KEYS_INVALID,
            f"{path} is open to other users of this machine.",
            f"Run `chmod {wanted} {path}`, and make new keys if someone may have read them.",
        )

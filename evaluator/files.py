"""Files: atomic writes, digests, canonical JSON."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluator.errors import BusbenchError, Code, Fault

if TYPE_CHECKING:  # numpy takes longer to import than this module's users may take
    from numpy.typing import NDArray


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of `data`, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_pixels(image: NDArray[Any]) -> str:
    """SHA-256 of a 2-D image's shape and pixels (uint8, or bool taken as 0/1).

    Independent of how the file was encoded, so that two encodings of one image agree.
    """
    height, width = image.shape
    return sha256_bytes(f"{height}x{width}:".encode() + image.astype("uint8").tobytes())


def canonical_json(value: Any) -> bytes:
    """The one way `value` is written where bytes are hashed or signed: sorted keys, no spaces."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def rfc8785_json(value: Any) -> bytes:
    """The bytes of `value` in RFC 8785 (JCS), the same in every language.

    `canonical_json` spells some floats as Python does, which frozen splits depend on.

    Raises:
        ValueError: for NaN, infinity, and numbers that would read as whole ones beyond 2^53 - 1.
    """
    data = canonical_json(value)
    if not data.isascii() and _ASTRAL.search(data.decode()):
        # it sorts otherwise in UTF-16 than by code points
        data = json.dumps(_by_utf16(value), separators=(",", ":"), ensure_ascii=False).encode()
    if has_long_number(data) or any(pattern.search(data) for pattern in _OTHERWISE):
        return _TOKEN.sub(_spelled, data.decode()).encode()
    return data


def has_long_number(data: bytes) -> bool:
    """Whether a JSON text may contain a whole number of sixteen digits or more."""
    kinds = data.translate(_KINDS)
    return b"0" * 16 in kinds and _WHOLE.search(kinds) is not None


_KINDS = bytes.maketrans(b"0123456789[,]}", b"0000000000::::")
_WHOLE = re.compile(rb"(?:^|:)-?0{16,}(?:$|:)")


_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
# Signs of numbers to look at. Each begins with one character: others take ten times as long.
_OTHERWISE = tuple(map(re.compile, (rb"\.0(?=[,\]}]|$)", rb"e[+-]\d+(?=[,\]}]|$)")))
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.e+-]*')


def _by_utf16(value: Any) -> Any:
    match value:
        case dict():
            pairs = sorted(value.items(), key=lambda pair: str(pair[0]).encode("utf-16-be"))
            return {name: _by_utf16(each) for name, each in pairs}
        case list() | tuple():
            return [_by_utf16(each) for each in value]
    return value


def _spelled(found: re.Match[str]) -> str:
    """A number as ECMAScript writes it (`Number::toString`); a string as it is."""
    text = found[0]
    if text[0] == '"':
        return text
    if text.lstrip("-").isdigit():
        return _within(text)
    sign, digits, exponent = Decimal(text).normalize().as_tuple()
    shown, point = "".join(map(str, digits)), len(digits) + int(exponent)
    minus = "-" * (sign and shown != "0")
    if shown == "0" or len(shown) <= point <= MAX_DIGITS:
        return _within(minus + shown.ljust(point, "0"))
    if 0 < point <= MAX_DIGITS:
        return f"{minus}{shown[:point]}.{shown[point:]}"
    if -MAX_ZEROS < point <= 0:
        return f"{minus}0.{'0' * -point}{shown}"
    fraction = f".{shown[1:]}" if shown[1:] else ""
    return f"{minus}{shown[0]}{fraction}e{point - 1:+d}"


def _within(text: str) -> str:
    if abs(int(text)) >= 2**53:  # the reader refuses it, and so does RFC 7493
        raise ValueError(f"the whole number {text} is beyond 2^53 - 1")
    return text


MAX_DIGITS, MAX_ZEROS = 21, 6  # of ECMAScript's numbers without an exponent


def pretty_pieces(value: Any, default: Callable[[Any], Any] | None = None) -> Iterator[bytes]:
    """JSON for people, piece by piece: sorted keys, two spaces, a final newline.

    Args:
        default: makes plain what JSON does not know, when its turn comes.
    """
    encoder = json.JSONEncoder(
        sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False, default=default
    )
    for piece in encoder.iterencode(value):
        yield piece.encode()
    yield b"\n"


def pretty_json(value: Any) -> bytes:
    """What `pretty_pieces` gives, in one."""
    text = io.BytesIO()  # joining them would keep every piece of a long document at once
    text.writelines(pretty_pieces(value))
    return text.getvalue()


# What the operating system says of a place, whose matter it is, and what to do.
_DISK_ERRORS: tuple[tuple[frozenset[int], Code, str], ...] = (
    (
        frozenset({errno.ENOSPC, errno.EDQUOT}),
        Code.DISK_FULL,
        "Free some space or name another folder, then run the same command again.",
    ),
    (
        frozenset({errno.EACCES, errno.EPERM, errno.EROFS}),
        Code.PERMISSION_DENIED,
        "Let this user read and write there, or name another folder.",
    ),
    (
        frozenset({errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}),
        Code.USAGE,
        "Name another place.",
    ),
)


def disk_error(error: OSError, path: Path) -> BusbenchError | None:
    """What `error` means for whoever named `path`; None where that is not known."""
    for numbers, code, remedy in _DISK_ERRORS:
        if error.errno in numbers:
            message = f"{path} cannot be used ({error.strerror})."
            return BusbenchError(code, message, remedy)
    return None


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a disk that is full or may not be written into one sentence with a remedy.

    Raises:
        BusbenchError: `disk-full`, `permission-denied`. What may also be a fault of ours, such as
            a file where a folder should be, stays an `OSError`.
    """
    try:
        yield
    except OSError as error:
        known = disk_error(error, path)
        if known is None or known.fault is Fault.USAGE:
            raise
        raise known from error


def write_atomically(path: Path, data: bytes | Iterable[bytes], mode: int = 0o644) -> None:
    """Write `data`, or its pieces, to `path` so that a reader sees the whole file or none of it.

    Raises:
        BusbenchError: `disk-full`, `permission-denied`.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.writelines([data] if isinstance(data, bytes) else data)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

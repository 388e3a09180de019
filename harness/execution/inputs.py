"""Transport of what a job reads to the machine that does the job.

Either all machines see the same folders, or files lie at an address that fsspec knows, such as
s3://bucket/inputs: each under its SHA-256, and so does the list of an input's files, by whose
SHA-256 a job names the input. A machine fetches an input once, into a folder of its own:

    CACHE/<digest of the list>/    there only when it is whole, and every file is what it should be
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from evaluator.documents.base import CASE_BY_CASE, Contract, Digest, parse
from evaluator.documents.reading import Bounds
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, disk_errors, sha256_bytes, sha256_file
from harness.folders import let_all_read
from harness.locking import locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsspec import AbstractFileSystem

CODE = Code.INPUT_UNAVAILABLE
AT_A_TIME = 8  # files on their way
# By protocol, what fsspec gets beside the address.
SETTINGS: dict[str, dict[str, Any]] = {"file": {"auto_mkdir": True}}


class FileList(Contract):
    """The files of an input."""

    bounds: ClassVar[Bounds] = CASE_BY_CASE
    schema_: Literal["busbench/input/v1"] = Field(default="busbench/input/v1", alias="schema")
    files: dict[str, Digest]  # relative to the folder that contains the input


@dataclass(frozen=True)
class Input:
    """A folder that a job reads."""

    path: Path  # where the command that gives the job has it
    address: str | None = None  # where its files lie; null: every machine has it at `path`
    digest: Digest | None = None  # of the list of its files

    def here(self) -> Path:
        """Where this machine has it, fetched first where that is necessary.

        Raises:
            BusbenchError: `input-unavailable` where something is missing, or is not what its
                digest says; `disk-full`.
        """
        if self.address is None or self.digest is None:
            return self.path
        place = cache_folder() / self.digest
        with locked(place.with_name(f"{place.name}.lock")):
            if not place.is_dir():
                _fetch(Depot(self.address), self.digest, place)
        return place / self.path.name


def cache_folder() -> Path:
    """Where this machine keeps what it fetched; it may be removed while no job runs.

    Raises:
        BusbenchError: `input-unavailable` where the user has no home folder.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        message = "There is no home folder to keep inputs in."
        remedy = "Set XDG_CACHE_HOME to a folder of your own, on each machine."
        raise BusbenchError(CODE, message, remedy) from error
    return Path(base) / "busbench" / "inputs"


def bundle_input(bundle: Path, part: str, address: str | None) -> Input:
    """One bundle of a folder with all of them, and what it and the public one say of themselves."""
    documents = [bundle / other / "bundle.json" for other in sorted({"training", "sealed", part})]
    return offer(bundle, [*documents, *sorted((bundle / part).rglob("*"))], address)


def offer(path: Path, files: Iterable[Path], address: str | None) -> Input:
    """Name an input by digest, and put at `address` what is not there yet.

    Args:
        files: of the input, all in the folder that contains `path`. What is no regular file is left
            out: the stage that reads the input reports what is missing.

    Raises:
        BusbenchError: `input-unavailable` where the address takes nothing.
    """
    path = _absolute(path)
    if address is None:
        return Input(path)
    depot = Depot(address)
    found = [f for f in map(Path.absolute, files) if f.is_file() and not f.is_symlink()]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        digests = list(pool.map(depot.put_file, found))
    names = (str(_absolute(f).relative_to(path.parent)) for f in found)
    listed = FileList(files=dict(zip(names, digests, strict=True)))
    return Input(path, address, depot.put(canonical_json(listed.document())))


def _absolute(path: Path) -> Path:
    """Without `..`, but a link stays what it is called."""
    return Path(os.path.abspath(path))  # noqa: PTH100


class Depot:
    """Files at an address, each under its SHA-256.

    Raises:
        BusbenchError: `usage` for an address that fsspec does not know, `extra-missing`.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._files, self._root = _open_address(address)

    def put_file(self, path: Path) -> Digest:
        """Put a file there, unless it is; its digest."""
        digest = sha256_file(path)
        with self._explained(digest):
            if not self._holds(digest, path.stat().st_size):
                self._files.put_file(str(path), self._place(digest))
        return digest

    def put(self, data: bytes) -> Digest:
        """Put bytes there; their digest."""
        digest = sha256_bytes(data)
        with self._explained(digest):
            if not self._holds(digest, len(data)):
                self._files.pipe_file(self._place(digest), data)
        return digest

    def get(self, digest: Digest) -> bytes:
        """Bytes from there that have this digest."""
        with self._explained(digest):
            data = bytes(self._files.cat_file(self._place(digest)))
        self._require_digest(digest, sha256_bytes(data))
        return data

    def get_file(self, digest: Digest, path: Path) -> None:
        """Fetch a file that has this digest."""
        with self._explained(digest):
            self._files.get_file(self._place(digest), str(path))
        self._require_digest(digest, sha256_file(path))

    def _place(self, digest: Digest) -> str:
        return f"{self._root}/{digest}"

    def _holds(self, digest: Digest, size: int) -> bool:
        """Whether it is there whole: what a killed upload left may be shorter."""
        try:
            return int(self._files.info(self._place(digest), refresh=True)["size"]) == size
        except FileNotFoundError:
            return False

    def _require_digest(self, digest: Digest, found: Digest) -> None:
        if found != digest:
            raise BusbenchError(
                CODE,
                f"{self._address}/{digest} is damaged: its SHA-256 is {found}.",
                "Remove it there and run the same command again, which puts it there anew.",
            )

    @contextmanager
    def _explained(self, digest: Digest) -> Iterator[None]:
        with disk_errors(cache_folder()):
            try:
                yield
            except FileNotFoundError as error:
                message = f"{self._address}/{digest} is missing."
                remedy = "Run the same command again, which puts it there."
                raise BusbenchError(CODE, message, remedy) from error
            except _storage_errors() as error:
                message = f"{self._address} cannot be reached: {_first_line(error)}."
                remedy = "Correct the address or its credentials, then run the same command again."
                raise BusbenchError(CODE, message, remedy) from error


def _open_address(address: str) -> tuple[AbstractFileSystem, str]:
    if importlib.util.find_spec("fsspec") is None:
        raise _not_installed("fsspec is not installed")
    from fsspec.core import url_to_fs  # noqa: PLC0415  the extra `cluster`
    from fsspec.utils import get_protocol  # noqa: PLC0415

    try:
        files, root = url_to_fs(address, **SETTINGS.get(get_protocol(address), {}))
    except ImportError as error:
        raise _not_installed(_first_line(error).rstrip(".")) from error
    except ValueError as error:
        remedy = "Name one that fsspec knows, such as s3://bucket/inputs."
        raise BusbenchError(
            Code.USAGE, f"--inputs {address} is no address: {error}.", remedy
        ) from error
    return files, root.rstrip("/")


def _not_installed(what: str) -> BusbenchError:
    remedy = "Run pip install -e '.[cluster]' in your checkout of BUSBench."
    return BusbenchError(Code.EXTRA_MISSING, f"{what}.", remedy)


def _storage_errors() -> tuple[type[Exception], ...]:
    """What storages raise; those of S3 are no errors of the operating system."""
    if importlib.util.find_spec("botocore") is None:
        return (OSError,)
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415  comes with s3fs

    return OSError, BotoCoreError


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _fetch(depot: Depot, digest: Digest, place: Path) -> None:
    """Fetch an input to where nothing is yet; the caller has the lock."""
    listed = parse(
        FileList, depot.get(digest), digest, code=CODE, remedy="Run the same command again."
    )
    partial = place.with_name(f"{place.name}.partial")
    with disk_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)  # what a killed fetch left
        for name in listed.files:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            wanted = ((sha256, partial / name) for name, sha256 in listed.files.items())
            list(pool.map(lambda pair: depot.get_file(*pair), wanted))
        let_all_read(partial)
        partial.replace(place)

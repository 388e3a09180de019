"""Download of a release from where it is published: checked, resumed, unpacked.

OUT/release/       what was published, archives unpacked
OUT/fetched.json   written last: which files, with the digests of the record and of the bytes

Until then, files are in OUT/.fetching-NAME: whole ones under their names, an unfinished one as
`.part`, which the next run continues.
"""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pooch
import requests
from pydantic import Field

import harness
from evaluator.documents.base import Contract, Digest, Name, read, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, sha256_file
from evaluator.progress import Progress, quiet
from harness.datasets import Adapter
from harness.datasets.records import SOURCES, RemoteFile, list_files
from harness.folders import require_same

CHUNK = 1 << 16  # bytes that a broken line may lose
MEGABYTE = 10**6
TIMEOUT_S = (30, 60)  # to connect, and between two pieces
# Compressed on the way, a file would have no known length and could not be continued.
HEADERS = {"User-Agent": f"busbench/{harness.__version__}", "Accept-Encoding": "identity"}
DOCUMENT, RELEASE = "fetched.json", "release"


class FetchedFile(Contract):
    """One file as it was downloaded."""

    name: str
    url: str
    bytes: int
    sha256: Digest
    stated: str | None  # the record's digest, which was found; null where it states none


class Fetched(Contract):
    """`fetched.json`."""

    schema_: Literal["busbench/fetched/v1"] = Field(default="busbench/fetched/v1", alias="schema")
    dataset: Name
    source: str
    terms: str
    files: tuple[FetchedFile, ...]


def fetch(
    adapter: Adapter, out: Path, *, server: str | None = None, progress: Progress = quiet
) -> Fetched:
    """Download a release, or continue where an earlier run was stopped; nothing where it is there.

    Args:
        adapter: of a dataset in `SOURCES`.
        out: a new or empty folder, or that of the same download.
        server: in place of the repository's address.

    Raises:
        BusbenchError: `download-failed` where a file cannot be had whole, `output-exists`.
    """
    if (out / DOCUMENT).is_file():
        found = read(Fetched, out / DOCUMENT, Code.OUTPUT_EXISTS, remedy="Name a new folder.")
        require_same(out, {"dataset": found.dataset != adapter.name})
        if not (out / RELEASE).is_dir():
            message = f"{out / DOCUMENT} is there, but {out / RELEASE} is not."
            raise BusbenchError(Code.OUTPUT_EXISTS, message, f"Remove {out}, or name a new folder.")
        return found
    work, source = out / f".fetching-{adapter.name}", SOURCES[adapter.name]
    transfer = _Transfer(adapter, progress)
    with disk_errors(out):
        _require_own(out, work)
        work.mkdir(parents=True, exist_ok=True)
        files = list_files(source, server or source.server, transfer.json)
        done = []
        for number, file in enumerate(files):
            progress("download files", number, len(files))
            done.append(transfer.file(file, work / "files"))
        progress("download files", len(files), len(files))
        transfer.unpack(files, work)
        shutil.rmtree(out / RELEASE, ignore_errors=True)  # of a run that was killed here
        (work / RELEASE).replace(out / RELEASE)
        release = adapter.release
        fetched = Fetched(
            dataset=adapter.name, source=release.download, terms=release.terms, files=tuple(done)
        )
        write(fetched, out / DOCUMENT)
        shutil.rmtree(work)
    return fetched


def _require_own(out: Path, work: Path) -> None:
    """Raise `output-exists` where `out` contains what no unfinished run of this download left."""
    ours = {work.name, RELEASE} if work.is_dir() else set()
    foreign = {path.name for path in out.iterdir()} - ours if out.is_dir() else set()
    if foreign or out.is_file():
        what = f"{out} contains {min(foreign)}" if foreign else f"{out} is a file"
        message = f"{what}, which is not of this download."
        raise BusbenchError(Code.OUTPUT_EXISTS, message, "Name a new folder.")


def _require_whole(path: Path) -> None:
    """Raise `BadZipFile` for a damaged xlsx file, which is an archive; others are not looked at."""
    if path.suffix.lower() == ".xlsx":
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} is damaged")


class _Transfer:
    """The transfer of one release's files."""

    def __init__(self, adapter: Adapter, progress: Progress) -> None:
        self._progress = progress
        self._remedy = (
            "Run the same command again, which continues; or download it by hand"
            f" ({adapter.release.download}), unpack it, and name that folder to"
            f" `busbench prepare {adapter.name} --raw`."
        )
        pooch.get_logger().setLevel("WARNING")

    def json(self, url: str) -> Any:
        """The JSON document at an address."""
        try:
            response = requests.get(url, timeout=TIMEOUT_S, headers=HEADERS)
            response.raise_for_status()
        except requests.RequestException as error:
            raise self._failed(url, error) from error
        return json.loads(response.content)

    def file(self, file: RemoteFile, folder: Path) -> FetchedFile:
        """Download one file, unless it is there, and compare it with the record's digest."""
        place = folder / file.name
        place.parent.mkdir(parents=True, exist_ok=True)

        def stream(url: str, output: str, _: object) -> None:
            part = place.with_name(place.name + ".part")
            self._stream(url, part, file)
            part.replace(output)

        try:
            pooch.retrieve(
                file.url, file.digest, fname=place.name, path=place.parent, downloader=stream
            )
        except requests.RequestException as error:
            raise self._failed(file.url, error) from error
        except ValueError as error:  # pooch's word for another digest; the file is gone
            message = f"{file.name} is not what its record states ({file.digest})."
            raise BusbenchError(Code.DOWNLOAD_FAILED, message, self._remedy) from error
        if file.size not in (None, place.stat().st_size):
            message = (
                f"{file.name} has {place.stat().st_size} bytes, its record states {file.size}."
            )
            place.unlink()
            raise BusbenchError(Code.DOWNLOAD_FAILED, message, self._remedy)
        return FetchedFile(
            name=file.name,
            url=file.url,
            bytes=place.stat().st_size,
            sha256=sha256_file(place),
            stated=file.digest,
        )

    def _stream(self, url: str, part: Path, file: RemoteFile) -> None:
        """Write what is missing of a file to its end."""
        there = part.stat().st_size if part.is_file() else 0
        headers = {**HEADERS, **({"Range": f"bytes={there}-"} if there else {})}
        with requests.get(url, stream=True, timeout=TIMEOUT_S, headers=headers) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink()  # it is as long as the file, or longer
                return self._stream(url, part, file)
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                there = 0  # the server sends all of it
            total = there + int(response.headers.get("Content-Length", 0))
            with part.open("ab" if there else "wb") as handle:
                for piece in response.iter_content(CHUNK):
                    handle.write(piece)
                    there += len(piece)
                    if total > 10 * MEGABYTE:
                        done = min(there, total) // MEGABYTE
                        self._progress(f"{file.name}, MB", done, total // MEGABYTE)
        return None

    def unpack(self, files: Sequence[RemoteFile], work: Path) -> None:
        """Fill `work/release` with the files, and with what is in the archives among them."""
        shutil.rmtree(work / RELEASE, ignore_errors=True)  # of a run that was killed here
        (work / RELEASE).mkdir()
        for number, file in enumerate(files):
            self._progress("unpack files", number, len(files))
            place, inside = work / "files" / file.name, work / RELEASE / file.name
            inside.parent.mkdir(parents=True, exist_ok=True)
            try:
                if place.suffix.lower() == ".zip":
                    with zipfile.ZipFile(place) as archive:
                        archive.extractall(inside.with_suffix(""))
                else:
                    _require_whole(place)
                    shutil.copyfile(place, inside)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                place.unlink()
                message = f"{file.name} is not a whole archive ({error})."
                raise BusbenchError(Code.DOWNLOAD_FAILED, message, self._remedy) from error
        self._progress("unpack files", len(files), len(files))

    def _failed(self, url: str, error: requests.RequestException) -> BusbenchError:
        answer = error.response
        why = f"answered {answer.status_code}" if answer is not None else "cannot be reached"
        if answer is None and isinstance(error, requests.exceptions.ChunkedEncodingError):
            why = "stopped before the end"
        message = f"{urlsplit(url).hostname} {why}: {url}."
        return BusbenchError(Code.DOWNLOAD_FAILED, message, self._remedy)

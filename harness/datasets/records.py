"""The files of a release, as its repository's record lists them: addresses, sizes and digests.

No digest is written down here: a record is asked for each time, and its digests are what the
download is compared with. A plain page states none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from evaluator.errors import BusbenchError, Code

ROOT = "root"  # Mendeley's name for the folder of all
GetJson = Callable[[str], Any]  # the address of a JSON document -> the document


@dataclass(frozen=True)
class RemoteFile:
    """A file of a release at its repository."""

    name: str  # relative to the release, with `/`
    url: str
    size: int | None = None  # bytes
    digest: str | None = None  # `md5:...` or `sha256:...`, as the record states it


@dataclass(frozen=True)
class Source:
    """Where a release is published."""

    server: str
    files: Callable[[str, GetJson], list[RemoteFile]]  # from the server's address


def zenodo(record: str) -> Source:
    """A record of Zenodo, by the number in its DOI."""

    def files(server: str, get_json: GetJson) -> list[RemoteFile]:
        found = get_json(f"{server}/api/records/{record}")["files"]
        return [
            RemoteFile(f["key"], f["links"]["self"], f.get("size"), f["checksum"]) for f in found
        ]

    return Source("https://zenodo.org", files)


def mendeley(dataset: str, version: int) -> Source:
    """A version of a dataset of Mendeley Data, which lists its files folder by folder."""

    def files(server: str, get_json: GetJson) -> list[RemoteFile]:
        api = f"{server}/public-api/datasets/{dataset}"
        folders = {f["id"]: f for f in get_json(f"{api}/folders/{version}")}
        found = []
        for folder in (ROOT, *folders):
            address = f"{api}/files?folder_id={quote(folder)}&version={version}"
            for entry in get_json(address):
                details = entry["content_details"]
                name = "/".join((*_folder_names(folder, folders), entry["filename"]))
                digest = f"sha256:{details['sha256_hash']}"
                size = details.get("size")
                found.append(RemoteFile(name, details["download_url"], size, digest))
        return found

    return Source("https://data.mendeley.com", files)


def _folder_names(folder: str, folders: Mapping[str, Any]) -> list[str]:
    """The names on the way to a folder; a folder in itself would have no end."""
    names = list[str]()
    while folder in folders:
        if len(names) > len(folders):
            raise ValueError("a folder lies in itself")
        names.insert(0, folders[folder]["name"])
        folder = folders[folder].get("parent_id") or ROOT
    return names


def page(server: str, *paths: str) -> Source:
    """Files at addresses of a page, which states no digest."""

    def files(base: str, _: GetJson) -> list[RemoteFile]:
        return [RemoteFile(PurePosixPath(path).name, base + quote(path)) for path in paths]

    return Source(server, files)


_TCIA = "/wp-content/uploads/BrEaST-Lesions"
SOURCES: Mapping[str, Source] = {
    "busi": page("https://scholar.cu.edu.eg", "/Dataset_BUSI.zip"),
    "busbra": zenodo("8231412"),
    "bus-uc": mendeley("3ksd7w7jkx", 1),
    "bus-uclm": mendeley("7fvgj4jsp7", 3),
    "breast": page(
        "https://www.cancerimagingarchive.net",
        f"{_TCIA}_USG-images_and_masks-Dec-15-2023.zip",
        f"{_TCIA}-USG-clinical-data-Dec-15-2023.xlsx",
    ),
}
ON_REQUEST: Mapping[str, str] = {
    "yap2018": (
        "Yap2018 (UDIAT, Dataset B) is given by its authors to those who sign an agreement, and may"
        " not be passed on: nothing is downloaded.\n"
        "1. Read https://helward.mmu.ac.uk/STAFF/m.yap/dataset.php (Moi Hoon Yap, Manchester"
        " Metropolitan University), which has the agreement and says where to send it.\n"
        "2. Sign the agreement and ask for Dataset B; cite doi:10.1109/JBHI.2017.2731873.\n"
        "3. Unpack what you get, BUS/ and DatasetB.xlsx, and run"
        " `busbench prepare yap2018 --raw FOLDER --out stores/yap2018`."
    )
}


def list_files(source: Source, server: str, get_json: GetJson) -> list[RemoteFile]:
    """The files of a release, by name.

    Raises:
        BusbenchError: `download-failed` where the record is not in the form that is known, or names
            a file outside the release.
    """
    try:
        files = source.files(server, get_json)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unknown(server, f"its form is not known ({error!r})") from error
    names = [file.name.casefold() for file in files]
    for file in files:
        parts = file.name.split("/")
        if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
            raise _unknown(server, f"it names the file {file.name!r}")
        if not file.url.startswith(("https://", f"{server}/")):
            raise _unknown(server, f"{file.name} is at {file.url}, which is not encrypted")
        if names.count(file.name.casefold()) > 1:
            raise _unknown(server, f"it names {file.name} twice")
    if not files:
        raise _unknown(server, "it names no file")
    return sorted(files, key=lambda file: file.name)


def _unknown(server: str, why: str) -> BusbenchError:
    remedy = "Download the release by hand; `busbench prepare` reads it as unpacked."
    return BusbenchError(
        Code.DOWNLOAD_FAILED, f"The record at {server} cannot be used: {why}.", remedy
    )

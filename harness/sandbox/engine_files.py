"""Files of an image that its start opens, looked at before any container of it is started.

The engine and runc read `/etc/passwd` and `/etc/group` as root, even where the user is a number. A
named pipe there, or a link to `/dev/random`, blocks the start for ever, with the container locked;
one line of 600 MB costs the engine 3 GB. The archive of a created container states a file's type,
its size and where a link leads without opening it, on the file system that a start would see.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import PurePosixPath

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from evaluator.documents.reading import MEBIBYTE
from evaluator.errors import BusbenchError, Code
from harness.sandbox.inspection import ImageConfig
from harness.sandbox.output import remove
from harness.sandbox.profile import OwnPlaces, looked_at_settings

MAX_BYTES = MEBIBYTE
MAX_LINE = 32 * 1024  # bytes; of 64 KB the engine takes no line in the one file, any in the other
# What is opened, and whether line by line: for users and groups; by a GPU's hook; to mount over.
OPENED: Mapping[str, bool] = {
    **dict.fromkeys(("/etc/passwd", "/etc/group", "/etc/ld.so.conf"), True),
    **dict.fromkeys(("/etc/ld.so.cache", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"), False),
}
# What lies there in a container is not what lies there in its image.
MOUNTED = ("/proc", "/sys", "/dev", "/tmp", "/in", "/out", "/sbin/docker-init")
LINK, FOLDER = "a link", "a folder"
# The engine's bits for a kind of file; a regular one has none of them.
KINDS: Mapping[int, str] = {
    1 << 31: FOLDER,
    1 << 27: LINK,
    1 << 26: "a device",
    1 << 25: "a named pipe",
    1 << 24: "a socket",
    1 << 19: "not a regular file",
}
# What the engine says of a path that leads nowhere, and what that is in our words.
_NOWHERE = {"too many links": "a link to itself", "not a directory": "a link through a file"}


@dataclass(frozen=True)
class File:
    """What an engine states of a file of an image, and its content where it is small."""

    kind: str = ""  # in words; empty: a regular file
    size: int = 0  # bytes
    target: str = ""  # of a link, resolved inside the image
    content: Callable[[], bytes] = field(default=bytes, repr=False)


Look = Callable[[str], File | None]  # None: there is no such file


def problems(look: Look, working_folder: str = "/") -> Iterator[str]:
    """What is wrong with the files and folders that a start opens, in words."""
    yield from _on_the_way(working_folder, look)
    for path, by_line in OPENED.items():
        found = look(path)
        if found is not None and found.kind == LINK:
            found = _behind(found.target, look)
        if found is None:
            continue
        if found.kind:
            yield f"its {path} is {found.kind}"
        elif found.size > MAX_BYTES:
            yield f"its {path} has {found.size} bytes, more than {MAX_BYTES}"
        elif by_line and max(map(len, found.content().split(b"\n"))) > MAX_LINE:
            yield f"its {path} has a line of more than {MAX_LINE} bytes"


def _on_the_way(folder: str, look: Look) -> Iterator[str]:
    """Whatever on the way to a folder is none; the engine makes those that are missing."""
    for place in (*reversed(PurePosixPath(folder).parents), PurePosixPath(folder)):
        found = look(str(place))
        if found is not None and found.kind == LINK:
            found = _behind(found.target, look)
        if found is not None and found.kind != FOLDER:
            yield f"its WORKDIR leads through {found.kind or 'a file'}"


def _behind(target: str, look: Look) -> File:
    """The file that a link leads to; one that cannot be seen here could be anything later.

    Where it leads is the participant's own text, so no message has it.
    """
    if any(target == place or target.startswith(f"{place}/") for place in MOUNTED):
        return File("a link to where a container has another file than its image")
    return look(target) or File("a link to nothing")


def require_openable(client: docker.DockerClient, image: str) -> OwnPlaces:
    """Raise `image-refused` where a start of `image` would open what it must not.

    Nothing of the image is run.

    Args:
        image: its id.

    Returns:
        The places of its own that its container keeps.

    Raises:
        docker.errors.APIError: where the engine fails.
    """
    config = ImageConfig.of(client.images.get(image).attrs)
    container = client.containers.create(**looked_at_settings(image))
    try:

        def look(path: str) -> File | None:
            return _stated(client.api, container, path=path)

        found = list(problems(look, config.working_folder))
        users = None if found else look("/etc/passwd")
        table = b"" if users is None or users.kind else users.content()
    finally:
        remove(container)
    if found:
        raise BusbenchError(
            Code.IMAGE_REFUSED,
            f"The image is refused: {'; '.join(found)}.",
            "Leave these files as the base image has them: regular, small, and no links elsewhere.",
        )
    home = "" if "PYTHONUSERBASE" in config.environment else home_of(config.user, table)
    return OwnPlaces(config.working_folder, f"{home}/.local" if home else "")


def home_of(user: str, table: bytes) -> str:
    """The home of an image's user, by name or number, in its /etc/passwd; empty where unknown."""
    wanted = user.partition(":")[0]
    for line in table.decode(errors="replace").splitlines():
        name, *fields = line.split(":")
        if len(fields) >= 5 and wanted in (name, fields[1]):
            home = fields[4].rstrip("/")
            return home if home.startswith("/") and home.isprintable() else ""
    return ""


def _stated(api: docker.APIClient, container: Container, *, path: str) -> File | None:
    """What the engine states of a file: the answer to HEAD, so that it sends nothing of it."""
    url = f"{api.base_url}/v{api.api_version}/containers/{container.id}/archive"
    answer = api.head(url, params={"path": path}, timeout=api.timeout)
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return None
    if not answer.ok:
        return _unseen(container, path)
    stated = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
    return File(
        kind=next((words for bit, words in KINDS.items() if int(stated["mode"]) & bit), ""),
        size=int(stated["size"]),
        target=str(stated["linkTarget"]),
        content=lambda: _content(container.get_archive(path)[0]),
    )


def _unseen(container: Container, path: str) -> File | None:
    """A file that the engine cannot state; raises its error where the image is not the reason."""
    try:
        container.get_archive(path)
    except NotFound:
        return None
    except APIError as error:
        said = str(error.explanation)
        kind = next((ours for theirs, ours in _NOWHERE.items() if theirs in said), "")
        if not kind:
            raise
        return File(kind)
    raise APIError(f"the engine states nothing of {path}")


def _content(chunks: Iterator[bytes]) -> bytes:
    """The one file of a small archive, which is read to its end: until then, it is locked."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        member = archive.next()
        content = archive.extractfile(member) if member is not None else None
        return content.read() if content is not None else b""

"""Hostile images that would block or fill the engine are refused before one of them is started."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from evaluator.errors import BusbenchError
from evaluator.progress import quiet
from harness.challenge import Challenge, Limits
from harness.sandbox import Stage
from harness.sandbox.docker_runner import DockerRunner
from harness.sandbox.engine_files import MAX_BYTES, OPENED, require_openable
from harness.sandbox.profile import LABEL

pytestmark = pytest.mark.docker
Member = tuple[str, bytes, str | bytes]  # name, type in a tar, target or content
FOLDERS: list[Member] = [(name, tarfile.DIRTYPE, "") for name in ("etc", "srv")]
PIPE: Member = ("srv/pipe", tarfile.FIFOTYPE, "")
USERS: Member = ("etc/passwd", tarfile.REGTYPE, b"root:x:0:0::/:/bin/sh\n")


def link(name: str, target: str) -> Member:
    return (name, tarfile.SYMTYPE, target)


def of_kind(name: str) -> dict[str, list[Member]]:
    """One file of an image, wrong in every way that the engine does not expect."""
    kinds = {"pipe": tarfile.FIFOTYPE, "folder": tarfile.DIRTYPE, "device": tarfile.CHRTYPE}
    return {
        **{f"{name} {kind}": [(name, code, "")] for kind, code in kinds.items()},
        f"{name} relative link": [PIPE, link(name, "../srv/pipe")],
        f"{name} absolute link": [PIPE, link(name, "/srv/pipe")],
        f"{name} chain": [
            PIPE,
            link("srv/a", "b"),
            link("srv/b", "/srv"),
            link(name, "/srv/a/pipe"),
        ],
        f"{name} outside": [PIPE, link(name, "../../../../../srv/pipe")],
        f"{name} to itself": [link(name, f"/{name}")],
        f"{name} to nothing": [link(name, "/srv/nothing")],
        f"{name} to a device": [link(name, "/dev/random")],
        f"{name} to the kernel's log": [link(name, "/proc/kmsg")],
        f"{name} to the output": [("out", tarfile.DIRTYPE, ""), link(name, "/out/x")],
        f"{name} through a file": [("srv/f", tarfile.REGTYPE, b"x"), link(name, "/srv/f/x")],
        f"{name} large": [(name, tarfile.REGTYPE, b"a:x:1:\n" * (MAX_BYTES // 7 + 1))],
        f"{name} one line": [(name, tarfile.REGTYPE, b"x" * 100_000)],
    }


HOSTILE: dict[str, list[Member]] = {
    **of_kind("etc/passwd"),
    **of_kind("etc/group"),
    **{f"{name} folder": [(name[1:], tarfile.DIRTYPE, "")] for name in OPENED},
}
SOUND: dict[str, list[Member]] = {
    "nothing": [],
    "users": [USERS],
    "a link": [("srv/users", *USERS[1:]), link("etc/passwd", "../srv/users")],
    "a linked folder": [("real", tarfile.DIRTYPE, ""), ("real/group", *USERS[1:])],
}


class Images:
    """Images of one layer, removed at the end."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client
        self._made: list[str] = []

    def make(self, members: list[Member], *changes: str) -> str:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, kind, more in [*FOLDERS, *members]:
                member = tarfile.TarInfo(name)
                member.type, member.mode, member.devmajor, member.devminor = kind, 0o755, 1, 5
                if isinstance(more, str):
                    member.linkname = more
                content = more if isinstance(more, bytes) else b""
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        said = self.client.api.import_image_from_data(
            buffer.getvalue(), changes=["USER 65532", 'ENTRYPOINT ["/x"]', *changes]
        )
        self._made.append(json.loads(said.splitlines()[-1])["status"])
        return self._made[-1]

    def remove(self) -> None:
        for image in set(self._made):
            self.client.images.remove(image, force=True)


@pytest.fixture(scope="module")
def images(engine: docker.DockerClient) -> Iterator[Images]:
    made = Images(engine)
    yield made
    made.remove()


@pytest.mark.parametrize("name", HOSTILE)
def test_no_image_that_would_stop_the_engine_is_started(images: Images, name: str) -> None:
    with pytest.raises(BusbenchError) as refused:
        require_openable(images.client, images.make(HOSTILE[name]))
    assert refused.value.code == "image-refused"
    assert "/etc/" in refused.value.message


@pytest.mark.parametrize("target", ["/proc/self/fd/8", "/dev", "nothing", "../etc/passwd"])
def test_no_working_folder_leads_out_of_the_image(images: Images, target: str) -> None:
    members = [USERS, link("srv/app", target)]
    for folder in ("/srv/app", "/srv/app/below"):
        with pytest.raises(BusbenchError) as refused:
            require_openable(images.client, images.make(members, f"WORKDIR {folder}"))
        assert refused.value.code == "image-refused" and "WORKDIR" in refused.value.message


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_image_is_not_refused(images: Images, name: str) -> None:
    require_openable(images.client, images.make(SOUND[name]))


def test_no_stage_starts_an_image_without_looking(images: Images, tmp_path: Path) -> None:
    """With a file that would do no harm, were it opened."""
    image = images.make([("etc/group", tarfile.REGTYPE, b"x:x:1:" + b"y" * 40_000)])
    seen = images.client.events(decode=True, filters={"event": "start", "image": image})
    stage = Stage("train", "participant", ("run",), {}, tmp_path, Limits(), image=image)
    with pytest.raises(BusbenchError) as refused:
        DockerRunner(Challenge()).run(stage, quiet)
    seen.close()
    assert refused.value.code == "image-refused" and "/etc/group" in refused.value.message
    wanted = {"ancestor": image, "label": f"{LABEL}=looked_at"}
    assert images.client.api.containers(all=True, filters=wanted) == []

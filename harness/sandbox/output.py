"""Output volumes: a stage writes to memory of limited size, which is gone after the run.

The volume is a file system in memory with a size and a number of files, which any Docker engine
makes without further rights; the kernel refuses what goes beyond. What lies in it counts as memory
of the stage. The engine forgets such a volume with the last container that uses it, so a second
container, the output volume holder, sleeps beside the stage until the harness has fetched what may
leave.
Nothing that a container writes lands on the host as anything but a regular file of the user's own.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

import docker
import requests
from docker.errors import APIError
from docker.models.containers import Container
from docker.models.volumes import Volume

from evaluator.documents.reading import MEBIBYTE
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors
from harness.challenge import Limits
from harness.sandbox.profile import (
    OUTPUT,
    USER_ID,
    owner_labels,
    volume_holder_settings,
    volume_settings,
)
from harness.sandbox.stage import Stage
from harness.sandbox.unpack import Unpacked, pack, unpack

_NEARLY_FULL = 64 * 1024  # a writer that stops at the limit leaves less than this


class Removable(Protocol):
    """A container or a volume of the engine."""

    def remove(self, *, force: bool) -> None: ...


Thing = TypeVar("Thing", bound=Removable)


class Output:
    """The output volume of one running stage, through its output volume holder."""

    def __init__(
        self, stage: Stage, volume: str, volume_holder: Container, *, beside: ThreadPoolExecutor
    ) -> None:
        self.volume = volume
        self._stage = stage
        self._volume_holder = volume_holder
        self._beside = beside
        self.keeping = beside.submit(volume_holder.start)

    def fill(self) -> None:
        """Wait for the output volume holder, and restore what an earlier, killed run had saved.

        Nothing may use the volume before that.
        """
        self.keeping.result()
        if not any(self._stage.output.iterdir()):
            return
        with tempfile.TemporaryFile() as archive:
            pack(self._stage.output, archive, USER_ID)
            archive.seek(0)
            self._volume_holder.put_archive(OUTPUT, archive)

    def fetch(self, *, ended: bool = True) -> Unpacked:
        """Replace the stage's output folder by what lies in the volume now.

        Args:
            ended: whether the stage is done; else what may not leave, such as a file that is
                half written under another name, is no fault yet and is left out.

        Raises:
            BusbenchError: `disk-full`, `engine-unavailable`.
        """
        place = self._stage.output
        fresh = place.with_name(f".{place.name}.fetched")
        limits = self._stage.limits
        with disk_errors(fresh):
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            try:
                chunks, _ = self._volume_holder.get_archive(OUTPUT)
                found = unpack(
                    chunks,
                    fresh,
                    limits.output_mb * MEBIBYTE,
                    max_files=limits.output_files,
                    pass_over=not ended,
                )
            except tarfile.TarError as error:
                raise BusbenchError(
                    Code.ENGINE_UNAVAILABLE,
                    f"The engine gave a damaged copy of what {self._stage.name} wrote ({error}).",
                    "Run the same command again.",
                ) from error
            shutil.rmtree(place)
            fresh.rename(place)
        return found

    def remove_user(self, container: Container) -> None:
        """Remove a container that used the volume, while the output volume holder is removed."""
        self._beside.submit(remove, container)

    def is_full(self, found: Unpacked) -> bool:
        """Whether what was fetched reaches a limit, or would pass it."""
        limits = self._stage.limits
        return (
            found.too_much
            or found.bytes > limits.output_mb * MEBIBYTE - _NEARLY_FULL
            or found.files >= limits.output_files - 1
        )


@contextmanager
def open_output(client: docker.DockerClient, stage: Stage, image: str) -> Iterator[Output]:
    """A fresh output volume for `stage`, kept alive by a output volume holder that runs `image`.

    Raises:
        docker.errors.APIError: where the engine cannot make it.
    """
    name = f"busbench-{stage.name}-{uuid.uuid4().hex[:16]}"
    with (
        _removed(_make_volume(client, name, "output", limits=stage.limits)),
        ThreadPoolExecutor(1, "busbench-volume_holder") as beside,
        _removed(client.containers.create(**volume_holder_settings(image, name))) as holder,
    ):
        output = Output(stage, name, holder, beside=beside)
        try:
            yield output
        finally:
            wait([output.keeping])


@contextmanager
def open_volume(client: docker.DockerClient, limits: Limits, image: str) -> Iterator[str]:
    """The name of a volume in memory for containers to share, kept by a holder that runs `image`.

    Args:
        limits: how large it is, as an output is.

    Raises:
        docker.errors.APIError: where the engine cannot make it.
    """
    name = f"busbench-shared-{uuid.uuid4().hex[:16]}"
    with (
        _removed(_make_volume(client, name, "shared", limits=limits)),
        _removed(client.containers.create(**volume_holder_settings(image, name))) as holder,
    ):
        holder.start()
        yield name


def _make_volume(client: docker.DockerClient, name: str, kind: str, *, limits: Limits) -> Volume:
    return client.volumes.create(name, labels=owner_labels(kind), **volume_settings(limits))


@contextmanager
def _removed(thing: Thing) -> Iterator[Thing]:
    """What the engine has made, until the end."""
    try:
        yield thing
    finally:
        remove(thing)


def remove(thing: Removable) -> None:
    """Remove it; a failure must not hide the one being reported, and the next run cleans up."""
    with suppress(APIError, requests.RequestException):
        thing.remove(force=True)

"""Stages in containers of a Docker engine: create, watch, stop, explain, remove."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container

from evaluator.errors import BusbenchError
from evaluator.files import write_atomically
from evaluator.progress import Progress, parse_line, quiet
from harness.challenge import Challenge, Room
from harness.sandbox.failure import explain
from harness.sandbox.images import ensure_image
from harness.sandbox.profile import MEBIBYTE, OWNER_LABEL, container_settings
from harness.sandbox.stage import Outcome, Stage

POLL_SECONDS = 0.25
MAX_ERROR_BYTES = 65536


class DockerRunner:
    """Runs each stage in a container of its own.

    Raises:
        BusbenchError: `engine-unavailable` where no engine answers.
    """

    name: Literal["docker", "process"] = "docker"

    def __init__(self, challenge: Challenge, progress: Progress = quiet) -> None:
        self._images = challenge.images
        self._progress = progress
        try:
            self.client = docker.from_env()
            self.client.ping()
        except (DockerException, requests.RequestException) as error:
            raise BusbenchError(
                "engine-unavailable",
                "No Docker engine answers.",
                "Start one, or use --runner process for a trial without isolation.",
            ) from error
        self._ids: dict[Room, str] = {}
        self._remove_orphans()

    def identify(self, stage_room: Room) -> str:
        """The id of a room's bundled image, built where it is missing."""
        if stage_room not in self._ids:
            self._ids[stage_room] = ensure_image(
                self.client, stage_room, self._images, self._progress
            )
        return self._ids[stage_room]

    def image_id(self, name: str) -> str:
        """The id of a local image; raises `image-unavailable` where there is none."""
        try:
            return str(self.client.images.get(name).id)
        except ImageNotFound as error:
            raise BusbenchError(
                "image-unavailable", f"The engine has no image {name}.", "Pull or build it first."
            ) from error

    def run(self, stage: Stage, progress: Progress) -> None:
        """Run a stage in the sandbox profile; see `Runner`."""
        image = stage.image or self.identify(stage.room)
        stage.output.chmod(0o777)  # the container's user is nobody on the host
        try:
            container = self.client.containers.create(**container_settings(stage, image))
        except APIError as error:
            raise _engine_failed(stage, error) from error
        try:
            outcome = self._watch(container, stage, progress)
        except (APIError, requests.RequestException) as error:
            raise _engine_failed(stage, error) from error
        finally:
            _remove(container)
        if outcome.exit_code != 0 or outcome.timed_out or outcome.output_full:
            raise explain(stage, outcome)

    def _watch(self, container: Container, stage: Stage, progress: Progress) -> Outcome:
        container.start()
        deadline = time.monotonic() + stage.limits.seconds
        lines = _LogReader(container, progress)
        timed_out = output_full = False
        while _running(container):
            timed_out = time.monotonic() > deadline
            output_full = folder_bytes(stage.output) > stage.limits.output_mb * MEBIBYTE
            if timed_out or output_full:
                container.kill()
                break
            time.sleep(POLL_SECONDS)
        result = container.wait(timeout=60)
        lines.finish()
        if stage.log is not None:
            write_atomically(stage.log, container.logs())
        container.reload()
        return Outcome(
            exit_code=int(result["StatusCode"]),
            oom_killed=bool(container.attrs["State"]["OOMKilled"]),
            timed_out=timed_out,
            output_full=output_full,
            last_line=lines.last,
            error=read_error(stage.output),
        )

    def _remove_orphans(self) -> None:
        """Remove what a harness that was killed left running."""
        for container in self.client.containers.list(all=True, filters={"label": OWNER_LABEL}):
            owner = container.labels.get(OWNER_LABEL, "")
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                _remove(container)


class _LogReader:
    """Follows a container's log in a thread: progress lines go on, the last other line is kept."""

    def __init__(self, container: Container, progress: Progress) -> None:
        self.last = ""
        self._thread = threading.Thread(target=self._follow, args=(container, progress))
        self._thread.daemon = True
        self._thread.start()

    def _follow(self, container: Container, progress: Progress) -> None:
        try:
            for line in _lines(container.logs(stream=True, follow=True)):
                step = parse_line(line)
                if step is not None:
                    progress(*step)
                elif line.strip():
                    self.last = line.strip()
        except (APIError, requests.RequestException):
            pass  # the container is gone; how it ended is asked of the engine, not of its log

    def finish(self) -> None:
        self._thread.join(timeout=10)


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Whole lines of a stream of chunks; an endless line is cut."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
        rest = rest[:4096]
    yield rest.decode(errors="replace")


def _running(container: Container) -> bool:
    container.reload()
    return container.status in ("created", "running")


def _remove(container: Container) -> None:
    with suppress(NotFound):
        container.remove(force=True, v=True)


def _engine_failed(stage: Stage, error: Exception) -> BusbenchError:
    reason = str(getattr(error, "explanation", None) or error)[:300]
    if stage.gpu and "device" in reason:
        return BusbenchError(
            "device-unavailable",
            f"The engine cannot give the {stage.name} stage a GPU: {reason}.",
            "Install the NVIDIA container toolkit, or use --device cpu.",
        )
    return BusbenchError(
        "engine-unavailable",
        f"The engine could not run the {stage.name} stage: {reason}.",
        "Look at the engine's log, then run the same command again.",
    )


def folder_bytes(folder: Path) -> int:
    """Bytes in all files below `folder`; files that vanish meanwhile count as nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def read_error(output: Path) -> dict[str, str] | None:
    """The stage's own `error.json`, or None; whatever is wrong with it, it only goes unheard."""
    path = output / "error.json"
    try:
        if path.is_symlink() or path.stat().st_size > MAX_ERROR_BYTES:
            return None
        value: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict):
        return None
    return {str(key): str(text) for key, text in value.items()}

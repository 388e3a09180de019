"""Stages in containers of a Docker engine: create, watch, stop, explain, remove."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractContextManager,
    ExitStack,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import requests
from docker.constants import DEFAULT_TIMEOUT_SECONDS
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container

from evaluator.documents.base import write
from evaluator.errors import BusbenchError, Code, Fault
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge, Component, Limits
from harness.sandbox.engine_files import require_openable
from harness.sandbox.failure import explain, explain_engine, unreadable
from harness.sandbox.images import ensure_base, ensure_image
from harness.sandbox.log import LogReader, write_log
from harness.sandbox.output import Output, Removable, open_output, open_volume, remove
from harness.sandbox.owner import is_gone
from harness.sandbox.profile import OWNER_LABEL, OwnPlaces, container_settings, places
from harness.sandbox.sources import base_name
from harness.sandbox.stage import Outcome, RunnerName, Stage, read_error
from harness.sandbox.usage import sampled, usage_of

SHORTEST_WAIT = 0.01  # seconds; none at all would be no time limit
SAVE_SECONDS = 60.0  # how often the output of a stage that resumes is saved
SAVE_SHARE = 0.05  # of the time, at most
REMOVERS = 32  # orphans that are removed at the same time
PATIENCE = 600  # seconds that an engine that has answered may take, on a machine that is overloaded
ORPHAN_SECONDS = 10  # for the engine to remove what a killed run left
SIGNALLED = (137, 143)  # exit statuses after SIGKILL and SIGTERM
ENGINE_ERRORS = (APIError, requests.RequestException)
# Names the first input that a container's user cannot read; it reads no more than a byte of each.
READ_INPUTS = """
import os, sys
def fail(error): sys.exit(f"{error.filename}: {error.strerror}")
for name in sorted(sys.argv[1:]):
    if not os.path.isdir(name):
        files = [name]
    else:
        walk = os.walk(name, onerror=fail)
        files = (os.path.join(folder, file) for folder, _, names in walk for file in names)
    for path in files:
        try:
            with open(path, "rb") as handle:
                handle.read(1)
        except OSError as error:
            fail(error)
"""


class DockerRunner:
    """Runs each stage in a container of its own; before the first, removes what killed runs left.

    Raises:
        BusbenchError: `engine-unavailable` where no engine answers.
    """

    name: RunnerName = "docker"

    def __init__(
        self, challenge: Challenge, progress: Progress = quiet, gpu_device: str | None = None
    ) -> None:
        self._images = challenge.images
        self._progress = progress
        self._gpu_device = gpu_device
        self.client = connect()
        self.client.api.timeout = PATIENCE
        self._ids: dict[Component, str] = {}
        self._cleaned = False
        self._own: dict[str, OwnPlaces] = {}  # of images whose files a start may open

    def ahead(self, _: Iterable[Stage], /) -> AbstractContextManager[None]:
        """Nothing: a container is given what it may see when it is made, and that is too soon."""
        return nullcontext()

    def identify(self, component: Component) -> str:
        """The id of a component's bundled image, built where it is missing."""
        if component not in self._ids:
            if component == "infer-gpu":
                self._require_gpu()
            self._ids[component] = ensure_image(
                self.client, component, self._images, progress=self._progress
            )
        return self._ids[component]

    def identify_base(self) -> str:
        """See `Runner`."""
        return f"{base_name(self._images)} {ensure_base(self.client, self._images)}"

    @contextmanager
    def volume(self, limits: Limits) -> Iterator[str]:
        """A volume in memory for stages to share, by its name.

        Raises:
            BusbenchError: `engine-unavailable` where the engine does not make it.
        """
        try:
            with open_volume(self.client, limits, ensure_base(self.client, self._images)) as name:
                yield name
        except ENGINE_ERRORS as error:
            message = f"The engine makes no volume in memory: {engine_reason(error)}."
            remedy = "Look at the engine's log, then run the same command again."
            raise BusbenchError(Code.ENGINE_UNAVAILABLE, message, remedy) from error

    def _require_gpu(self) -> None:
        """Raise `device-unavailable`, before a large image is built, where there is no GPU."""
        base = ensure_base(self.client, self._images)
        with tempfile.TemporaryDirectory(prefix="busbench-gpu-") as name:
            words, out = ("true",), Path(name)
            asks = Stage("ready", "infer-gpu", words, {}, out, Limits(), image=base, gpu=True)
            self.run(asks, quiet)

    def run(self, stage: Stage, progress: Progress) -> None:
        """Run a stage in the sandbox profile; see `Runner`.

        Before a submission is blamed, a container of ours tries whether it could read its inputs.
        """
        if not self._cleaned:
            remove_orphans()
            self._cleaned = True
        image = stage.image or self.identify(stage.component)
        volume_holder = ensure_base(self.client, self._images)
        try:
            if stage.image is not None and image not in self._own:
                self._own[image] = require_openable(self.client, image)
            with open_output(self.client, stage, volume_holder) as output:
                outcome = self._run(stage, image, volume_holder, output=output, progress=progress)
        except ENGINE_ERRORS as error:
            raise explain_engine(stage, engine_reason(error)) from error
        if not outcome.failed:
            return
        blame = explain(stage, outcome)
        if blame.fault is Fault.SUBMISSION and stage.inputs:
            self._require_readable(stage, volume_holder, blame)
        raise blame

    def _require_readable(self, stage: Stage, image: str, blame: BusbenchError) -> None:
        """Raise `permission-denied` where a container cannot read an input of `stage`."""
        inside = places(stage)
        with tempfile.TemporaryDirectory(prefix="busbench-readable-") as name:
            reads = Stage(
                name="ready",
                component=stage.component,
                command=("python3", "-c", READ_INPUTS, *(inside[name] for name in stage.inputs)),
                inputs=stage.inputs,
                output=Path(name),
                limits=Limits(),
                image=image,
            )
            try:
                with open_output(self.client, reads, image) as output:
                    outcome = self._run(reads, image, image, output=output, progress=quiet)
            except ENGINE_ERRORS as failed:
                raise explain_engine(reads, engine_reason(failed)) from blame
        if outcome.exit_code == 1:
            raise unreadable(stage, outcome.last_line) from blame
        if outcome.failed:
            raise explain(reads, outcome) from blame

    def _run(
        self, stage: Stage, image: str, volume_holder: str, *, output: Output, progress: Progress
    ) -> Outcome:
        began = int(time.time())
        with ExitStack() as stack:
            try:
                container = stack.enter_context(self._started(stage, image, output))
            except ENGINE_ERRORS as error:
                lost = stage.image is None or isinstance(error, ImageNotFound)
                if lost or not self._starts(stage, volume_holder, output):
                    raise
                raise explain_engine(stage, engine_reason(error), image_alone=True) from error
            return self._watch(container, stage, output, progress=progress, began=began)

    @contextmanager
    def _started(self, stage: Stage, image: str, output: Output) -> Iterator[Container]:
        """The stage's container, once it has started; it is removed at the end."""
        settings = container_settings(
            stage,
            image,
            output.volume,
            gpu_device=self._gpu_device,
            own=self._own.get(image, OwnPlaces()),
        )
        container = self.client.containers.create(**settings)
        try:
            output.fill()
            _start(container, stage.secret)
            yield container
        finally:
            output.remove_user(container)

    def _starts(self, stage: Stage, image: str, output: Output) -> bool:
        """Whether an image of ours starts as `stage` should have."""
        try:
            with self._started(replace(stage, command=("true",), secret=None), image, output):
                return True
        except ENGINE_ERRORS:
            return False

    def _watch(
        self, container: Container, stage: Stage, output: Output, *, progress: Progress, began: int
    ) -> Outcome:
        log = _Follower(container, progress)
        none = nullcontext(list[int]())
        with sampled(self.client.api, container) if stage.usage else none as samples:
            timed_out = _wait(container, stage, output)
        result = container.wait(timeout=PATIENCE)
        log.finish()
        if stage.log is not None:
            write_log(stage.log, container.logs())
        container.reload()
        found = output.fetch()
        code = int(result["StatusCode"])
        if stage.usage is not None and not code:
            write(usage_of(container.attrs["State"], samples), stage.usage)
        return Outcome(
            exit_code=code,
            oom_killed=bool(container.attrs["State"]["OOMKilled"]),
            timed_out=timed_out,
            stopped=not timed_out and code in SIGNALLED and self._was_stopped(container, began),
            output_full=output.is_full(found),
            oddity=found.oddity,
            tail=log.tail,
            error=read_error(stage.output),
        )

    def _was_stopped(self, container: Container, began: int) -> bool:
        """Whether somebody had the engine stop it: an end by its own hand leaves no such event."""
        wanted = {"container": container.id, "event": "kill"}
        events = self.client.events(
            since=began, until=int(time.time()) + 1, filters=wanted, decode=True
        )
        return any(True for _ in events)


def _start(container: Container, secret: Callable[[], str] | None) -> None:
    """Start a container and give it `secret`, through the engine's memory, as all of its input."""
    if secret is None:
        container.start()
        return
    text = secret().encode()
    stream: Any = container.attach_socket(params={"stdin": 1, "stream": 1})
    with closing(stream):
        container.start()
        pipe = getattr(stream, "_sock", stream)  # of a local engine, the stream can only be read
        with suppress(OSError):  # one that has ended already says itself why
            pipe.sendall(text)
            pipe.shutdown(socket.SHUT_WR)


JOIN = "Have the machine's owner run `sudo usermod -aG docker NAME`, then log in again."


def connect(seconds: int = DEFAULT_TIMEOUT_SECONDS) -> docker.DockerClient:
    """The engine that the environment names; raises `engine-unavailable` where none answers.

    Args:
        seconds: how long it may take to answer.
    """
    try:
        client = docker.from_env(timeout=seconds)
        client.ping()
    except (DockerException, requests.RequestException) as error:
        if "permission denied" in str(error).lower():
            message = "This user may not use the Docker engine: its socket denies permission."
            raise BusbenchError(Code.ENGINE_UNAVAILABLE, message, JOIN) from error
        raise BusbenchError(
            Code.ENGINE_UNAVAILABLE,
            "No Docker engine answers.",
            "Start one, or use --runner process for a trial without isolation.",
        ) from error
    return client


def remove_orphans() -> None:
    """Remove the containers and volumes of harnesses that were killed.

    None of them is inspected, and all are removed at the same time: one whose start blocks keeps
    the engine from answering on it, and on nothing else.
    """
    client = connect(ORPHAN_SECONDS)
    wanted = {"label": OWNER_LABEL}
    try:
        listed = client.api.containers(all=True, filters=wanted)
        lost = [client.containers.prepare_model(c) for c in listed if _is_orphan(c)]
        _remove_all(lost)
        _remove_all([v for v in client.volumes.list(filters=wanted) if _is_orphan(v.attrs)])
    except ENGINE_ERRORS as error:
        raise BusbenchError(
            Code.ENGINE_UNAVAILABLE,
            f"The engine does not list its containers: {engine_reason(error)}.",
            "Look at the engine's log, then run the same command again.",
        ) from error


def _is_orphan(listed: Mapping[str, Any]) -> bool:
    return is_gone((listed["Labels"] or {}).get(OWNER_LABEL, ""))


def _remove_all(things: Sequence[Removable]) -> None:
    with ThreadPoolExecutor(REMOVERS, "busbench-orphans") as pool:
        list(pool.map(remove, things))


def engine_reason(error: Exception) -> str:
    """What an engine says is wrong."""
    return str(getattr(error, "explanation", None) or error)


def _wait(container: Container, stage: Stage, output: Output) -> bool:
    """Wait for the end; past the limit, kill it. Whether that was necessary.

    The kill takes the first process of the container's own process namespace, and the kernel all
    others with it.
    """
    deadline = time.monotonic() + stage.seconds_left
    next_save = time.monotonic() + SAVE_SECONDS if stage.resumes else deadline
    while not _ends_by(container, min(deadline, next_save)):
        if time.monotonic() >= deadline:
            container.kill()
            return True
        if stage.resumes:
            next_save = _save(container, output)
    return False


def _ends_by(container: Container, moment: float) -> bool:
    """Whether the container ends before `moment` (monotonic); the engine says at once when.

    Raises:
        requests.RequestException: where it is the engine that fails.
    """
    try:
        container.wait(timeout=max(moment - time.monotonic(), SHORTEST_WAIT))
    except requests.RequestException:  # of more than one kind where the time is up
        if time.monotonic() < moment:
            raise
        return False
    return True


def _save(container: Container, output: Output) -> float:
    """Fetch the output while the stage is paused; when to do it again."""
    began = time.monotonic()
    with suppress(APIError):  # it may have ended meanwhile
        container.pause()
        try:
            output.fetch(ended=False)
        finally:
            container.unpause()
    now = time.monotonic()
    return now + max(SAVE_SECONDS, (now - began) / SAVE_SHARE)


class _Follower(LogReader):
    """Follows a container's log in a thread."""

    def __init__(self, container: Container, progress: Progress) -> None:
        super().__init__(progress)
        self._thread = threading.Thread(target=self._read, args=(container,), daemon=True)
        self._thread.start()

    def _read(self, container: Container) -> None:
        # where the container is gone, how it ended is asked of the engine, not of its log
        with suppress(*ENGINE_ERRORS):
            self.follow(container.logs(stream=True, follow=True))

    def finish(self) -> None:
        self._thread.join(timeout=10)

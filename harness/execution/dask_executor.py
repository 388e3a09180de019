"""Jobs on other processes or machines, through Dask.

The scheduler keeps nothing that matters: the files on disk show whether a job is done, so a lost
worker's jobs run again, and a restarted scheduler gets those that are not done yet. A job that
needs a GPU takes the Dask resource `GPU=1`, so that each slot runs one. Dask gets a job when a slot
is free for it: what it gets besides may wait at a busy worker while another idles. All machines see
the same folders.
"""

from __future__ import annotations

import importlib.util
import itertools
import queue
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluator.errors import BusbenchError, Code
from evaluator.progress import quiet
from harness.execution.job import Job, run_once, unforeseen
from harness.execution.scheduler import Finished
from harness.sandbox.failure import killed

if TYPE_CHECKING:
    from distributed import Client, Future

KILLS = 3  # workers that a job may take with it before it is set aside
TICK_SECONDS = 2.0
ASK_SECONDS = 0.5  # between questions which jobs run
CONNECT_SECONDS = 60


@dataclass(frozen=True)
class Ended:
    """What a worker returns of a job: errors travel as their texts."""

    seconds: float
    error: dict[str, Any] | None = None  # its fields


def do(job: Job) -> Ended:
    """Run a job on the worker that this is called on, unless it killed its workers before.

    Dask suspects every job that a dead worker had been given, begun or not; so what was begun and
    never ended is counted beside the result.
    """
    begun = time.monotonic()
    if kills(job) >= KILLS:
        return Ended(0.0, killed(job.label, job.stage, KILLS).fields)
    with _tally(job).open("a") as handle:
        handle.write("begun\n")
    try:
        run_once(job, quiet)
    except BusbenchError as error:
        return Ended(time.monotonic() - begun, error.fields)
    finally:
        forget_kills(job)
    return Ended(time.monotonic() - begun)


def kills(job: Job) -> int:
    """How often this job was begun and its worker died."""
    try:
        return len(_tally(job).read_text().splitlines())
    except FileNotFoundError:
        return 0


def forget_kills(job: Job) -> None:
    """Begin to count anew."""
    _tally(job).unlink(missing_ok=True)


def _tally(job: Job) -> Path:
    job.result.parent.mkdir(parents=True, exist_ok=True)
    return job.result.with_name(f"{job.result.name}.begun")


class OnDask:
    """Runs jobs on the workers of a Dask scheduler.

    Args:
        address: of the scheduler; should it be lost, one is waited for at the same address.
        renew: called now and then, to replace workers that are gone for good.
    """

    def __init__(self, address: str, renew: Callable[[], None]) -> None:
        self._address, self._renew = address, renew
        self._client = connect(address)
        self._waiting: deque[Job] = deque()
        self._jobs: dict[str, tuple[Job, Future]] = {}  # that Dask has
        self._given = itertools.count()  # the same job may have to be given again
        self._slots, self._gpus = 1, 1
        self._running: tuple[str, ...] = ()
        self._asked = -ASK_SECONDS
        self._ends: queue.Queue[Future] = queue.Queue()

    @property
    def dashboard(self) -> str:
        """Where Dask shows its own view."""
        return str(self._client.dashboard_link)

    def close(self) -> None:
        """Disconnect from the scheduler; jobs that run meanwhile end as usual."""
        self._client.close(timeout=5)

    @property
    def slots(self) -> int:
        """See `Executor`: the threads of all workers."""
        self._ask()
        return self._slots

    def submit(self, job: Job, *, first: bool = False) -> None:
        if job.gpu:
            self._require_gpu()
        forget_kills(job)  # of an earlier run, which may have been killed as a whole
        self._waiting.appendleft(job) if first else self._waiting.append(job)

    def _fill(self) -> None:
        """Give Dask the jobs that a slot is free for."""
        self._ask()
        for job in tuple(self._waiting):
            if len(self._jobs) >= self._slots:
                return
            if not job.gpu or sum(one.gpu for one, _ in self._jobs.values()) < self._gpus:
                self._waiting.remove(job)
                key = f"{job.label}-{job.key}-{next(self._given)}"
                needs = {"GPU": 1} if job.gpu else None
                future = self._client.submit(do, job, key=key, pure=False, resources=needs)
                self._jobs[key] = (job, future)
                future.add_done_callback(self._ends.put)

    def running(self) -> tuple[Job, ...]:
        self._ask()
        return tuple(self._jobs[key][0] for key in self._running if key in self._jobs)

    def _ask(self) -> None:
        """Ask the scheduler for its slots and which jobs run, unless that was done just now."""
        if time.monotonic() < self._asked + ASK_SECONDS:
            return
        self._asked = time.monotonic()
        with suppress(OSError):  # lost just now, which `next` sees to
            workers, given = self._workers(), self._client.processing()
            self._slots = max(1, sum(worker["nthreads"] for worker in workers))
            self._gpus = max(1, sum(int(worker["resources"].get("GPU", 0)) for worker in workers))
            self._running = tuple(key for keys in given.values() for key in keys)

    def _workers(self) -> list[dict[str, Any]]:
        """What the scheduler says of each worker."""
        return [*self._client.scheduler_info(n_workers=-1)["workers"].values()]

    def next(self) -> Finished | None:
        self._fill()
        try:
            future = self._ends.get(timeout=TICK_SECONDS)
        except queue.Empty:
            self._renew()
            if self._client.status != "running":
                self._start_over()
            return None
        if future.key not in self._jobs or self._jobs[future.key][1] is not future:
            return None  # of a scheduler that is gone
        if future.status in ("cancelled", "lost"):
            self._start_over()
            return None
        job = self._jobs[future.key][0]
        try:
            end = _finished(job, future)
        except OSError:  # what it returned is lost with its worker; the job itself is done
            self._start_over()
            return None
        del self._jobs[future.key]
        if _is_suspected(future) and kills(job) < KILLS:
            self._waiting.appendleft(job)  # it was not begun where another killed the worker
            return None
        forget_kills(job)
        return end

    def _start_over(self) -> None:
        """Connect to the scheduler that is there now, which gets everything that has not ended."""
        with suppress(OSError, TimeoutError):
            self._client.close(timeout=1)
        self._client = connect(self._address)
        self._waiting.extendleft(reversed([job for job, _ in self._jobs.values()]))
        self._jobs = {}

    def _require_gpu(self) -> None:
        workers = self._workers()
        if workers and not any(worker["resources"].get("GPU") for worker in workers):
            raise BusbenchError(
                Code.DEVICE_UNAVAILABLE,
                "No worker of the cluster offers a GPU.",
                'Start workers with `--nthreads 1 --resources "GPU=1"`, or use --device cpu.',
            )


def _is_suspected(future: Future) -> bool:
    from distributed import KilledWorker  # noqa: PLC0415  the extra `cluster`

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _finished(job: Job, future: Future) -> Finished:
    if future.status == "finished":
        ended: Ended = future.result()
        error = None if ended.error is None else BusbenchError(**ended.error)
        return Finished(job, ended.seconds, error)
    if _is_suspected(future):
        return Finished(job, 0.0, killed(job.label, job.stage, KILLS))
    return Finished(job, 0.0, unforeseen(job.label, future.exception(), "the worker's log"))


def connect(address: str) -> Client:
    """A client of the scheduler at `address`, for which it waits a while.

    Raises:
        BusbenchError: `extra-missing`, or `cluster-unavailable` where none answers.
    """
    require_dask()
    from distributed import Client  # noqa: PLC0415

    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        message = f"No Dask scheduler answers at {address}."
        remedy = "Start one (`dask scheduler`), then run the same command again to resume."
        raise BusbenchError(Code.CLUSTER_UNAVAILABLE, message, remedy) from error


def require_dask() -> None:
    """Raise `extra-missing` where Dask is not installed."""
    if importlib.util.find_spec("distributed") is None:
        remedy = "Run pip install -e '.[cluster]' in your checkout of BUSBench."
        raise BusbenchError(Code.EXTRA_MISSING, "Dask is not installed.", remedy)

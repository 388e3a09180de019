"""Jobs on other processes or machines, through Dask.

The scheduler holds nothing that matters: whether a job is done, the disk tells, so a lost worker's
jobs run again, and a restarted scheduler gets those that are not done yet. A job that needs a GPU
takes the Dask resource `GPU=1`, so that one runs a slot. All machines see the same folders.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluator.errors import BusbenchError
from evaluator.progress import Progress, quiet
from harness.jobs.driver import Executor, Finished
from harness.jobs.job import Job, run_once
from harness.jobs.serial import Serial
from harness.sandbox.failure import killed

if TYPE_CHECKING:
    from distributed import Client, Future

KILLS = 3  # workers that a job may take with it before it is set aside
TICK_SECONDS = 2.0
CONNECT_SECONDS = 60
# Of clusters that are started here.
SETTINGS = {
    "distributed.scheduler.allowed-failures": KILLS - 1,
    "distributed.deploy.lost-worker-timeout": "5s",
}


@dataclass(frozen=True)
class Ended:
    """What a worker tells of a job: errors travel as their three texts."""

    seconds: float
    error: tuple[str, str, str] | None = None


def do(job: Job) -> Ended:
    """Run a job on the worker that this is called on."""
    begun = time.monotonic()
    try:
        run_once(job, quiet)
    except BusbenchError as error:
        return Ended(time.monotonic() - begun, (error.code, error.message, error.remedy))
    return Ended(time.monotonic() - begun)


class OnDask:
    """Runs jobs on the workers of a Dask scheduler.

    Args:
        address: of the scheduler; should it be lost, one is waited for at the same place.
        renew: called now and then, to replace workers that are gone for good.
    """

    def __init__(self, address: str, renew: Callable[[], None]) -> None:
        self._address, self._renew = address, renew
        self._client = connect(address)
        self._jobs: dict[str, tuple[Job, Future, bool]] = {}
        self._ends: queue.Queue[Future] = queue.Queue()

    @property
    def dashboard(self) -> str:
        """Where Dask shows its own view."""
        return str(self._client.dashboard_link)

    def close(self) -> None:
        """Let go of the scheduler; jobs that run meanwhile come to their end."""
        self._client.close(timeout=5)

    @property
    def slots(self) -> int:
        """See `Executor`: the threads of all workers."""
        return max(1, int(sum(self._client.nthreads().values())))

    def submit(self, job: Job, *, first: bool = False) -> None:
        """See `Executor`."""
        if job.gpu:
            self._demand_gpu()
        future = self._client.submit(
            do,
            job,
            key=f"{job.label}-{job.key}",
            pure=False,
            priority=10 if first else 0,
            resources={"GPU": 1} if job.gpu else None,
        )
        self._jobs[future.key] = (job, future, first)
        future.add_done_callback(self._ends.put)

    def running(self) -> tuple[Job, ...]:
        """See `Executor`."""
        if self._client.status != "running":
            return ()
        on_workers = self._client.processing()
        threads = self._client.nthreads()
        keys = [key for worker, found in on_workers.items() for key in found[: threads[worker]]]
        return tuple(self._jobs[key][0] for key in keys if key in self._jobs)

    def next(self) -> Finished | None:
        """See `Executor`."""
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
        job = self._jobs.pop(future.key)[0]
        return _finished(job, future)

    def _start_over(self) -> None:
        """Give everything that has not ended to the scheduler that is there now."""
        self._client.close(timeout=1)
        self._client = connect(self._address)
        left, self._jobs = list(self._jobs.values()), {}
        for job, _, first in left:
            self.submit(job, first=first)

    def _demand_gpu(self) -> None:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        if workers and not any(worker["resources"].get("GPU") for worker in workers):
            raise BusbenchError(
                "device-unavailable",
                "No worker of the cluster offers a GPU.",
                'Start workers with `--nthreads 1 --resources "GPU=1"`, or use --device cpu.',
            )


def _finished(job: Job, future: Future) -> Finished:
    from distributed import KilledWorker  # noqa: PLC0415  the extra `cluster`

    if future.status == "finished":
        ended: Ended = future.result()
        error = None if ended.error is None else BusbenchError(*ended.error)
        return Finished(job, ended.seconds, error)
    reason = future.exception()
    if isinstance(reason, KilledWorker):
        return Finished(job, 0.0, killed(job.label, job.stage, KILLS))
    message = f"{job.label} ended with {type(reason).__name__}: {str(reason)[:300]}."
    remedy = "Run the same command again; if it stays, report it with the worker's log."
    return Finished(job, 0.0, BusbenchError("stage-crashed", message, remedy))


@contextmanager
def open_executor(
    cluster: str | None, progress: Progress, say: Callable[[str], None], *, gpu: bool = False
) -> Iterator[Executor]:
    """What does the jobs: this process, or a cluster that is there or is started for the while.

    Args:
        cluster: None for this process; `local:N`, `slurm` or `slurm:N`, or a scheduler's address.
        say: told where the dashboard is.
        gpu: whether workers that are started here offer a GPU.

    Raises:
        BusbenchError: `usage`, `extra-missing`, or `cluster-unavailable`.
    """
    if cluster is None:
        yield Serial(progress)
        return
    kind, _, number = cluster.partition(":")
    with ExitStack() as stack:
        if kind in ("tcp", "tls", "ucx"):
            address, renew = cluster, _nothing
        elif kind in STARTERS and re.fullmatch("[1-9][0-9]{0,3}|", number):
            _demand_dask()
            address, renew = stack.enter_context(STARTERS[kind](int(number or 1), gpu))
        else:
            message = f"--cluster {cluster} names no cluster."
            remedy = "Give local:4, slurm:4, or a Dask scheduler's tcp://host:port."
            raise BusbenchError("usage", message, remedy)
        executor = OnDask(address, renew)
        stack.callback(executor.close)
        say(f"dashboard  {executor.dashboard}")
        yield executor


def connect(address: str) -> Client:
    """A client of the scheduler at `address`, for which it waits a while.

    Raises:
        BusbenchError: `extra-missing`, or `cluster-unavailable` where none answers.
    """
    _demand_dask()
    from distributed import Client  # noqa: PLC0415

    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        message = f"No Dask scheduler answers at {address}."
        remedy = "Start one (`dask scheduler`), then run the same command again to resume."
        raise BusbenchError("cluster-unavailable", message, remedy) from error


def _demand_dask() -> None:
    if importlib.util.find_spec("distributed") is None:
        remedy = "Install them: pip install 'busbench[cluster]'."
        raise BusbenchError("extra-missing", "Dask is not installed.", remedy)


def _nothing() -> None:
    """A cluster that others look after."""


@contextmanager
def _local(workers: int, gpu: bool) -> Iterator[Started]:
    """Worker processes of this machine, which end with this one."""
    import dask  # noqa: PLC0415  the extra `cluster`
    from distributed import LocalCluster  # noqa: PLC0415

    with (
        dask.config.set(SETTINGS),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=":0",
            resources={"GPU": 1} if gpu else None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster.scheduler_address, _nothing


@contextmanager
def _slurm(workers: int, gpu: bool) -> Iterator[Started]:
    """Workers as batch jobs; queue, memory and the like stand in Dask's own jobqueue.yaml."""
    import dask  # noqa: PLC0415  the extra `cluster`
    from dask_jobqueue import SLURMCluster  # noqa: PLC0415

    if shutil.which("sbatch") is None:
        remedy = "Run it where Slurm's commands are, or name another --cluster."
        raise BusbenchError("cluster-unavailable", "There is no sbatch here.", remedy)
    with dask.config.set(SETTINGS):
        settings = {
            "cores": dask.config.get("jobqueue.slurm.cores", None) or 1,
            "memory": dask.config.get("jobqueue.slurm.memory", None) or "4GB",
            "processes": 1,
            "python": sys.executable,
            "worker_extra_args": ["--nthreads", "1", *(["--resources", "GPU=1"] if gpu else [])],
            "scheduler_options": {"dashboard_address": ":0"},
        }
        with SLURMCluster(**settings) as cluster:
            cluster.scale(workers)
            # A cancelled batch job is gone for good; asking again for as many has it replaced.
            yield cluster.scheduler_address, lambda: cluster.scale(workers)


Started = tuple[str, Callable[[], None]]  # the scheduler's address, and what renews workers
STARTERS: dict[str, Callable[[int, bool], AbstractContextManager[Started]]] = {
    "local": _local,
    "slurm": _slurm,
}

"""Choice of an executor: this process, a Dask scheduler that runs, or a cluster for the while."""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from harness.execution.dask_executor import OnDask, require_dask
from harness.execution.job import Say
from harness.execution.scheduler import Executor, Serial

# Of clusters that are started here. A worker that is lost for so long is replaced from outside: on
# this machine its nanny replaces it, which must not be cut short; a batch job has nobody.
SETTINGS = {"distributed.scheduler.allowed-failures": 1000}  # `do` counts for itself
LOST_AFTER = {"local": "10m", "slurm": "5s"}


@contextmanager
def open_executor(
    cluster: str | None, progress: Progress, say: Say, *, gpu: bool = False
) -> Iterator[Executor]:
    """Open what does the jobs: this process, or a cluster that runs or is started for the while.

    Args:
        cluster: None for this process; `local:N`, `slurm` or `slurm:N`, or a scheduler's address.
        say: gets the address of the dashboard, and what is waited for.
        gpu: whether workers that are started here offer a GPU.

    Raises:
        BusbenchError: `usage`, `extra-missing`, or `cluster-unavailable`.
    """
    if cluster is None:
        yield Serial(progress, say)
        return
    kind, _, number = cluster.partition(":")
    with ExitStack() as stack:
        if kind in ("tcp", "tls", "ucx"):
            address, renew = cluster, _nothing
        elif kind in STARTERS and re.fullmatch("[1-9][0-9]{0,3}|", number):
            require_dask()
            address, renew = stack.enter_context(STARTERS[kind](int(number or 1), gpu))
        else:
            message = f"--cluster {cluster} names no cluster."
            remedy = "Give local:4, slurm:4, or a Dask scheduler's tcp://host:port."
            raise BusbenchError(Code.USAGE, message, remedy)
        executor = OnDask(address, renew)
        stack.callback(executor.close)
        say(f"dashboard  {executor.dashboard}")
        yield executor


def _nothing() -> None:
    """A cluster that others look after."""


@contextmanager
def _local(workers: int, gpu: bool) -> Iterator[Started]:
    """Worker processes of this machine, which end with this one."""
    import dask  # noqa: PLC0415  the extra `cluster`
    from distributed import LocalCluster  # noqa: PLC0415

    with (
        dask.config.set(_settings("local")),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=":0",
            resources={"GPU": 1} if gpu else None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster.scheduler_address, lambda: cluster.scale(workers)


def _settings(kind: str) -> dict[str, object]:
    return SETTINGS | {"distributed.deploy.lost-worker-timeout": LOST_AFTER[kind]}


@contextmanager
def _slurm(workers: int, gpu: bool) -> Iterator[Started]:
    """Workers as batch jobs; queue, memory and the like are set in Dask's own jobqueue.yaml."""
    import dask  # noqa: PLC0415  the extra `cluster`
    from dask_jobqueue import SLURMCluster  # noqa: PLC0415

    if shutil.which("sbatch") is None:
        remedy = "Run it where Slurm's commands are, or name another --cluster."
        raise BusbenchError(Code.CLUSTER_UNAVAILABLE, "There is no sbatch here.", remedy)
    with dask.config.set(_settings("slurm")):
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

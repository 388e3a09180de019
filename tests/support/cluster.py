"""Jobs on a cluster: waiting for them, and doing harm meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.execution import Chain, open_executor, run_chains
from harness.execution.scheduler import RunProgress
from tests.support.jobs import WriteWord, processes


def get_done(cluster: str, jobs: Sequence[WriteWord], **more: bool) -> RunProgress:
    with open_executor(cluster, lambda *_: None, lambda line: None, **more) as executor:
        return run_chains([Chain((job,)) for job in jobs], executor)


def begun(folder: Path, count: int) -> bool:
    return (folder / "runs").exists() and len(processes(folder)) >= count


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do something beside, and fail where it failed."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001  raised below, in the test
            failures.append(failure)

    thread = threading.Thread(target=guarded)
    thread.start()
    yield
    thread.join()
    if failures:
        raise failures[0]

"""Processes that do one named job after another, each job with a time limit of its own.

What a process has imported and started serves all its jobs. A job that fails, hangs or takes its
process with it costs no other its turn: the process ends, with all that it started, and the next
job begins in a new one.

Jobs are lines on the process's standard input. On its standard output it answers `done`, or asks
for the device and waits for a line; whatever else it prints goes to standard error.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

_DONE, _DEVICE = "done", "device"


class Worker:
    """One such process, as seen by whoever gives it jobs; it is started by its first job.

    Args:
        device: held by a job from where it asks for the device until it ends.
    """

    def __init__(
        self, command: Sequence[str], device: asyncio.Lock, variables: Mapping[str, str]
    ) -> None:
        self._command, self._device, self._variables = command, device, variables
        self._process: asyncio.subprocess.Process | None = None

    async def do(self, job: str, limit: float) -> str | None:
        """Have a job done; say how it failed, or None.

        Args:
            limit: seconds, the start of the process and waiting for the device included.
        """
        try:
            async with asyncio.timeout(limit), AsyncExitStack() as held:
                process = self._process = self._process or await self._start()
                assert process.stdin and process.stdout
                process.stdin.write(f"{job}\n".encode())
                while (answer := (await process.stdout.readline()).decode().strip()) == _DEVICE:
                    await held.enter_async_context(self._device)
                    process.stdin.write(b"yours\n")
        except TimeoutError:
            await self.stop()
            return f"stopped after {limit:.0f} s"
        if answer == _DONE:
            return None
        with suppress(TimeoutError):  # it has closed its output, so it is about to end
            await asyncio.wait_for(process.wait(), 5)
        status = process.returncode
        await self.stop()
        return "failed" if status is None else f"failed with status {status}"

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | self._variables,
            start_new_session=True,  # a compiler's own processes end with it
        )

    async def stop(self) -> None:
        """End the process, where one runs, and what it started."""
        if self._process is not None:
            process, self._process = self._process, None
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


class Pool:
    """Workers that do the same jobs; each job has one of them for itself."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._free: asyncio.Queue[Worker] = asyncio.Queue()
        for worker in workers:
            self._free.put_nowait(worker)

    @asynccontextmanager
    async def free(self) -> AsyncIterator[Worker]:
        """A worker, once one has no job."""
        worker = await self._free.get()
        try:
            yield worker
        finally:
            self._free.put_nowait(worker)


class Jobs:
    """The jobs of this process, which is a worker; made before anything is printed."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._has_device = False

    def __iter__(self) -> Iterator[str]:
        for line in iter(sys.stdin.readline, ""):
            self._has_device = False
            yield line.strip()
            print(_DONE, file=self._answers)

    def wait_for_device(self) -> None:
        """Wait until no other job uses the device; it is this job's until its end."""
        if not self._has_device:
            print(_DEVICE, file=self._answers)
            sys.stdin.readline()
            self._has_device = True

"""Everything that is checked on a GPU, in order of worth, each with a time limit.

Run from the project's root, on a machine with a GPU and nothing else to do: `python -m
benchmarks.gpu_checks`, or `make gpu`, takes under ten minutes. What has run out of time is ended
and shows what it had; the next goes on. All is printed as it comes and kept below `--out`.
`python -m benchmarks.gpu_checks tests` is one of them alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from evaluator.inference.hardware import device_name

TRITON = "BUSBENCH_TRITONSERVER"
PATIENCE = 10.0  # seconds from the end of its time to show what it had


class Check(NamedTuple):
    """One of them.

    Args:
        words: of Python's command line.
        seconds: it may take.
        needs: the environment variable without which it is left out.
    """

    words: str
    seconds: float
    needs: str | None = None


# A test's own limit counts what it waits for: its worker process ends, and another goes on.
CHECKS: Mapping[str, Check] = {
    "tests": Check(
        "-m pytest tests/gpu -n 6 -v --durations=15 -o faulthandler_timeout=90"
        " -o faulthandler_exit_on_timeout=true",
        225,
    ),
    "table": Check("-W ignore -m benchmarks.gpu --budget 215", 225),
    "evaluation": Check("-W ignore -m benchmarks.startup --device cuda --rounds 3", 60),
    "triton": Check("-W ignore -m benchmarks.triton --device cuda --networks cmunext", 60, TRITON),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--pytest", default="", metavar="WORDS", help="more, for the tests")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "build")))
    args = parser.parse_args()
    if unknown := set(args.checks) - set(CHECKS):
        parser.error(f"there is no check {', '.join(sorted(unknown))}")
    if device_name("cuda") == "unknown":
        print("No CUDA device works here.", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    ends = {}
    for name in args.checks or CHECKS:
        check = CHECKS[name]
        if check.needs is not None and check.needs not in os.environ:
            ends[name] = f"left out: {check.needs} is not set"
            continue
        words = shlex.split(check.words) + (shlex.split(args.pytest) if name == "tests" else [])
        began, log = time.monotonic(), args.out / f"gpu-{name}.log"
        status = asyncio.run(run([sys.executable, *words], check.seconds, log))
        passed = "passed" if status == 0 else f"failed with status {status}"
        ends[name] = f"{passed} in {time.monotonic() - began:.0f} s, see {log}"
    print("\n".join(f"{name}: {end}" for name, end in ends.items()))
    return int(any("failed" in end for end in ends.values()))


async def run(command: Sequence[str], seconds: float, log: Path) -> int:
    """Run a command, show and keep what it prints, and end it when its time is up.

    Returns:
        Its status; that of a signal is negative.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"BUSBENCH_REQUIRE_GPU": "1", "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    showing = asyncio.create_task(_show(process, log))
    for limit, number in ((seconds, signal.SIGINT), (PATIENCE, signal.SIGKILL)):
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), limit)
        with suppress(ProcessLookupError):  # what it has started, too, if it left something
            os.killpg(process.pid, number)
    await asyncio.wait([showing], timeout=PATIENCE)
    showing.cancel()  # what has a session of its own may still hold the pipe
    return await process.wait()


async def _show(process: asyncio.subprocess.Process, log: Path) -> None:
    assert process.stdout
    with log.open("wb") as kept:
        while part := await process.stdout.read(1 << 16):
            for stream in (kept, sys.stdout.buffer):
                stream.write(part)
                stream.flush()


if __name__ == "__main__":
    sys.exit(main())

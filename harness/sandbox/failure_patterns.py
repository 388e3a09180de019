"""Wordings that explain a failure: of a program in its log, of an engine in its refusal.

Each row's wording is what a known program prints; `failure` says when which table is asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from evaluator.errors import Code


@dataclass(frozen=True)
class FailurePattern:
    """Words, what they mean, and what to do."""

    pattern: re.Pattern[str]
    code: Code | None  # None: as if unexplained, but in better words
    says: str  # may contain {stage} and, of a log, the limits' names
    remedy: str


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


START_IT_YOURSELF = (
    "Start the image yourself with the same command and `--user 65532:65532`; a script needs "
    "`chmod +x`, a first line `#!`, and lines that do not end as Windows writes them."
)
# Near the end of a log, where an exit status alone explains nothing.
LOG_PATTERNS: tuple[FailurePattern, ...] = (
    FailurePattern(
        # Python's, the shell's and the C library's wording of ENOSPC and EFBIG
        _words(r"no space left on device|errno 28\b|disk quota exceeded|file too large"),
        Code.LIMIT_DISK,
        "{stage} found no more space: /out takes {output_mb} MB, /tmp {tmp_mb} MB",
        "Write less, or ask the organiser for a higher limit in challenge.yaml.",
    ),
    FailurePattern(
        # of a GPU, of C++, of Python, of the system
        _words(
            r"out of memory|std::bad_alloc|\bmemoryerror\b|cannot allocate memory"
            r"|can't allocate memory|alloc_failed"
        ),
        Code.LIMIT_MEMORY,
        "{stage} found no more memory than its {memory_mb} MB, or than the GPU's",
        "Use a smaller network or batch, or ask the organiser for a higher limit.",
    ),
    FailurePattern(
        _words(r"can't start new thread|resource temporarily unavailable|fork: retry"),
        Code.LIMIT_PROCESSES,
        "{stage} could not start more than {pids} processes and threads",
        "Start fewer workers, or ask the organiser for a higher limit in challenge.yaml.",
    ),
    FailurePattern(
        _words(r"too many open files"),
        Code.LIMIT_PROCESSES,
        "{stage} could not open more than 1024 files at a time",
        "Close files, or start fewer workers.",
    ),
    FailurePattern(
        _words(
            r"name resolution|name or service not known|network is unreachable"
            r"|could not resolve host|failed to establish a new connection"
        ),
        None,
        "{stage} asked for a network, and the sandbox has none",
        "Put everything that it needs, pretrained weights too, into the image.",
    ),
    FailurePattern(
        # the loader, of a library in a folder that is mounted noexec
        _words(r"failed to map segment from shared object"),
        None,
        "{stage} loaded a library that it had compiled, and /tmp and /out are mounted noexec",
        "Compile it while the image is built, or do without (`torch.compile`, JIT extensions).",
    ),
    FailurePattern(
        # the shell's, env's and Python's wording of a carriage return at the end of a line
        _words(r"\^M|\r['’]|\r: (not found|no such file)|\\r['\": ]|illegal option -\s*$"),
        None,
        "{stage} ran a script whose lines end as Windows writes them",
        "Convert it before the image is built: `dos2unix FILE`, or `*.sh text eol=lf` for Git.",
    ),
    FailurePattern(
        _words(r"no module named"),
        None,
        "{stage} found no package of a name that it imports",
        "Install it into the image. What `pip install --user` put into a home is found only where "
        "user 65532 may read it: `RUN chmod -R a+rX ~` before the end of the Dockerfile.",
    ),
    FailurePattern(
        _words(r"read-only file system|permission denied"),
        None,
        "{stage} wrote where it may not",
        "Write to the output and to /tmp only, and let user 65532 read what the image contains.",
    ),
    FailurePattern(
        _words(r"shared memory|/dev/shm|bus error"),
        None,
        "{stage} ran out of shared memory",
        "Start fewer loader workers; /dev/shm has 1 GB, which counts as memory.",
    ),
    FailurePattern(
        _words(r"exec format error"),
        None,
        "{stage} is built for another processor",
        "Build the image for this machine's architecture.",
    ),
)

# From an engine that cannot run a stage at all; the last row takes what no other does.
ENGINE_PATTERNS: tuple[FailurePattern, ...] = (
    FailurePattern(
        # of engines before 29.2 and since, of NVIDIA's toolkit, and of its libraries
        _words(
            r"could not select device driver|gpu vendor|cdi device|nvidia-container|libnvidia"
            r"|nvidia-cdi"
        ),
        Code.DEVICE_UNAVAILABLE,
        "The engine cannot give {stage} a GPU",
        "See what `busbench doctor` says of GPUs in containers, or use --device cpu.",
    ),
    FailurePattern(
        _words(r"no space left on device|disk quota exceeded"),
        Code.DISK_FULL,
        "The engine's disk is full",
        "Free some space (`docker system df` shows where), then run the same command again.",
    ),
    FailurePattern(
        _words(
            r"executable file not found|exec format error|exec: .*(no such file|permission denied)"
            r"|exec: .*is a directory"
        ),
        Code.IMAGE_REFUSED,
        "The image's entry point cannot be started",
        START_IT_YOURSELF,
    ),
    FailurePattern(
        _words(r"no such image"),
        Code.IMAGE_UNAVAILABLE,
        "The engine has lost the image of {stage}",
        "Run the same command again.",
    ),
    FailurePattern(
        _words(r"mounts denied|bind source path does not exist|bind mount"),
        Code.ENGINE_UNAVAILABLE,
        "The engine cannot see this machine's files",
        "Use an engine on this machine, and let it share the folders of the command line.",
    ),
    FailurePattern(
        _words(""),
        Code.ENGINE_UNAVAILABLE,
        "The engine could not run {stage}",
        "Look at the engine's log, then run the same command again.",
    ),
)

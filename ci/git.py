"""Commits and their files, read from Git's objects alone.

Nothing of a participant's is ever checked out, so no attribute, filter, hook or link of theirs can
act. Every path and every size is judged before a byte of a file is read.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from evaluator.errors import BusbenchError, Code
from harness.proposal import refused

COMMIT = re.compile(r"[0-9a-f]{40}")
REGULAR = "100644"
NOTHING = "0" * 40


@dataclass(frozen=True)
class Change:
    """One path that differs between two commits."""

    status: str  # A added, M modified, D deleted, T of another type
    path: str
    mode: str  # after; zeros where deleted
    blob: str  # after


@dataclass(frozen=True)
class Repository:
    """A clone on this machine."""

    path: Path

    def commit(self, name: str) -> str:
        """The full digest of a commit; raises `pull-request-refused` where there is none."""
        return self._ask("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").strip()

    def git_folder(self) -> Path:
        """Where the clone keeps its objects."""
        return Path(self._ask("rev-parse", "--absolute-git-dir").rstrip("\n"))

    def is_changed(self) -> bool:
        """Whether the working tree is another than its commit."""
        return bool(self._ask("status", "--porcelain", "--untracked-files=no"))

    def fetch(self, remote: str, reference: str) -> str:
        """Fetch a reference; the commit that it points to now.

        Into a name of its own: several fetches at once would share FETCH_HEAD.
        """
        mine = f"refs/busbench/{uuid4().hex}"
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--end-of-options")
        self._ask("fetch", *options, remote, f"+{reference}:{mine}")
        try:
            return self.commit(mine)
        finally:
            self._ask("update-ref", "-d", mine)

    def changes(self, before: str, after: str, *, since_they_parted: bool) -> tuple[Change, ...]:
        """What `after` changes.

        Args:
            since_they_parted: compare with the commit where `after` left `before`, as a pull
                request does; else with `before` itself.
        """
        span = [f"{before}...{after}"] if since_they_parted else [before, after]
        command = ("diff", "--raw", "-z", "--no-renames", "--no-abbrev", "--no-ext-diff")
        fields = self._ask(*command, *span, "--").split("\0")[:-1]
        pairs = zip(fields[::2], fields[1::2], strict=True)
        return tuple(_change(what.split(), path) for what, path in pairs)

    def blob_at(self, commit: str, path: str) -> str | None:
        """The blob of a regular file in a commit, or None."""
        listed = self._ask("ls-tree", "-z", "--full-tree", commit, "--", path).split("\0")[0]
        if not listed:
            return None
        mode, kind, blob = listed.split("\t")[0].split()
        return blob if (mode, kind) == (REGULAR, "blob") else None

    def size(self, blob: str) -> int:
        """The size of a blob in bytes."""
        return int(self._ask("cat-file", "-s", blob))

    def read(self, blob: str) -> bytes:
        """The bytes of a blob, as they were committed."""
        return self._run("cat-file", "blob", blob)

    def fetch_large(self, pointer: bytes, name: str) -> None:
        """Have Git LFS fetch the object of a pointer from the clone's own remote.

        Nothing of the pull request's commit but this pointer reaches Git LFS, or configures it.

        Raises:
            BusbenchError: `extra-missing` where this machine has no Git LFS, `pull-request-refused`
                where the remote lacks the object.
        """
        if shutil.which("git-lfs") is None:
            message = f"{name} lies in Git LFS, which is not installed on this machine."
            raise BusbenchError(Code.EXTRA_MISSING, message, "Install Debian's package git-lfs.")
        if self._start("lfs", "smudge", stdin=pointer).returncode:
            why = f"{name} is a Git LFS pointer, and its object was never pushed"
            remedy = "Run `git lfs push --all` for your branch, or upload the file to the organiser"
            raise refused(why, f"{remedy}, and ask for the scoring again.")

    def _ask(self, *arguments: str) -> str:
        try:
            return self._run(*arguments).decode("utf-8")
        except UnicodeDecodeError as error:
            remedy = "Use the names that docs/pull-requests.md gives."
            raise refused("A path is not UTF-8", remedy) from error

    def _run(self, *arguments: str) -> bytes:
        done = self._start(*arguments)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
            remedy = "Compare with the base branch's newest commit, and push again."
            why = f"git {arguments[0]} failed."  # what git says may contain the remote's address
            code = Code.PULL_REQUEST_REFUSED
            raise BusbenchError(code, why, remedy, last_line=said[0])
        return done.stdout

    def _start(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        keep = ("PATH", "HOME", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND")
        environment = {name: os.environ[name] for name in keep if name in os.environ}
        return subprocess.run(
            ["git", "-C", str(self.path), "-c", "core.hooksPath=/dev/null", *arguments],
            env={**environment, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
            input=stdin,
            capture_output=True,
            check=False,
        )


def _change(what: list[str], path: str) -> Change:
    _, mode, _, blob, status = what
    return Change(status[0], path, mode, blob)


# --- Git LFS: three lines stand for a file, whose object is named by its SHA-256
# (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md)

POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,12})\n"
)


@dataclass(frozen=True)
class Pointer:
    """What a file is: its SHA-256 and how many bytes it has."""

    sha256: str
    size: int


def parse_pointer(data: bytes) -> Pointer | None:
    """The pointer that `data` is, or None where it is the file itself."""
    found = POINTER.fullmatch(data)
    return None if found is None else Pointer(found[1].decode(), int(found[2]))


def stored_object(git_folder: Path, sha256: str) -> Path:
    """Where Git LFS keeps the object after `git lfs fetch`."""
    return git_folder / "lfs" / "objects" / sha256[:2] / sha256[2:4] / sha256

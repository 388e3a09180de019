"""The sandbox probe's inner part: tries what a hostile program would, and records what it achieved.

Runs in a container, alone: nothing but Python's standard library, and no other file of ours. Each
attempt runs in a process of its own, which may die of it. The attempts are described as a hostile
program would make them; `achieved` means that the sandbox did not hold.

    BUSBENCH_PROBE='{"memory_mb": …, "canary": …}' python probe_inside.py OUT
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap as memory_map
import os
import resource
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Limits = dict[str, Any]
Finding = tuple[bool, str]  # whether it was achieved, and what happened
MIB = 1024 * 1024
OUT = Path("/out")
ATTEMPT_SECONDS = 15
SCRATCH = ("/out", "/tmp", "/dev/shm", "/dev/mqueue")  # where writing is allowed, and limited
SOCKETS = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/var/run/cri-dockerd.sock",
)
NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
CLONE_NEWUSER, CLONE_NEWNS, MS_REMOUNT = 0x10000000, 0x00020000, 0x20
LIBC = ctypes.CDLL(None, use_errno=True)


# --- the network -----------------------------------------------------------------------------


def tcp(_: Limits) -> Finding:
    """Connect to public addresses; anything but `no route` means that packets leave."""
    return _reach(socket.SOCK_STREAM, (("1.1.1.1", 443), ("8.8.8.8", 53)))


def udp(_: Limits) -> Finding:
    """Send a datagram to a public address."""
    return _reach(socket.SOCK_DGRAM, (("8.8.8.8", 53), ("1.1.1.1", 123)))


def metadata(_: Limits) -> Finding:
    """Reach the addresses where clouds give out credentials."""
    return _reach(socket.SOCK_STREAM, (("169.254.169.254", 80), ("100.100.100.200", 80)))


def dns(_: Limits) -> Finding:
    """Resolve a name, and find a name server to ask."""
    try:
        found = socket.getaddrinfo("example.org", 80)
    except OSError as error:
        servers = _servers()
        if servers and _reach(socket.SOCK_DGRAM, tuple((s, 53) for s in servers))[0]:
            return True, f"a name server can be asked: {servers[0]}"
        return False, f"no answer ({error.strerror or error})"
    return True, f"example.org is {found[0][4][0]}"


def interfaces(_: Limits) -> Finding:
    """Find a network interface other than the loopback."""
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    up = [n for n in names if "up" in _text(f"/sys/class/net/{n}/operstate", "down")]
    return bool(up), f"interfaces: {', '.join(up)}" if up else "loopback alone"


def _reach(kind: int, places: tuple[tuple[str, int], ...]) -> Finding:
    refused = ""
    for host, port in places:
        with socket.socket(socket.AF_INET, kind) as tried:
            tried.settimeout(2)
            try:
                tried.connect((host, port))
                tried.send(b"\0" * 12)
            except OSError as error:
                if error.errno not in NO_ROUTE and error.errno not in (errno.EPERM, errno.EACCES):
                    return True, f"a packet to {host} left: {error}"
                refused = error.strerror or str(error)
                continue
            return True, f"{host}:{port} was reached"
    return False, refused


def _servers() -> list[str]:
    lines = _text("/etc/resolv.conf").splitlines()
    found = [line.split()[1] for line in lines if line.startswith("nameserver")]
    return [server for server in found if not server.startswith("127.") and ":" not in server]


# --- files -----------------------------------------------------------------------------------


def write_elsewhere(_: Limits) -> Finding:
    """Create a file anywhere but in the output and the scratch places."""
    for folder in _folders():
        if str(folder).startswith(SCRATCH):
            continue
        name = folder / ".busbench-probe"
        with contextlib.suppress(OSError):
            name.touch()
            name.unlink()
            return True, f"{folder} can be written"
    return False, "every other folder is read-only"


def change_input(_: Limits) -> Finding:
    """Change, replace or delete an input."""
    for path in Path("/in").rglob("*"):
        for act in (lambda p: p.open("ab").close(), Path.unlink, lambda p: p.chmod(0o777)):
            with contextlib.suppress(OSError):
                act(path)
                return True, f"{path} was changed"
    return False, "inputs are read-only"


def run_from_scratch(_: Limits) -> Finding:
    """Run a program from a place that can be written."""
    for folder in ("/tmp", "/out", "/dev/shm"):
        program = Path(folder) / "program"
        with contextlib.suppress(OSError):
            program.write_bytes(b"#!/bin/sh\nexit 0\n")
            program.chmod(0o755)
            try:
                if os.spawnv(os.P_WAIT, str(program), [str(program)]) == 0:
                    return True, f"a program ran from {folder}"
            finally:
                program.unlink()
    return False, "nothing written can be run"


def read_other_runs(limits: Limits) -> Finding:
    """Find the file that the harness left in another run's folder, or what a run left here."""
    wanted = limits["canary"]
    for root in ("/", "/proc/1/root"):
        for folder, folders, names in os.walk(root):
            if root == "/" and folder in ("/proc", "/sys"):
                folders.clear()
            if wanted in names or wanted in folders:
                return True, f"found in {folder}"
    for place in (OUT, Path("/tmp"), Path("/dev/shm")):
        left = [path.name for path in place.iterdir()]
        if left:
            return True, f"{place} contains {left[0]} from before"
    return False, "only this run's files are there"


def _folders() -> Iterator[Path]:
    """Every mount point, and what commonly can be written."""
    mounts = [line.split()[1] for line in _text("/proc/self/mounts").splitlines()]
    common = ("/", "/etc", "/usr", "/usr/local/bin", "/var/tmp", "/var/log", "/run", "/home")
    more = ("/root", "/app", "/mnt", "/proc/sys/kernel", "/sys/fs/cgroup", "/dev", "/in")
    yield from (Path(p) for p in dict.fromkeys((*common, *more, *mounts)) if os.path.isdir(p))  # noqa: PTH112


# --- limits ----------------------------------------------------------------------------------


def memory(limits: Limits) -> Finding:
    """Hold more memory than was granted."""
    wanted = limits["memory_mb"] + 64
    held = []
    for done in range(wanted):
        held.append(bytearray(os.urandom(1024) * 1024))
        _say(f"{done} MB were kept")
    return True, f"{wanted} MB were kept"


def processes(limits: Limits) -> Finding:
    """Start more processes than were granted."""
    children: list[int] = []
    for _ in range(limits["pids"] + 16):
        try:
            pid = os.fork()
        except OSError as error:
            for child in children:
                os.kill(child, signal.SIGKILL)
            return False, f"{len(children)} were started, then: {error.strerror}"
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        children.append(pid)
    for child in children:
        os.kill(child, signal.SIGKILL)
    return True, f"{len(children)} processes were started"


def open_files(_: Limits) -> Finding:
    """Open more files than were granted, after asking for a higher limit."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    opened: list[int] = []
    try:
        while len(opened) < 2048:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return False, f"{len(opened)} were opened, then: {error.strerror}"
    return True, f"{len(opened)} files were opened"


def fill_output(limits: Limits) -> Finding:
    """Write more into the output than was granted, in several files."""
    return _fill(OUT, limits["output_mb"])


def fill_scratch(limits: Limits) -> Finding:
    """Write more into /tmp than was granted."""
    return _fill(Path("/tmp"), limits["tmp_mb"])


def many_files(limits: Limits) -> Finding:
    """Leave more files in the output than were granted."""
    made = []
    try:
        for number in range(limits["output_files"] + 16):
            path = OUT / f"file-{number}"
            path.touch()
            made.append(path)
    except OSError as error:
        return False, f"{len(made)} were made, then: {error.strerror}"
    finally:
        for path in made:
            path.unlink()
    return True, f"{len(made)} files were made"


def dump_core(_: Limits) -> Finding:
    """Leave a core file, which could fill a disk."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
        return True, "the limit of core files could be raised"
    return False, "core files are off for good"


def _fill(folder: Path, granted: int) -> Finding:
    block = os.urandom(MIB)
    made: list[Path] = []
    written = 0
    try:
        while written < granted + 4:
            path = folder / f"block-{written}"
            made.append(path)
            path.write_bytes(block)
            written += 1
    except OSError as error:
        return False, f"{written} MB were written, then: {error.strerror}"
    finally:
        for path in made:
            path.unlink(missing_ok=True)
    return True, f"{written} MB were written"


# --- rights ----------------------------------------------------------------------------------


def engine_socket(_: Limits) -> Finding:
    """Find the socket of the engine, which would be the host."""
    for path in SOCKETS:
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
                return True, f"{path} is there"
    others = [line.split()[-1] for line in _text("/proc/net/unix").splitlines()[1:]]
    named = [name for name in others if name.startswith(("/", "@"))]
    return bool(named), f"socket {named[0]}" if named else "no socket is there"


def become_root(_: Limits) -> Finding:
    """Change to user 0."""
    for change in (os.setuid, os.setgid):
        with contextlib.suppress(OSError):
            change(0)
            return True, f"{change.__name__}(0) worked"
    return os.getuid() == 0, f"user {os.getuid()}, and it stays"


def run_setuid_program(_: Limits) -> Finding:
    """Gain the owner's rights through a set-user-id program."""
    if _status("NoNewPrivs") != "1":
        found = [p for p in ("/bin/su", "/usr/bin/passwd", "/usr/bin/mount") if _is_setuid(p)]
        return True, f"new privileges are not barred; {', '.join(found) or 'no such program'}"
    return False, "no_new_privs is set"


def capabilities(_: Limits) -> Finding:
    """Hold a capability, or be able to get one from a program."""
    held = {name: _status(name) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")}
    some = {name: value for name, value in held.items() if int(value or "0", 16)}
    return bool(some), f"{some}" if some else "all five sets are empty"


def new_namespace(_: Limits) -> Finding:
    """Get all capabilities inside a user namespace of one's own."""
    for flags in (CLONE_NEWUSER, CLONE_NEWNS):
        if LIBC.unshare(flags) == 0:
            return True, "unshare worked"
    return False, os.strerror(ctypes.get_errno())


def mount(_: Limits) -> Finding:
    """Mount a file system, or make the root writable again."""
    if LIBC.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
        return True, "a file system was mounted"
    if LIBC.mount(b"none", b"/", None, MS_REMOUNT, None) == 0:
        return True, "the root was mounted anew"
    return False, os.strerror(ctypes.get_errno())


def make_device(_: Limits) -> Finding:
    """Make the device of the host's disk, or open one."""
    node = Path("/tmp/disk")
    with contextlib.suppress(OSError):
        os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(8, 0))
        return True, "a block device was made"
    for name in os.listdir("/dev"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            if stat.S_ISBLK(os.stat(f"/dev/{name}").st_mode):  # noqa: PTH116
                return True, f"/dev/{name} is there"
    return False, "no device can be made, none of a disk is there"


def filter_calls(_: Limits) -> Finding:
    """Make system calls that no training needs."""
    mode = _status("Seccomp")
    return mode != "2", f"seccomp mode {mode}" if mode != "2" else "a filter is on"


def vsock(_: Limits) -> Finding:
    """Open a socket to the machine that the host itself runs on."""
    return _socket(40, socket.SOCK_STREAM)


def crypto_socket(_: Limits) -> Finding:
    """Open a socket to the kernel's cipher modules."""
    return _socket(38, socket.SOCK_SEQPACKET)


def rare_protocol(_: Limits) -> Finding:
    """Have the kernel load a module for a rare protocol of the internet."""
    return _socket(socket.AF_INET, socket.SOCK_STREAM, 132)


def io_uring(_: Limits) -> Finding:
    """Set up io_uring, whose calls no filter sees."""
    return _call((425, 425), 1, ctypes.create_string_buffer(120))


def handle_faults(_: Limits) -> Finding:
    """Hold the kernel up in a page fault, which makes its races easy to win."""
    return _call((323, 282), 1)


def load_program(_: Limits) -> Finding:
    """Load a program into the kernel (bpf), or ask what is there."""
    return _call((321, 280), 11, ctypes.create_string_buffer(128), 128)


def count_events(_: Limits) -> Finding:
    """Count events of the processor (perf_event_open)."""
    attributes = ctypes.create_string_buffer(b"\1\0\0\0\x70", 112)
    return _call((298, 241), attributes, 0, -1, -1, 0)


def keyring(_: Limits) -> Finding:
    """Use the kernel's keyring, which no namespace separates."""
    return _call((250, 219), 0, -3, 1)


def trace_process(_: Limits) -> Finding:
    """Trace another process of the run, or read its memory by a system call."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        place = ctypes.create_string_buffer(8)
        here, size = ctypes.c_uint64(ctypes.addressof(place)), ctypes.c_uint64(8)
        part = (ctypes.c_uint64 * 2)(here.value, size.value)
        traced = _call((101, 117), 16, child, 0, 0)  # PTRACE_ATTACH
        return traced if traced[0] else _call((310, 270), child, part, 1, part, 1, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def run_from_memory(_: Limits) -> Finding:
    """Run a program that is in no file system, so that no mount option forbids it."""
    memory = os.memfd_create("program")
    os.write(memory, Path("/bin/true").read_bytes())
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            os.execve(memory, ["true"], {})
        os._exit(1)
    ran = os.waitpid(child, 0)[1] == 0
    return ran, "it ran" if ran else "it did not run"


def call_as_32_bit(_: Limits) -> Finding:
    """Make calls by the numbers of 32-bit programs, past a filter of this processor's own."""
    if os.uname().machine != "x86_64":
        return False, "no such calls on this processor"
    rights = memory_map.PROT_READ | memory_map.PROT_WRITE | memory_map.PROT_EXEC
    page = memory_map.mmap(-1, 4096, prot=rights)
    page.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")  # getpid through interrupt 0x80
    place = ctypes.addressof(ctypes.c_char.from_buffer(page))
    got = ctypes.CFUNCTYPE(ctypes.c_int)(place)()
    return got == os.getpid(), f"it gave {got}"


def see_cgroup(_: Limits) -> Finding:
    """See where in the host's tree of control groups the container is."""
    paths = {line.split(":", 2)[2] for line in _text("/proc/self/cgroup").splitlines()} - {"/"}
    return bool(paths), f"{min(paths)}" if paths else "its own root is all there is"


def _socket(*kind: int) -> Finding:
    try:
        socket.socket(*kind).close()
    except OSError as error:
        return False, error.strerror or str(error)
    return True, "the socket is there"


def _call(numbers: tuple[int, int], *words: object) -> Finding:
    """Make a system call by its number: on x86_64, and elsewhere."""
    number = numbers[os.uname().machine != "x86_64"]
    long = [ctypes.c_long(w) if isinstance(w, int) else w for w in words]
    if LIBC.syscall(ctypes.c_long(number), *long) >= 0:
        return True, "the kernel did it"
    failed = ctypes.get_errno()
    return failed not in (errno.EPERM, errno.ENOSYS), os.strerror(failed)


def kernel_settings(_: Limits) -> Finding:
    """Read the kernel's log or memory, or change its settings."""
    for path in ("/proc/kcore", "/dev/kmsg", "/dev/mem"):
        with contextlib.suppress(OSError), open(path, "rb") as handle:  # noqa: PTH123
            if handle.read(1):
                return True, f"{path} can be read"
    for path in (
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
    ):
        with contextlib.suppress(OSError), open(path, "ab"):  # noqa: PTH123
            return True, f"{path} can be written"
    return False, "none of it can be opened"


def other_processes(_: Limits) -> Finding:
    """See, or signal, a process that is not of this run."""
    strange = [pid for pid in _pids() if _tree(int(pid)) is False]
    return bool(strange), f"process {strange[0]}" if strange else "only this run's are there"


def gpu(_: Limits) -> Finding:
    """See a GPU that nobody asked for."""
    found = [name for name in os.listdir("/dev") if name.startswith(("nvidia", "dri", "kfd"))]  # noqa: PTH208
    return bool(found), ", ".join(found) if found else "no GPU is there"


def _is_setuid(path: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(os.stat(path).st_mode & stat.S_ISUID)  # noqa: PTH116
    return False


def _pids() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208


def _tree(pid: int) -> bool | None:
    """Whether a process descends from this container's first one; None where it has ended."""
    seen = pid
    while seen > 1:
        text = _text(f"/proc/{seen}/stat")
        if not text:
            return None
        seen = int(text.rpartition(")")[2].split()[1])
    return seen == 1 and (_text("/proc/1/comm") == "docker-init" or os.getppid() == 1)


# --- how it is done --------------------------------------------------------------------------

ATTEMPTS: tuple[Callable[[Limits], Finding], ...] = (
    *(tcp, udp, dns, metadata, interfaces),
    *(read_other_runs, write_elsewhere, change_input, run_from_scratch),
    *(memory, processes, open_files, fill_output, many_files, fill_scratch, dump_core),
    *(engine_socket, become_root, run_setuid_program, capabilities, new_namespace),
    *(mount, make_device, filter_calls, kernel_settings, other_processes, gpu),
    *(vsock, crypto_socket, rare_protocol, io_uring, handle_faults, load_program, count_events),
    *(keyring, trace_process, run_from_memory, call_as_32_bit, see_cgroup),
)


def attempt(function: Callable[[Limits], Finding], limits: Limits) -> dict[str, object]:
    """Try one thing in a process of its own; a process that is killed achieved nothing."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        global _report_end  # noqa: PLW0603  the child's only way to speak
        _report_end = write_end
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        signal.alarm(ATTEMPT_SECONDS)
        try:
            achieved, detail = function(limits)
        except Exception as error:  # noqa: BLE001  whatever stops an attempt, it was stopped
            achieved, detail = False, f"{type(error).__name__}: {error}"
        os.write(write_end, f"{int(achieved)}{detail}\n".encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as report:
        lines = report.read().decode(errors="replace").splitlines()
    _, status = os.waitpid(pid, 0)
    last = lines[-1] if lines else "0"
    achieved, detail = last[:1] == "1", last[1:]
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        achieved, detail = False, f"{detail}, then: {name}".removeprefix(", then: ")
    return {
        "name": function.__name__.replace("_", " "),
        "what": (function.__doc__ or "").strip().splitlines()[0],
        "achieved": achieved,
        "detail": detail[:200],
    }


_report_end = -1


def _say(detail: str) -> None:
    """Say how far an attempt has come, in case that it is killed."""
    os.write(_report_end, f"0{detail}\n".encode())


def _text(path: str, default: str = "") -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return default


def _status(field: str) -> str:
    lines = (line.partition(":") for line in _text("/proc/self/status").splitlines())
    return next((value.strip() for name, _, value in lines if name == field), "")


def main() -> None:
    """Try everything, flood the log, and leave `probe.json`."""
    limits = json.loads(os.environ["BUSBENCH_PROBE"])
    found = [attempt(function, limits) for function in ATTEMPTS]
    for _ in range(limits["log_mb"]):
        print("x" * (MIB - 1))
    (Path(sys.argv[1]) / "probe.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()

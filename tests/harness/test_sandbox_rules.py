"""The sandbox's pure parts: the profile, and who is to blame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import CODES, Fault
from harness.challenge import Limits
from harness.sandbox.failure import (
    CREDIBLE,
    RULES,
    UNEXPLAINED,
    explain,
    explain_engine,
)
from harness.sandbox.failure_patterns import ENGINE_PATTERNS, LOG_PATTERNS
from harness.sandbox.profile import (
    SYSTEM_CALLS,
    OwnPlaces,
    container_settings,
    volume_holder_settings,
    volume_settings,
)
from harness.sandbox.stage import Outcome, Stage, StageName

FILTER = json.loads(SYSTEM_CALLS.read_text())
FORBIDDEN = (
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_create", "memfd_secret"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd"),
    *("userfaultfd", "bpf", "perf_event_open", "keyctl", "add_key", "request_key"),
    *("unshare", "setns", "clone3", "chroot", "pivot_root", "mount", "umount2", "mount_setattr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount", "swapon", "quotactl"),
    *("open_by_handle_at", "name_to_handle_at", "fanotify_init", "init_module", "finit_module"),
    *("delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog", "acct", "ioperm"),
    *("iopl", "modify_ldt", "socketcall", "settimeofday", "clock_settime", "clock_adjtime"),
    *("sethostname", "setdomainname", "move_pages", "migrate_pages", "mbind", "vhangup"),
)


def stage(name: str = "infer", **changes: object) -> Stage:
    fields = {
        "name": name,
        "component": "infer",
        "command": ("infer", "--images", "{images}", "--out", "{out}"),
        "inputs": {"images": Path("/data/images.age")},
        "output": Path("/data/out"),
        "limits": Limits(seconds=5, memory_mb=256, output_mb=7),
    }
    return Stage(**(fields | changes))  # type: ignore[arg-type]


def test_the_profile_leaves_nothing_open() -> None:
    found = container_settings(stage(), "sha256:abc", "volume")
    assert found["network_mode"] == "none" and found["read_only"] is True
    assert found["cap_drop"] == ["ALL"] and found["cgroupns"] == "private"
    privileges, calls = found["security_opt"]
    assert privileges == "no-new-privileges" and calls == f"seccomp={SYSTEM_CALLS.read_text()}"
    assert found["user"] == "65532:65532"
    assert found["mem_limit"] == found["memswap_limit"] == 256 * 1024**2
    assert found["pids_limit"] == 256 and found["init"] is True
    assert "noexec" in found["tmpfs"]["/tmp"]
    assert {"nofile", "core", "fsize"} == {limit.name for limit in found["ulimits"]}
    assert "privileged" not in found and "cap_add" not in found and "volumes" not in found


def test_an_image_of_a_participant_keeps_its_folder_and_its_users_packages() -> None:
    own = OwnPlaces("/opt/app", "/home/user/.local")
    found = container_settings(stage(image="sha256:abc"), "sha256:abc", "volume", own=own)
    assert found["working_dir"] == "/opt/app" and found["user"] == "65532:65532"
    assert found["environment"]["PYTHONUSERBASE"] == "/home/user/.local"
    ours = container_settings(stage(), "sha256:abc", "volume")
    assert ours["working_dir"] == "/tmp" and "PYTHONUSERBASE" not in ours["environment"]
    assert ours["environment"]["USER"] == ours["environment"]["LOGNAME"]


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("ImportError: /tmp/k.so: failed to map segment from shared object", "noexec"),
        ("/app/run.sh: 1: set: Illegal option -", "dos2unix"),
        ("env: 'python\r': No such file or directory", "dos2unix"),
        ("/app/run.sh: line 2: $'\\r': command not found", "dos2unix"),
        ("bash: /app/run.sh: /bin/bash^M: bad interpreter", "dos2unix"),
        ("ModuleNotFoundError: No module named 'monai'", "chmod -R a+rX ~"),
        ("RuntimeError: DataLoader worker is killed by signal: Bus error.", "/dev/shm"),
    ],
)
def test_no_habit_of_images_is_left_without_its_cure(said: str, word: str) -> None:
    error = explain(stage("train", image="sha256:abc"), Outcome(1, tail=said))
    assert error.code == "training-failed" and word in error.message + error.remedy


def lets_through(name: str, *words: int) -> bool:
    """Whether the filter lets a system call through, by reading it as the engine does."""
    compare = {
        "SCMP_CMP_EQ": lambda word, rule: word == rule["value"],
        "SCMP_CMP_MASKED_EQ": lambda word, rule: word & rule["value"] == rule["valueTwo"],
    }
    rules = (rule for rule in FILTER["syscalls"] if name in rule["names"])
    return any(
        rule["action"] == "SCMP_ACT_ALLOW"
        and all(compare[a["op"]](words[a["index"]], a) for a in rule.get("args", ()))
        for rule in rules
    )


def test_no_call_is_let_through_that_is_not_listed() -> None:
    assert FILTER["defaultAction"] == "SCMP_ACT_ERRNO"
    assert not {"architectures", "archMap"} & set(FILTER)  # else 32-bit calls, which show no socket
    assert {rule["action"] for rule in FILTER["syscalls"]} == {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_no_call_that_reaches_beyond_the_process_is_let_through(name: str) -> None:
    assert not lets_through(name)


@given(
    domain=st.integers(0, 64) | st.integers(0, 2**64 - 1),
    kind=st.integers(0, 10),
    protocol=st.sampled_from([0, 1, 6, 17, 132, 255, 262]) | st.integers(0, 2**64 - 1),
)
def test_no_socket_but_the_common_ones_is_let_through(
    domain: int, kind: int, protocol: int
) -> None:
    common = domain == 1 or (domain in (2, 10) and protocol in (0, 6, 17))
    expected = common or (domain, protocol) == (16, 0)
    assert lets_through("socket", domain, kind, protocol) is expected
    assert lets_through("socketpair", domain, kind, protocol) is (domain == 1)


@given(flags=st.integers(0, 2**64 - 1), namespace=st.sampled_from([17, *range(25, 31)]))
def test_no_thread_starts_in_a_new_namespace(flags: int, namespace: int) -> None:
    assert not lets_through("clone", flags | 1 << namespace)


def test_threads_and_processes_are_let_through() -> None:
    assert lets_through("clone", 0x3D0F00) and lets_through("clone", 0x1200011)


def test_only_the_output_is_mounted_writable() -> None:
    mounts = container_settings(stage(), "sha256:abc", "volume")["mounts"]
    assert {m["Target"]: m["ReadOnly"] for m in mounts} == {"/in/images": True, "/out": False}


def test_the_command_names_places_inside() -> None:
    found = container_settings(stage(), "sha256:abc", "volume")["command"]
    assert found == ["infer", "--images", "/in/images", "--out", "/out"]


@pytest.mark.parametrize("word", ["{nobody}", "{images.__class__}", "{", "{}", '{"rate": 0.1}'])
def test_words_of_a_participant_are_no_format(word: str) -> None:
    """A manifest of a pull request may hold any."""
    command = container_settings(stage(command=(word, "{out}")), "sha256:abc", "volume")["command"]
    assert command == [word, "/out"]


def test_no_variable_of_the_host_reaches_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    found = container_settings(stage(), "sha256:abc", "volume")["environment"]
    assert set(found) == {
        *("HOME", "USER", "LOGNAME", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"),
        *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "NVIDIA_VISIBLE_DEVICES"),
    }


def test_no_gpu_reaches_a_container_that_did_not_ask() -> None:
    without = container_settings(stage(), "sha256:abc", "volume")
    assert without["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert not without["device_requests"]
    with_one = container_settings(stage(gpu=True), "sha256:abc", "volume")
    assert "NVIDIA_VISIBLE_DEVICES" not in with_one["environment"]
    assert with_one["device_requests"][0]["Count"] == 1
    assert with_one["environment"]["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_the_output_ends_where_its_limit_ends() -> None:
    limits = Limits(output_mb=7, output_files=99)
    options = volume_settings(limits)["driver_opts"]
    assert options["type"] == "tmpfs"
    assert {"size=7m", "nr_inodes=99", "noexec", "nosuid", "nodev"} <= set(options["o"].split(","))


def test_the_volume_holder_is_as_confined_as_a_stage() -> None:
    kept = volume_holder_settings("sha256:abc", "volume")
    ran = container_settings(stage(), "sha256:abc", "volume")
    same = ("user", "network_mode", "read_only", "cap_drop", "security_opt", "ipc_mode", "cgroupns")
    assert {name: kept[name] for name in same} == {name: ran[name] for name in same}


LYING = {"code": "engine-unavailable", "message": "not me", "remedy": "blame them"}
HONEST = {"code": "model-failed", "message": "fold-0.onnx gave NaN.", "remedy": "Train on."}


@pytest.mark.parametrize(
    "name, outcome, code",
    [
        ("infer", Outcome(137, timed_out=True, oom_killed=True), "limit-time"),
        ("infer", Outcome(137, output_full=True), "limit-disk"),
        ("infer", Outcome(153), "limit-disk"),
        ("infer", Outcome(137, oom_killed=True), "limit-memory"),
        ("infer", Outcome(137), "limit-memory"),
        ("infer", Outcome(139), "model-failed"),
        ("infer", Outcome(10, error=HONEST), "model-failed"),
        ("infer", Outcome(10, error={"code": "no-such-code"}), "model-failed"),
        ("train", Outcome(1), "training-failed"),
        ("train", Outcome(30, error=LYING), "training-failed"),
        ("gate", Outcome(30, error=LYING), "gate-refused"),
        ("infer", Outcome(30, error=LYING), "model-failed"),
        ("infer", Outcome(20, error={**LYING, "code": "bundle-invalid"}), "model-failed"),
        ("ready", Outcome(30, error={**LYING, "code": "device-unavailable"}), "device-unavailable"),
        ("ready", Outcome(20, error={**LYING, "code": "keys-invalid"}), "keys-invalid"),
        ("ready", Outcome(139), "stage-crashed"),
        ("ready", Outcome(137, timed_out=True), "limits-too-low"),
        ("gate", Outcome(139), "gate-refused"),
        ("infer", Outcome(143, stopped=True), "stage-stopped"),
        ("infer", Outcome(137, stopped=True, oom_killed=True), "limit-memory"),
        ("train", Outcome(0, oddity="a device (sda)"), "output-refused"),
        ("train", Outcome(0, output_full=True), "limit-disk"),
        ("train", Outcome(1, tail="OSError: [Errno 28] No space left on device"), "limit-disk"),
        ("train", Outcome(1, tail="torch.OutOfMemoryError: CUDA out of memory."), "limit-memory"),
        ("train", Outcome(134, tail="terminate called: std::bad_alloc"), "limit-memory"),
        ("train", Outcome(1, tail="can't start new thread\nbye"), "limit-processes"),
        ("train", Outcome(1, tail="OSError: [Errno 24] Too many open files"), "limit-processes"),
        ("train", Outcome(1, tail="no CUDA-capable device is detected"), "training-failed"),
        ("train", Outcome(1, tail="Network is unreachable"), "training-failed"),
        ("train", Outcome(126), "training-failed"),
        ("score", Outcome(137, timed_out=True), "limits-too-low"),
        ("score", Outcome(137, oom_killed=True), "limits-too-low"),
        ("score", Outcome(1, tail="No space left on device"), "limits-too-low"),
        ("score", Outcome(1), "stage-crashed"),
        ("score", Outcome(20, error={**HONEST, "code": "bundle-invalid"}), "bundle-invalid"),
    ],
)
def test_no_outcome_is_blamed_on_the_wrong_one(name: str, outcome: Outcome, code: str) -> None:
    assert explain(stage(name), outcome).code == code


@pytest.mark.parametrize(
    "reason, code",
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "device-unavailable"),
        ("OCI runtime create failed: nvidia-container-cli: initialization", "device-unavailable"),
        (
            "failed to discover GPU vendor from CDI: no known GPU vendor found",
            "device-unavailable",
        ),
        (
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=0",
            "device-unavailable",
        ),
        ("write /var/lib/docker/x: no space left on device", "disk-full"),
        ('exec: "nosuch": executable file not found in $PATH: unknown', "image-refused"),
        ('exec: "/train": permission denied', "image-refused"),
        ("exec /train: exec format error", "image-refused"),
        ("No such image: sha256:abc", "image-unavailable"),
        ("invalid mount config: bind source path does not exist: /in", "engine-unavailable"),
        ("unable to start container process: error mounting", "engine-unavailable"),
        ("Connection aborted", "engine-unavailable"),
        ("", "engine-unavailable"),
    ],
)
def test_no_word_of_the_engine_is_blamed_on_the_wrong_one(reason: str, code: str) -> None:
    assert explain_engine(stage("train", image="sha256:abc"), reason).code == code


def test_an_image_of_ours_that_cannot_start_is_not_the_participants() -> None:
    error = explain_engine(stage("infer"), 'exec: "python": executable file not found')
    assert error.fault is Fault.INFRASTRUCTURE


@pytest.mark.parametrize("name", ["train", "gate", "infer"])
@given(
    tail=st.one_of(st.text(), st.sampled_from(["no CUDA-capable device", "engine-unavailable"])),
    code=st.integers(1, 255),
    said=st.dictionaries(
        st.sampled_from(["code", "message", "remedy"]), st.sampled_from([*CODES, "", "x"])
    ),
)
def test_nothing_a_participant_writes_makes_a_failure_ours(
    name: str, tail: str, code: int, said: dict[str, str]
) -> None:
    error = explain(stage(name, image="sha256:abc"), Outcome(code, tail=tail, error=said))
    assert error.fault is Fault.SUBMISSION and error.stage == name


def test_every_row_of_the_tables_has_a_known_code() -> None:
    rows = [rule.code for rule in RULES] + [code for code, _ in UNEXPLAINED.values()]
    rows += [sign.code for sign in (*LOG_PATTERNS, *ENGINE_PATTERNS) if sign.code is not None]
    assert set(rows) <= set(CODES)
    assert set(UNEXPLAINED) == set(CREDIBLE) == set(get_args(StageName))


def test_the_message_names_the_whole_log() -> None:
    error = explain(stage("train", log=Path("/runs/x.log")), Outcome(1, tail="boom\n\n"))
    assert "/runs/x.log" in error.remedy and '"boom"' in error.message
    assert error.last_line == "boom"


def test_a_participant_cannot_blame_the_infrastructure() -> None:
    for name in ("train", "gate", "infer"):
        assert explain(stage(name), Outcome(30, error=LYING)).fault is Fault.SUBMISSION


def test_a_stage_cannot_write_to_the_terminal() -> None:
    said = {**HONEST, "message": "\x1b[2Jgone" + "x" * 9999}
    message = explain(stage(), Outcome(10, error=said)).message
    assert "\x1b" not in message and len(message) < 500

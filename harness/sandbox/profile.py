"""The sandbox profile: everything a container is denied, as one pure function.

Docker's defaults are generous; each line here takes one thing away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from evaluator.documents.reading import MEBIBYTE
from harness.challenge import Limits
from harness.sandbox.log import LOG_MB
from harness.sandbox.owner import owner
from harness.sandbox.stage import Stage

INPUTS, OUTPUT, FILLED = "/in", "/out", "/volume"
USER_ID = 65532
USER = f"{USER_ID}:{USER_ID}"
LOADER = f"{USER_ID + 1}:{USER_ID + 1}"  # opens models first, and writes no verdict on them
LABEL = "org.busbench.stage"
OWNER_LABEL = "org.busbench.owner"  # the harness process that started it, for the cleaner
SYSTEM_CALLS = Path(__file__).with_name("seccomp.json")  # those that are let through; no others are
LOG_FILES = 2  # of a container: then the last `LOG_MB` are always there
TMP_FILES = 65536

# No home, no cache, no byte code to write. Threads that wait must sleep: a quota counts spinning.
# The user has a name, or `getpass.getuser` fails, and with it torch.compile and others.
ENVIRONMENT = {
    "HOME": "/tmp",
    "USER": "nonroot",
    "LOGNAME": "nonroot",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
# An image's own variables ask for every GPU where NVIDIA's runtime is the engine's default, and for
# drivers of graphics beside those of CUDA and NVML.
NO_GPU = {"NVIDIA_VISIBLE_DEVICES": "void"}
GPU = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}


@dataclass(frozen=True)
class OwnPlaces:
    """What a container keeps of its image: ours start in the one place to write to."""

    working_folder: str = "/tmp"
    packages: str = ""  # the image's user's own of Python; empty: none are known


def places(stage: Stage) -> dict[str, str]:
    """Where the inputs and the output of a stage are inside its container."""
    inside = {name: f"{INPUTS}/{name}" for name in stage.inputs} | {"out": OUTPUT}
    return inside if stage.volume is None else inside | {"volume": _volume_place(stage)}


def _volume_place(stage: Stage) -> str:
    return FILLED if stage.fills_volume else INPUTS


def owner_labels(name: str) -> dict[str, str]:
    """What a container or volume is, and which harness process it belongs to."""
    return {LABEL: name, OWNER_LABEL: owner()}


@cache
def _system_calls() -> str:
    return SYSTEM_CALLS.read_text()


def _confinement(pids: int, memory: int, cpus: float) -> dict[str, Any]:
    """What every container of ours is denied."""
    return {
        "user": USER,
        "working_dir": "/tmp",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges", f"seccomp={_system_calls()}"],
        "cgroupns": "private",
        "pids_limit": pids,
        "mem_limit": memory,
        "memswap_limit": memory,
        "nano_cpus": int(cpus * 1e9),
        "ipc_mode": "private",
        "init": True,
        "healthcheck": {"test": ["NONE"]},
        "log_config": LogConfig(
            type="json-file", config={"max-size": f"{LOG_MB}m", "max-file": str(LOG_FILES)}
        ),
    }


def container_settings(
    stage: Stage,
    image: str,
    volume: str,
    *,
    gpu_device: str | None = None,
    own: OwnPlaces = OwnPlaces(),
) -> dict[str, Any]:
    """The keyword arguments of `docker.containers.create` for a stage.

    Args:
        image: the image's id (`sha256:…`), never a tag that could move.
        volume: the name of its output volume.
        gpu_device: which GPU a stage gets that needs one; null: the engine's first.
        own: of the image of a participant.
    """
    limits = stage.limits
    inside = places(stage)
    threads = {"OMP_NUM_THREADS": str(max(1, int(limits.cpus)))}
    gpu = GPU if stage.gpu else NO_GPU
    packages = {"PYTHONUSERBASE": own.packages} if own.packages else {}
    scratch = f"rw,noexec,nosuid,nodev,size={limits.tmp_mb}m,nr_inodes={TMP_FILES},mode=1777"
    return {
        **_confinement(limits.pids, limits.memory_mb * MEBIBYTE, limits.cpus),
        "user": LOADER if stage.name == "gate" else USER,
        "image": image,
        "command": stage.words(inside),
        "working_dir": own.working_folder,
        "environment": {**ENVIRONMENT, **packages, **threads, **gpu, **stage.environment},
        "tmpfs": {"/tmp": scratch},
        "mounts": [
            *(
                Mount(inside[name], str(path.resolve()), type="bind", read_only=True)
                for name, path in stage.inputs.items()
            ),
            Mount(OUTPUT, volume, type="volume", no_copy=True),  # nothing from the image in it
            *_shared(stage),
        ],
        "shm_size": 1024 * MEBIBYTE,
        "ulimits": [
            Ulimit(name="nofile", soft=1024, hard=1024),
            Ulimit(name="core", soft=0, hard=0),
            Ulimit(  # a sparse file takes no memory, but would fill a host's disk
                name="fsize",
                soft=limits.output_mb * MEBIBYTE,
                hard=limits.output_mb * MEBIBYTE,
            ),
        ],
        "labels": owner_labels(stage.name),
        "device_requests": [_gpu_request(gpu_device)] if stage.gpu else [],
        "stdin_open": stage.secret is not None,
    }


def _shared(stage: Stage) -> list[Mount]:
    if stage.volume is None:
        return []
    reads = not stage.fills_volume
    place = _volume_place(stage)
    return [Mount(place, stage.volume, type="volume", no_copy=True, read_only=reads)]


def _gpu_request(device: str | None) -> DeviceRequest:
    which: dict[str, Any] = {"count": 1} if device is None else {"device_ids": [device]}
    return DeviceRequest(**which, capabilities=[["gpu"]])


def volume_settings(limits: Limits) -> dict[str, Any]:
    """How the engine makes a stage's output: in memory, so large and with so many files."""
    size = f"size={limits.output_mb}m,nr_inodes={limits.output_files}"
    # open to all, since an engine may map users; nobody but the container's can come near
    options = f"{size},mode=0777,nosuid,nodev,noexec"
    return {
        "driver": "local",
        "driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": options},
    }


def volume_holder_settings(image: str, volume: str) -> dict[str, Any]:
    """The keyword arguments of `docker.containers.create` for an output volume holder."""
    return {
        **_idle(image, "volume_holder"),
        "mounts": [Mount(OUTPUT, volume, type="volume", no_copy=True)],
    }


def looked_at_settings(image: str) -> dict[str, Any]:
    """The keyword arguments of `docker.containers.create` for one that is never started."""
    return {**_idle(image, "looked_at"), "working_dir": "/"}  # where the engine makes no folder


def _idle(image: str, name: str) -> dict[str, Any]:
    """A container that does nothing."""
    return {
        **_confinement(pids=16, memory=64 * MEBIBYTE, cpus=0.5),
        "init": False,  # it has no children; so it starts sooner
        "image": image,
        "entrypoint": ["sleep"],
        "command": ["infinity"],
        "labels": owner_labels(name),
    }

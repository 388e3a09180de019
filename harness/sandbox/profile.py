"""The sandbox profile: everything a container is denied, as one pure function.

Docker's defaults are generous; each line here takes one thing away.
"""

from __future__ import annotations

import os
from typing import Any

from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from harness.sandbox.stage import Stage

INPUTS, OUTPUT = "/in", "/out"
USER = "65532:65532"
LABEL = "org.busbench.stage"
OWNER_LABEL = "org.busbench.owner"  # the harness process that started it, for the cleaner
MEBIBYTE = 1024 * 1024

# No home, no cache, no byte code to write. Threads that wait must sleep: a quota counts spinning.
ENVIRONMENT = {
    "HOME": "/tmp",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def places(stage: Stage) -> dict[str, str]:
    """Where the inputs and the output of a stage stand inside its container."""
    return {name: f"{INPUTS}/{name}" for name in stage.inputs} | {"out": OUTPUT}


def container_settings(stage: Stage, image: str) -> dict[str, Any]:
    """The keyword arguments of `docker.containers.create` for a stage.

    Args:
        image: the image's id (`sha256:…`), never a tag that could move.
    """
    limits = stage.limits
    inside = places(stage)
    memory = limits.memory_mb * MEBIBYTE
    threads = str(max(1, int(limits.cpus)))
    return {
        "image": image,
        "command": stage.words(inside),
        "user": USER,
        "environment": {**ENVIRONMENT, "OMP_NUM_THREADS": threads, **stage.environment},
        "working_dir": "/tmp",
        "network_mode": "none",
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={limits.tmp_mb}m,mode=1777"},
        "mounts": [
            *(
                Mount(inside[name], str(path.resolve()), type="bind", read_only=True)
                for name, path in stage.inputs.items()
            ),
            Mount(OUTPUT, str(stage.output.resolve()), type="bind"),
        ],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": limits.pids,
        "mem_limit": memory,
        "memswap_limit": memory,
        "nano_cpus": int(limits.cpus * 1e9),
        "shm_size": 1024 * MEBIBYTE,
        "ulimits": [
            Ulimit(name="nofile", soft=1024, hard=1024),
            Ulimit(name="core", soft=0, hard=0),
            Ulimit(
                name="fsize",
                soft=limits.output_mb * MEBIBYTE,
                hard=limits.output_mb * MEBIBYTE,
            ),
        ],
        "ipc_mode": "private",
        "init": True,
        "log_config": LogConfig(type="json-file", config={"max-size": "8m", "max-file": "1"}),
        "labels": {LABEL: stage.name, OWNER_LABEL: str(os.getpid())},
        "device_requests": [DeviceRequest(count=1, capabilities=[["gpu"]])] if stage.gpu else [],
    }

"""Checks of a GPU: on this machine, and on its way into a container."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from docker.errors import ImageNotFound

from evaluator.errors import BusbenchError
from evaluator.progress import quiet
from harness.challenge import Limits
from harness.doctor.context import Context, output_of
from harness.doctor.finding import Finding
from harness.doctor.vulnerabilities import judge
from harness.sandbox import Stage
from harness.sandbox.docker_runner import DockerRunner
from harness.sandbox.sources import base_name

TOOLKIT = "nvidia-container-toolkit"
CONTAINER_GPU = "gpu in containers"
VENDOR = "nvidia.com/gpu"  # NVIDIA's kind of device in the container device interface (CDI)
_LISTS = ("nvidia-smi", "-L")  # the GPUs, one a line


def check_gpu(_: Context) -> Finding:
    """A GPU of this machine."""
    said = output_of("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    if said is None:
        return Finding("gpu", "ok", "none; --device cuda will be refused")
    return Finding("gpu", "ok", "; ".join(said.splitlines()))


def check_toolkit(_: Context) -> Finding:
    """What gives a container a GPU."""
    said = output_of("nvidia-ctk", "--version") or output_of("nvidia-container-cli", "--version")
    if said is not None:
        return judge(TOOLKIT, said.splitlines()[0].rpartition(" ")[2])
    if shutil.which("nvidia-smi") is None:
        return Finding(TOOLKIT, "ok", "not needed without a GPU")
    remedy = "Install it, version 1.17.8 or later, so that containers can use the GPU."
    return Finding(TOOLKIT, "warn", "not found beside this machine's GPU", remedy)


def check_container_gpu(context: Context) -> Finding:
    """Whether the engine hands a GPU over: a container of the sandbox's profile lists it."""
    has_gpu = output_of(*_LISTS) is not None
    ways = ways_to_a_gpu(context.engine_info) if context.has_engine else []
    if not has_gpu and not ways:
        return Finding(CONTAINER_GPU, "ok", "not tried: neither a GPU nor NVIDIA's toolkit is here")
    try:
        listed = list_in_container(context)
    except ImageNotFound:
        image = base_name(context.challenge.images)
        says, remedy = f"not tried: {image} is not here", f"Run `docker pull {image}` first."
        return Finding(CONTAINER_GPU, "warn", says, remedy)
    except BusbenchError as error:
        if not context.has_engine:
            raise
        return Finding(CONTAINER_GPU, "warn", error.message, remedy_for(ways))
    if len(listed) != 1:
        says = f"a container that asks for one GPU sees {len(listed)}"
        return Finding(CONTAINER_GPU, "fail", says, remedy_for(ways))
    by = ", ".join(ways) or "the engine alone"
    return Finding(CONTAINER_GPU, "ok", f"{listed[0].partition(' (')[0]}, by {by}")


def ways_to_a_gpu(info: dict[str, Any]) -> list[str]:
    """How an engine may hand over NVIDIA's GPUs, by what `docker info` says of it.

    Runtimes are those of its configuration; devices are those that engines since 28.2 discover, and
    for older ones the files of device specifications in the folders that it names.
    """
    found = ["the runtime nvidia"] if "nvidia" in (info.get("Runtimes") or {}) else []
    devices = [str(device.get("ID", "")) for device in info.get("DiscoveredDevices") or ()]
    folders = map(Path, info.get("CDISpecDirs") or ())
    if any(device.startswith(VENDOR) for device in devices) or any(map(_names_gpus, folders)):
        found.append(f"CDI devices {VENDOR}")
    return found


def _names_gpus(folder: Path) -> bool:
    try:
        files = [path for path in folder.iterdir() if path.suffix in (".yaml", ".json")]
        return any(VENDOR in path.read_text(errors="replace") for path in files)
    except OSError:
        return False


def remedy_for(ways: list[str]) -> str:
    """What to do where no GPU arrives in a container."""
    if output_of("nvidia-ctk", "--version") is None:
        return (
            "Install the NVIDIA container toolkit, then run `sudo nvidia-ctk runtime configure "
            "--runtime=docker` and restart the engine."
        )
    if not ways:
        return "Run `sudo nvidia-ctk runtime configure --runtime=docker`, then restart the engine."
    return (
        "Renew the devices with `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`, as "
        "after each update of the driver, restart the engine, and look at its log."
    )


def list_in_container(context: Context) -> list[str]:
    """The GPUs that a container of ours sees which asks for one, one line each.

    Raises:
        ImageNotFound: where the base image is not here; none is fetched for a check.
        BusbenchError: `device-unavailable` or another of the engine's refusals.
    """
    image = str(context.engine.images.get(base_name(context.challenge.images)).id)
    with tempfile.TemporaryDirectory(prefix="busbench-gpu-") as name:
        log, out = Path(name, "log"), Path(name, "out")
        out.mkdir()
        asks = Stage("ready", "infer-gpu", _LISTS, {}, out, Limits(), image, gpu=True, log=log)
        DockerRunner(context.challenge).run(asks, quiet)
        return [line for line in log.read_text().splitlines() if line.startswith("GPU ")]

"""The checks: one small function a line, in the order in which a person would ask."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from docker.errors import ImageNotFound

from evaluator.errors import BusbenchError, Fault
from harness.doctor.context import Context, output_of
from harness.doctor.finding import Finding
from harness.doctor.gpu import check_container_gpu, check_gpu, check_toolkit
from harness.doctor.vulnerabilities import judge, version_of
from harness.sandbox.docker_runner import ENGINE_ERRORS, engine_reason
from harness.sandbox.sources import BASE_VARIABLE, base_name
from harness.sealing.keys import Keys

GIGABYTE = 1024**3
OLDEST_ENGINE = (20, 10, 0)
FREE_GB = (2, 20)  # below the first an evaluation fails, below the second it may


Check = Callable[[Context], Finding]


def check_challenge(context: Context) -> Finding:
    """The organiser's declaration."""
    given = context.challenge
    tracks = ", ".join(given.tracks) or "no tracks"
    return Finding("challenge", "ok", f"{given.title}: {tracks}")


def check_keys(context: Context) -> Finding:
    """The key folder: complete, in pairs, closed to others."""
    path = context.keys or Path("keys")
    if context.keys is None and not path.exists():
        return Finding("keys", "ok", "none here, and none named; only organisers have them")
    opened = Keys.open(path)
    return Finding("keys", "ok", f"{path}: three pairs; reports by {opened.report.keyid[:16]}…")


def check_engine(context: Context) -> Finding:
    """Whether an engine answers, and whether it is new enough for the profile."""
    info, version = context.engine_info, context.components.get("Engine")
    says = f"kernel {info['KernelVersion']}, {info['Architecture']}"
    if version is None:
        remedy = "See what it denies with `busbench doctor --sandbox`, or use Docker's."
        return Finding("engine", "warn", f"not Docker's ({info['ServerVersion']}); {says}", remedy)
    if (version_of(version) or OLDEST_ENGINE) < OLDEST_ENGINE:
        says = f"Docker {version} lacks private control groups, and parts of the filter of calls"
        return Finding(
            "engine", "fail", says, "Update Docker to 25.0 or later; 20.10 is the least."
        )
    found = judge("engine", version)
    return replace(found, says=f"Docker {found.says}; {says}")


# What the profile needs of the engine: the field, what it would lack.
_NEEDED = {
    "MemoryLimit": "memory",
    "SwapLimit": "swap",
    "PidsLimit": "processes",
    "CpuCfsQuota": "processors",
}


def check_limits(context: Context) -> Finding:
    """Whether the kernel keeps the limits that the profile sets."""
    info = context.engine_info
    missing = [what for name, what in _NEEDED.items() if info.get(name) is False]
    version = f"cgroup v{info.get('CgroupVersion', '?')}"
    if missing:
        says = f"{version} does not limit {', '.join(missing)}"
        remedy = "Start the kernel with these controllers (cgroup_enable=memory swapaccount=1)."
        return Finding("limits", "fail", says, remedy)
    return Finding("limits", "ok", f"{version} limits {', '.join(_NEEDED.values())}")


def check_security(context: Context) -> Finding:
    """The filter of system calls, and further walls."""
    options = [str(option) for option in context.engine_info.get("SecurityOptions") or ()]
    names = ", ".join(option.removeprefix("name=").partition(",")[0] for option in options)
    if not any("seccomp" in option and "unconfined" not in option for option in options):
        remedy = "Use a kernel and an engine with seccomp, and its default profile."
        return Finding("security", "fail", f"no filter of system calls ({names})", remedy)
    return Finding("security", "ok", names)


def check_runc(context: Context) -> Finding:
    """What starts containers."""
    version = context.components.get("runc")
    if version is None:
        return Finding("runc", "ok", "the engine names another runtime")
    return judge("runc", version)


def check_base(context: Context) -> Finding:
    """Whether the base image can change under its name."""
    base = base_name(context.challenge.images)
    chosen = f" (named by {BASE_VARIABLE})" if base != context.challenge.images.base else ""
    is_pinned = "@sha256:" in base
    says = f"{base}{chosen}" + ("" if is_pinned else " is not pinned by digest")
    try:
        image = context.engine.images.get(base)
    except ImageNotFound:
        if is_pinned:
            remedy = f"Without a registry, name an image that the engine has in {BASE_VARIABLE}."
            return Finding("base", "ok", f"{says}, fetched at the first run", remedy)
        return Finding("base", "warn", says, f"Run `docker pull {base}`, then this again.")
    if is_pinned:
        return Finding("base", "ok", says)
    says = f"{says}: local image ID {image.id}"
    if base == image.id:
        return Finding("base", "ok", says)  # which cannot move
    pinned = next(iter(image.attrs.get("RepoDigests") or ()), image.id)  # built here: no registry's
    remedy = (
        f"Name what it is here, {BASE_VARIABLE}={pinned}."
        if chosen  # it goes before challenge.yaml
        else f'Pin what it is here, `images: {{base: "{pinned}"}}` in challenge.yaml.'
    )
    return Finding("base", "warn", says, remedy)


def check_providers(_: Context) -> Finding:
    """ONNX Runtime and its providers, for `--runner process`; containers bring their own."""
    program = "import onnxruntime as o; print(o.__version__, *o.get_available_providers())"
    said = output_of(sys.executable, "-c", program)
    if said is None:
        says = "not installed here; containers bring their own"
        return Finding("onnxruntime", "ok", says)
    return Finding("onnxruntime", "ok", said.strip())


def check_landlock(_: Context) -> Finding:
    """What confines a model's first load where no container does."""
    program = "from evaluator.gate.confinement import landlock_version as v; print(v())"
    said = output_of(sys.executable, "-c", program)
    if said is None:
        return Finding("landlock", "ok", "not asked without onnx; containers do not depend on it")
    if said == "0":
        says = "none: under --runner process a model could write the gate's verdict on itself"
        remedy = (
            "Use containers, where another user writes it, "
            "or Linux 5.13 or later with `landlock` among its `lsm=`."
        )
        return Finding("landlock", "warn", says, remedy)
    return Finding("landlock", "ok", f"version {said}")


def check_onnx(_: Context) -> Finding:
    """The library that reads models."""
    try:
        return judge("onnx", importlib.metadata.version("onnx"))
    except importlib.metadata.PackageNotFoundError:
        return Finding("onnx", "ok", "not installed here; containers bring their own")


def check_triton(_: Context) -> Finding:
    """A Triton server, where one is named."""
    named = os.environ.get("BUSBENCH_TRITONSERVER") or shutil.which("tritonserver")
    if named is None:
        return Finding("triton", "ok", "none named; only --backend triton needs one")
    return judge("triton", os.environ.get("TRITON_SERVER_VERSION", ""))


def check_disk(context: Context) -> Finding:
    """Component for runs and, where the engine is here, for images."""
    places = [context.place]
    root = Path(str(context.engine_info.get("DockerRootDir", ""))) if context.has_engine else None
    if root is not None and root.is_dir():
        places.append(root)
    free = {place: shutil.disk_usage(place).free / GIGABYTE for place in places}
    says = ", ".join(f"{gigabytes:.0f} GB free at {place}" for place, gigabytes in free.items())
    least = min(free.values())
    if least >= FREE_GB[1]:
        return Finding("disk", "ok", says)
    remedy = "Free some space; `docker system df` shows what images take."
    return Finding("disk", "fail" if least < FREE_GB[0] else "warn", says, remedy)


CHECKS: tuple[Check, ...] = (
    *(check_challenge, check_keys),
    *(check_engine, check_limits, check_security, check_runc, check_base),
    *(check_gpu, check_toolkit, check_container_gpu),
    *(check_providers, check_landlock, check_onnx, check_triton, check_disk),
)


def examine(context: Context, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Go through all checks; one that meets an error of ours turns it into its finding."""
    return [_examined(context, check) for check in checks]


def _examined(context: Context, check: Check) -> Finding:
    name = check.__name__.removeprefix("check_")
    try:
        return check(context)
    except BusbenchError as error:
        fault = error.fault if error.fault is Fault.ORGANISER else Fault.INFRASTRUCTURE
        return Finding(name, "fail", error.message, error.remedy, fault)
    except ENGINE_ERRORS as error:
        remedy = "Look at the engine's log, then run the same command again."
        return Finding(name, "fail", f"The engine fails: {engine_reason(error)}", remedy)

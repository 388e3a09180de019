"""Inspection of a participant's image: its configuration is judged before any of it is started.

The sandbox overrides most of it, so several rules keep out what the engine, or a hook that runs
with the host's rights before the container's own limits apply, would read: CVE-2025-23266 needed no
more than an `LD_PRELOAD` in an image that NVIDIA's hook started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluator.errors import BusbenchError, Code

# The loader and the C library act on these before a program does; CUDA's public images do set
# LD_LIBRARY_PATH, so that one stays.
_LOADER = ("GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH", "MALLOC_TRACE")
# What NVIDIA's hook grants beyond a GPU's use.
_GRANTS = ("NVIDIA_MIG_", "NVIDIA_IMEX_", "NVIDIA_GDS", "NVIDIA_GDRCOPY", "NVIDIA_MOFED")
_NVSWITCH = "NVIDIA_NVSWITCH"
_RUNNING = ("proc", "sys", "dev")  # of a container, and not of its image


@dataclass(frozen=True)
class ImageConfig:
    """What an engine reports of an image, as far as it matters here."""

    user: str
    environment: tuple[str, ...]  # names alone
    os: str
    architecture: str
    size: int  # bytes, unpacked
    volumes: tuple[str, ...]
    entry_point: bool  # whether it names what to start
    takes_words: bool = True  # whether what it starts is given the command
    working_folder: str = "/"

    @classmethod
    def of(cls, attrs: Mapping[str, Any]) -> ImageConfig:
        """From the document of `docker image inspect`."""
        config = attrs.get("Config") or {}
        entry_point = tuple(map(str, config.get("Entrypoint") or ()))
        return cls(
            user=str(config.get("User") or ""),
            environment=tuple(str(e).partition("=")[0] for e in config.get("Env") or ()),
            os=str(attrs.get("Os") or ""),
            architecture=str(attrs.get("Architecture") or ""),
            size=int(attrs.get("Size") or 0),
            volumes=tuple(config.get("Volumes") or ()),
            entry_point=bool(entry_point),
            takes_words=not _is_shells(entry_point),
            working_folder=str(config.get("WorkingDir") or "/"),
        )


def _is_shells(entry_point: Sequence[str]) -> bool:
    """Whether it is what `ENTRYPOINT python train.py` becomes: one word, which reads no other."""
    match entry_point:
        case [shell, "-c", script]:
            return shell.endswith("sh") and "$" not in script
    return False


@dataclass(frozen=True)
class ImagePolicy:
    """What an image must satisfy."""

    architecture: str  # of the engine, as images write it
    max_mb: int
    command: bool = False  # whether the harness names the program to start


@dataclass(frozen=True)
class Rule:
    """One thing that an image may not be."""

    name: str
    finds: Callable[[ImageConfig, ImagePolicy], str]  # what is wrong, or nothing
    remedy: str


def _root(config: ImageConfig, _: ImagePolicy) -> str:
    name = config.user.partition(":")[0].strip()
    if not name:
        return "it names no user, so it is made for root"
    number = int(name) if name.isdecimal() else None
    return f"its user is {config.user}, which is root" if name == "root" or number == 0 else ""


def _hooks(config: ImageConfig, _: ImagePolicy) -> str:
    found = [
        name
        for name in config.environment
        if (name.startswith("LD_") and name != "LD_LIBRARY_PATH")
        or name in _LOADER
        or name.startswith((*_GRANTS, _NVSWITCH))
    ]
    return f"its environment sets {', '.join(found)}" if found else ""


def _foreign(config: ImageConfig, policy: ImagePolicy) -> str:
    if (config.os, config.architecture) == ("linux", policy.architecture):
        return ""
    return f"it is for {config.os}/{config.architecture}, not linux/{policy.architecture}"


def _large(config: ImageConfig, policy: ImagePolicy) -> str:
    megabytes = config.size / 1024**2
    return f"it has {megabytes:.0f} MB, more than {policy.max_mb}" * (megabytes > policy.max_mb)


def _volumes(config: ImageConfig, _: ImagePolicy) -> str:
    return f"it declares the volume {config.volumes[0]}" if config.volumes else ""


def _nothing_to_start(config: ImageConfig, policy: ImagePolicy) -> str:
    return "" if config.entry_point or policy.command else "it has no ENTRYPOINT"


def _deaf(config: ImageConfig, policy: ImagePolicy) -> str:
    """A shell's `-c` takes one word; the rest, which is `--command`, would be dropped."""
    lost = policy.command and not config.takes_words
    return "its ENTRYPOINT is in the shell's form, which drops the command" * lost


def _elsewhere(config: ImageConfig, _: ImagePolicy) -> str:
    """A folder that only a running container has may be anything: CVE-2024-21626."""
    folder = config.working_folder
    first, *more = [part for part in folder.split("/") if part not in ("", ".")] or [""]
    plain = folder.startswith("/") and folder.isprintable() and ".." not in (first, *more)
    return "" if plain and first not in _RUNNING else "its WORKDIR is not a folder of the image"


RULES: tuple[Rule, ...] = (
    Rule("user", _root, "End the Dockerfile with `USER 65532:65532`."),
    Rule("environment", _hooks, "Take these variables out of the image."),
    Rule("platform", _foreign, "Build it with `docker build --platform` for that machine."),
    Rule("size", _large, "Leave out what training does not need; start from a slim base."),
    Rule("volumes", _volumes, "Take VOLUME out of the Dockerfile: /out is the place to write."),
    Rule(
        "entry point",
        _nothing_to_start,
        'Name the program, for instance `ENTRYPOINT ["python", "train.py"]`.',
    ),
    Rule("shell form", _deaf, 'Write it as a list: `ENTRYPOINT ["python", "train.py"]`.'),
    Rule("working folder", _elsewhere, "Name a folder of the image, such as `WORKDIR /app`."),
)


def judge(config: ImageConfig, policy: ImagePolicy) -> Sequence[tuple[Rule, str]]:
    """Every rule that the image breaks, with what was found."""
    found = ((rule, rule.finds(config, policy)) for rule in RULES)
    return [(rule, what) for rule, what in found if what]


def require_runnable(name: str, config: ImageConfig, policy: ImagePolicy) -> None:
    """Raise `image-refused`, with every reason, where the image breaks a rule."""
    found = judge(config, policy)
    if found:
        raise BusbenchError(
            Code.IMAGE_REFUSED,
            f"The image {name} is refused: {'; '.join(what for _, what in found)}.",
            " ".join(rule.remedy for rule, _ in found),
        )

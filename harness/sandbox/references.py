"""Resolution of an image's name to one id, which nobody can move meanwhile.

    sha256:<id>, name, name:tag        an image that the engine already has
    registry/name@sha256:<digest>      the same everywhere; fetched from its registry where missing

A tag is never fetched: it may mean another image tomorrow, and a result could not be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import docker
import requests
from docker.errors import APIError, ImageNotFound

from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from harness.sandbox.inspection import ImageConfig, ImagePolicy, require_runnable

_BY_DIGEST = re.compile(r"^[^@\s]+@sha256:[0-9a-f]{64}$")
_BY_ID = re.compile(r"^sha256:[0-9a-f]{64}$")
_MIB = 1024 * 1024
# What engines call the processors that images name.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# What registries say, whose fault it is, and what to do.
_PATTERNS: tuple[tuple[re.Pattern[str], Code, str], ...] = (
    (
        re.compile(r"manifest unknown|not found|does not exist|name unknown|invalid digest", re.I),
        Code.IMAGE_MISSING,
        "Push the image, and hand in the digest that `docker push` prints.",
    ),
    (
        re.compile(r"denied|unauthorized|authentication required", re.I),
        Code.IMAGE_MISSING,
        "Make the image public, or give the organiser's engine access (`docker login`).",
    ),
    (
        re.compile(r"no space left on device|disk quota", re.I),
        Code.DISK_FULL,
        "Free some space (`docker system df` shows where), then run the same command again.",
    ),
    (
        re.compile(""),
        Code.IMAGE_UNAVAILABLE,
        "See that the registry answers, then run the same command again.",
    ),
)


@dataclass(frozen=True)
class ImageRequest:
    """A participant's image, as it was named."""

    name: str
    pull: bool = True  # fetch it where the engine lacks it
    max_mb: int = 20_480
    command: bool = False  # whether the harness names the program to start


def resolve(client: docker.DockerClient, request: ImageRequest, progress: Progress) -> str:
    """The id of an image that passed inspection, fetched first where it is missing.

    Raises:
        BusbenchError: `usage`, `image-missing`, `image-refused`; `image-unavailable` and
            `disk-full` where it is not the image's fault.
    """
    try:
        image = client.images.get(request.name)
    except ImageNotFound:
        fetch(client, request, progress)
        image = client.images.get(request.name)
    except (APIError, requests.RequestException) as error:
        raise _refused(request.name, str(getattr(error, "explanation", None) or error)) from error
    machine = str(client.info().get("Architecture", ""))
    policy = ImagePolicy(ARCHITECTURES.get(machine, machine), request.max_mb, request.command)
    require_runnable(request.name, ImageConfig.of(image.attrs), policy)
    return str(image.id)


def fetch(client: docker.DockerClient, request: ImageRequest, progress: Progress) -> None:
    """Fetch an image by digest, and stop as soon as it proves too large."""
    name = request.name
    if not _BY_DIGEST.match(name):
        if _BY_ID.match(name):
            remedy = "Name it by where it lies, too: registry/name@sha256:…"
        else:
            remedy = "Build it here, or name it by digest: registry/name@sha256:…"
        raise BusbenchError(Code.IMAGE_MISSING, f"The engine has no image {name}.", remedy)
    if not request.pull:
        raise BusbenchError(
            Code.IMAGE_MISSING,
            f"The engine has no image {name}, and --no-pull forbids to fetch it.",
            "Pull it first, or leave --no-pull out.",
        )
    try:
        steps = client.api.pull(name, stream=True, decode=True)
        follow(name, steps, request.max_mb, progress=progress)
    except (APIError, requests.RequestException) as error:
        raise _refused(name, str(getattr(error, "explanation", None) or error)) from error


def follow(
    name: str, steps: Iterable[Mapping[str, Any]], max_mb: int, *, progress: Progress
) -> None:
    """Read a pull's messages; leaving it early has the engine stop."""
    sizes: dict[str, tuple[int, int]] = {}  # layer -> bytes that are here, bytes in all
    for step in steps:
        if "error" in step:
            raise _refused(name, str(step["error"]))
        detail = step.get("progressDetail") or {}
        if step.get("status") == "Downloading" and detail.get("total"):
            sizes[str(step.get("id"))] = (int(detail["current"]), int(detail["total"]))
            here, total = (sum(column) // _MIB for column in zip(*sizes.values(), strict=True))
            if total > max_mb:
                raise BusbenchError(
                    Code.IMAGE_REFUSED,
                    f"The image {name} has more than {max_mb} MB, packed.",
                    "Leave out what training does not need; start from a slim base.",
                )
            progress(f"fetching {name.partition('@')[0]} (MB)", here, max(total, 1))


def _refused(name: str, reason: str) -> BusbenchError:
    code, remedy = next(
        (code, remedy) for pattern, code, remedy in _PATTERNS if pattern.search(reason)
    )
    return BusbenchError(
        code, f"The image {name} cannot be fetched: {reason[:300].strip()}.", remedy
    )

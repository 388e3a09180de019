"""Container images: built from `containers/` when they are not there, named by what is in them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import docker
from docker.errors import APIError, BuildError, ImageNotFound

from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes
from evaluator.progress import Progress
from harness.challenge import Component, Images

ROOT = Path(__file__).resolve().parents[2]
BUILD_STEPS = 9  # about as many as a Dockerfile of ours has


@dataclass(frozen=True)
class Recipe:
    """What a component's image is built from, relative to the project's root."""

    dockerfile: str
    sources: tuple[str, ...]


# Each component's Dockerfile, its package, and what else its image is built from.
_KINDS: dict[Component, tuple[str, ...]] = {
    "participant": ("participant", "reference_models"),
    "infer": ("evaluator", "evaluator"),
    "infer-gpu": ("evaluator", "evaluator"),
    "score": ("evaluator", "evaluator"),
    "triton": ("triton", "evaluator", "containers/triton", "containers/locks/triton-server.txt"),
}


def _recipe(component: Component) -> Recipe:
    kind, package, *more = _KINDS[component]
    return Recipe(
        dockerfile=f"containers/{kind}.Dockerfile",
        sources=("containers/install.sh", f"containers/locks/{component}.txt", package, *more),
    )


def _files(root: Path, sources: tuple[str, ...]) -> Iterator[Path]:
    for source in sources:
        path = root / source
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (p for p in found if p.is_file() and "__pycache__" not in p.parts)


def build_context(component: Component, images: Images, root: Path = ROOT) -> bytes:
    """The build context of a component's image as a tar: same sources, same bytes."""
    recipe = _recipe(component)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in _files(root, (recipe.dockerfile, *recipe.sources)):
            _add(archive, str(path.relative_to(root)), path)
        for path in sorted(images.wheelhouse.glob("*.whl")) if images.wheelhouse else []:
            _add(archive, f"containers/wheelhouse/{path.name}", path)
        _add(archive, "containers/wheelhouse/README", root / "containers/wheelhouse/README")
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    data = path.read_bytes()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))


def ensure_image(
    client: docker.DockerClient, component: Component, images: Images, progress: Progress
) -> str:
    """The id of a component's image; built where no image of these very sources is there.

    Raises:
        BusbenchError: `image-unavailable` where it cannot be built.
    """
    if not (ROOT / _recipe(component).dockerfile).exists():
        raise BusbenchError(
            Code.IMAGE_UNAVAILABLE,
            f"The sources of the {component} image are not in {ROOT}.",
            "Run busbench from a checkout of the project, or use --runner process.",
        )
    context = build_context(component, images)
    name = f"busbench/{component}:{_digest(context, images)[:12]}"
    try:
        image = client.images.get(name)
    except ImageNotFound:
        image = client.images.get(_build(client, component, images, context, name, progress))
    image.tag(f"busbench/{component}", "latest")  # the name that compose.yaml uses
    return str(image.id)


def ensure_base(client: docker.DockerClient, images: Images) -> str:
    """The id of the base image, fetched where it is missing; all images are made from it.

    Raises:
        BusbenchError: `image-unavailable` where it cannot be fetched.
    """
    try:
        try:
            return str(client.images.get(images.base).id)
        except ImageNotFound:
            return str(client.images.pull(images.base).id)
    except APIError as error:
        raise BusbenchError(
            Code.IMAGE_UNAVAILABLE,
            f"The engine has no base image {images.base}: {_first_line(error)}.",
            "Name one that the engine can reach under `images:` in challenge.yaml.",
        ) from error


@cache
def sources_digest(component: Component, images: Images) -> str:
    """A digest of what an image is built from: the same on every machine, as ids are not."""
    return _digest(build_context(component, images), images)


def _digest(context: bytes, images: Images) -> str:
    return sha256_bytes(context + images.base.encode())


def _build(
    client: docker.DockerClient,
    component: Component,
    images: Images,
    context: bytes,
    name: str,
    progress: Progress,
) -> str:
    what = f"building the {component} image"
    step = 0
    try:
        for line in client.api.build(
            fileobj=io.BytesIO(context),
            custom_context=True,
            dockerfile=_recipe(component).dockerfile,
            buildargs={"BASE_IMAGE": images.base, "COMPONENT": component},
            tag=name,
            rm=True,
            decode=True,
        ):
            if "error" in line:
                raise BuildError(line["error"], iter(()))
            if str(line.get("stream", "")).startswith("Step "):
                progress(what, step := step + 1, max(step, BUILD_STEPS))
    except (APIError, BuildError) as error:
        raise BusbenchError(
            Code.IMAGE_UNAVAILABLE,
            f"The {component} image cannot be built from {images.base}: {_first_line(error)}.",
            "Name a base image that the engine can reach under `images:` in challenge.yaml.",
        ) from error
    progress(what, max(step, BUILD_STEPS), max(step, BUILD_STEPS))
    return name


def _first_line(error: APIError | BuildError) -> str:
    text = str(error.explanation if isinstance(error, APIError) else error.msg).strip()
    return text.splitlines()[0][:300] if text else "no reason given"

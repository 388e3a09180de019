"""Container images: built from `containers/` when they are not there, named by what is in them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
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
BASE_VARIABLE = "BUSBENCH_BASE_IMAGE"
BUILD_STEPS = 15  # about as many as a Dockerfile of ours has


@dataclass(frozen=True)
class Recipe:
    """A Dockerfile and what its image is built from, relative to the project's root."""

    dockerfile: str
    sources: tuple[str, ...]


_TABLE = "containers/sources.txt"
_INSTALL = ("containers/install.sh", "containers/sbom.py")
_EVALUATOR = Recipe("containers/evaluator.Dockerfile", ("containers/select.sh", *_INSTALL))
# What else each image is built from: the lock of its packages, and for the evaluator's the modules
# that `containers/sources.txt` lists, so that an image is named after what it runs.
_RECIPES: dict[Component, Recipe] = {
    "participant": Recipe("containers/participant.Dockerfile", (*_INSTALL, "reference_models")),
    "infer": _EVALUATOR,
    "infer-gpu": _EVALUATOR,
    "score": _EVALUATOR,
    "triton": Recipe(
        "containers/triton.Dockerfile",
        (*_EVALUATOR.sources, "containers/triton", "containers/locks/triton-server.txt"),
    ),
}


def _table(component: Component, root: Path) -> list[str]:
    """The lines of the sources' table that list something for a component."""
    lines = (root / _TABLE).read_text().splitlines()
    return [line for line in lines if component in line.split()[1:] and line[0] != "#"]


def _files(root: Path, sources: Iterable[str]) -> Iterator[Path]:
    for source in sources:
        path = root / source
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (p for p in found if p.is_file() and "__pycache__" not in p.parts)


def build_context(component: Component, images: Images, root: Path = ROOT) -> bytes:
    """The build context of a component's image as a tar: same sources, same bytes."""
    recipe, table = _RECIPES[component], _table(component, root)
    sources = (
        recipe.dockerfile,
        f"containers/locks/{component}.txt",
        *recipe.sources,
        *(line.split()[0] for line in table),
    )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in _files(root, sources):
            _add(archive, str(path.relative_to(root)), path.read_bytes())
        if table:  # this component's lines alone: a row of another's must not change the image
            rows = "".join(f"{line.split()[0]} {component}\n" for line in table)
            _add(archive, _TABLE, rows.encode())
        for path in sorted(images.wheelhouse.glob("*.whl")) if images.wheelhouse else []:
            _add(archive, f"containers/wheelhouse/{path.name}", path.read_bytes())
        readme = root / "containers/wheelhouse/README"
        _add(archive, "containers/wheelhouse/README", readme.read_bytes())
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))


def ensure_image(
    client: docker.DockerClient, component: Component, images: Images, *, progress: Progress
) -> str:
    """The id of a component's image; built where no image of these very sources is there.

    Raises:
        BusbenchError: `image-unavailable` where it cannot be built.
    """
    if not (ROOT / _RECIPES[component].dockerfile).exists():
        raise BusbenchError(
            Code.IMAGE_UNAVAILABLE,
            f"The sources of the {component} image are not in {ROOT}.",
            "Run busbench from a checkout of the project, or use --runner process.",
        )
    base = ensure_base(client, images)  # what its name means now: a tag can move
    context = build_context(component, images)
    name = f"busbench/{component}:{sha256_bytes(context + base.encode())[:12]}"
    try:
        image = client.images.get(name)
    except ImageNotFound:
        image = client.images.get(
            _build(client, component, base, context=context, name=name, progress=progress)
        )
    image.tag(f"busbench/{component}", "latest")  # the name that compose.yaml uses
    return str(image.id)


def base_name(images: Images) -> str:
    """The name of the base image: the challenge's, unless this machine's organiser chose another.

    A machine without a registry has no image by its registry's digest. One that it has is taken
    only where it was named on purpose.
    """
    return os.environ.get(BASE_VARIABLE) or images.base


def ensure_base(client: docker.DockerClient, images: Images) -> str:
    """The id of the base image, fetched where it is missing; all images are made from it.

    Raises:
        BusbenchError: `image-unavailable` where it cannot be fetched.
    """
    name = base_name(images)
    try:
        try:
            return str(client.images.get(name).id)
        except ImageNotFound:
            return str(client.images.pull(name).id)
    except APIError as error:
        raise BusbenchError(
            Code.IMAGE_UNAVAILABLE,
            f"The engine has no base image {name}: {_first_line(error)}.",
            "Name one that the engine can reach under `images:` in challenge.yaml or, on a machine "
            f"without a registry, one that it has, in {BASE_VARIABLE}.",
        ) from error


def with_base_here(client: docker.DockerClient, images: Images) -> Images:
    """The same, with the engine's own image of that tag where the pinned one cannot be had.

    For runs whose result nobody has to believe: others name such an image on purpose, and what is
    named so goes before this.

    Raises:
        BusbenchError: `image-unavailable` where the engine has neither.
    """
    try:
        ensure_base(client, images)
    except BusbenchError:
        tag = images.base.partition("@")[0]
        if os.environ.get(BASE_VARIABLE) or not client.images.list(tag):
            raise
        return images.model_copy(update={"base": tag})
    return images


@cache
def sources_digest(component: Component, images: Images) -> str:
    """A digest of what an image is built from: the same on every machine, as ids are not."""
    return sha256_bytes(build_context(component, images) + base_name(images).encode())


def _build(
    client: docker.DockerClient,
    component: Component,
    base: str,
    *,
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
            dockerfile=_RECIPES[component].dockerfile,
            buildargs={"BASE_IMAGE": base, "COMPONENT": component},
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
            f"The {component} image cannot be built from {base}: {_first_line(error)}.",
            "Name a base image that fits under `images:` in challenge.yaml, and see containers/.",
        ) from error
    progress(what, max(step, BUILD_STEPS), max(step, BUILD_STEPS))
    return name


def _first_line(error: APIError | BuildError) -> str:
    text = str(error.explanation if isinstance(error, APIError) else error.msg).strip()
    return text.splitlines()[0][:300] if text else "no reason given"

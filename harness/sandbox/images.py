"""Container images: built from `containers/` when they are not there, named by what is in them."""

from __future__ import annotations

import io
import os

import docker
from docker.errors import APIError, BuildError, ImageNotFound

from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes
from evaluator.progress import Progress
from harness.challenge import Component, Images
from harness.sandbox.sources import BASE_VARIABLE, RECIPES, ROOT, base_name, build_context

BUILD_STEPS = 15  # about as many as a Dockerfile of ours has


def ensure_image(
    client: docker.DockerClient, component: Component, images: Images, *, progress: Progress
) -> str:
    """The id of a component's image; built where no image of these very sources is there.

    Raises:
        BusbenchError: `image-unavailable` where it cannot be built.
    """
    if not (ROOT / RECIPES[component].dockerfile).exists():
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
            dockerfile=RECIPES[component].dockerfile,
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

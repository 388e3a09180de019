"""Sources of the images that stages run in: what each is built from, and a digest of that.

No engine is needed to name them, and so none of its client.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evaluator.files import sha256_bytes
from harness.challenge import Component, Images

ROOT = Path(__file__).resolve().parents[2]
BASE_VARIABLE = "BUSBENCH_BASE_IMAGE"


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
RECIPES: dict[Component, Recipe] = {
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
    recipe, table = RECIPES[component], _table(component, root)
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


def base_name(images: Images) -> str:
    """The name of the base image: the challenge's, unless this machine's organiser chose another.

    A machine without a registry has no image by its registry's digest. One that it has is taken
    only where it was named on purpose.
    """
    return os.environ.get(BASE_VARIABLE) or images.base


@cache
def sources_digest(component: Component, images: Images) -> str:
    """A digest of what an image is built from: the same on every machine, as ids are not."""
    return sha256_bytes(build_context(component, images) + base_name(images).encode())

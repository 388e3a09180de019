"""Recipes of networks: the trainer's own of that name, or a file in its place.

The harness runs no model, so it reads recipes as files; the trainer checks their content.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from evaluator.documents.reading import load_yaml
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes, write_atomically
from harness.benchmark.fold import Recipe
from harness.spelling import did_you_mean


def packaged() -> dict[str, Path]:
    """The recipes that come with the reference networks, by name."""
    spec = importlib.util.find_spec("reference_models")  # found, not imported
    if spec is None or spec.origin is None:
        return {}
    return {path.stem: path for path in sorted(Path(spec.origin).parent.glob("configs/*.yaml"))}


def freeze_recipes(
    networks: tuple[str, ...], files: Mapping[str, Path], folder: Path
) -> list[Recipe]:
    """Copy each network's recipe to `folder`, so that every fold has the same bytes.

    Args:
        files: recipes that stand in for packaged ones, by the network's name.

    Raises:
        BusbenchError: `usage` where there is none of a name; `output-exists` where another one is
            in `folder` already.
    """
    known = packaged()
    for name in files.keys() - set(networks):
        raise BusbenchError(
            Code.USAGE, f"--recipe {name} is for none of --networks.", "Add it there."
        )
    recipes = []
    for name in networks:
        source = files.get(name) or known.get(name)
        if source is None:
            nearest = did_you_mean(name, known)
            remedy = f"{nearest}There are {', '.join(known)}; any other needs --recipe."
            raise BusbenchError(Code.USAGE, f"There is no recipe {name!r}.", remedy)
        recipes.append(_freeze(name, source, folder / f"{name}.yaml"))
    return recipes


def _freeze(name: str, source: Path, copy: Path) -> Recipe:
    try:
        text = source.read_bytes()
    except OSError as error:
        message = f"The recipe {source} cannot be read ({error.strerror})."
        raise BusbenchError(Code.USAGE, message, "Name a YAML file with --recipe.") from error
    _mapping(text, source)
    if not copy.exists():
        write_atomically(copy, text)
    elif copy.read_bytes() != text:
        raise BusbenchError(
            Code.OUTPUT_EXISTS,
            f"{copy} is not {source}: this benchmark was begun with another recipe.",
            "Name another folder with --out.",
        )
    return Recipe(name, copy, sha256_bytes(text))


def network_of(recipe: Recipe) -> str:
    """The network that a recipe trains, by the trainer's name for it."""
    return str(_mapping(recipe.file.read_bytes(), recipe.file).get("network", recipe.network))


def _mapping(text: bytes, source: Path) -> dict[str, Any]:
    try:
        value = load_yaml(text)
    except (ValueError, yaml.YAMLError) as error:
        message = f"{source} is no YAML: {str(error).splitlines()[0]}."
        raise BusbenchError(Code.USAGE, message, "Correct the recipe.") from error
    if not isinstance(value, dict):
        raise BusbenchError(Code.USAGE, f"{source} is no recipe.", "See docs/train.md for one.")
    return value

"""Weights to start a training from: read from a file, fitted to the network, and reported.

Files are safetensors, PyTorch's own, or a vision transformer's npz; no code in them is run.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional as F

from reference_models.backbones import FORMATS, Table
from reference_models.config import Config
from reference_models.errors import UsageError
from reference_models.files import sha256_bytes, write_atomically
from reference_models.run import build_network

NETWORK = "network"  # the metadata key that names the network of a file of ours
_WRAPPERS = ("model", "state_dict")  # keys under which training scripts keep the weights
_BROKEN = (OSError, ValueError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Start:
    """Where a training starts.

    Args:
        weights: by the names and in the shapes of the recipe's network; the others start fresh.
        digest: of the file they come from; empty without one.
        report: what was loaded and what was not, in one line.
    """

    weights: Mapping[str, Tensor]
    digest: str
    report: str


def no_start() -> Start:
    """Fresh weights alone."""
    return Start({}, "", "starting from fresh weights")


def read_start(path: Path, config: Config) -> Start:
    """Weights of a public backbone, or of a training of ours, for the recipe's network.

    Raises:
        UsageError: the file cannot be read, or contains nothing for this network.
    """
    found, network = read_weights(path)
    if network not in (None, config.network):
        raise UsageError(
            f"{path} contains the weights of {network}, not {config.network}.",
            f"Name another file, or set network: {network}.",
        )
    ours = build_network(config).state_dict()
    kind, sources = _sources(found, ours, config.network)
    fitted = {
        name: _fitted(name, found[public], ours[name], config=config)
        for name, public in sources.items()
        if public in found
    }
    weights = {name: value for name, value in fitted.items() if value is not None}
    if not weights:
        known = ", ".join(row.name for row in FORMATS if row.network == config.network)
        raise UsageError(
            f"{path} contains no weights for {config.network}.",
            f"Known: its own{', ' if known else ''}{known}.",
        )
    unused = found.keys() - {sources[name] for name in weights}
    odd = [name for name, value in fitted.items() if value is None]
    missing = ours.keys() - fitted.keys()
    report = (
        f"{path.name}, {kind}: {len(weights)} of {len(ours)} tensors loaded; "
        f"fresh: {_some(missing)}; of another shape: {_some(odd)}; not used: {_some(unused)}"
    )
    return Start(weights, sha256_bytes(path.read_bytes()), report)


def _sources(
    found: Mapping[str, Tensor], ours: Iterable[str], network: str
) -> tuple[str, dict[str, str]]:
    """What the file is, and the name in it of each weight that it might contain."""
    for row in FORMATS:
        if row.network == network and row.marker in found:
            pairs = ((name, _public(name, row.table)) for name in ours)
            return row.name, {name: public for name, public in pairs if public is not None}
    return f"weights of {network}", {name: name for name in ours}


def _public(name: str, table: Table) -> str | None:
    module, _, leaf = name.rpartition(".")
    if name in table:
        return table[name]
    return f"{table[module]}.{leaf}" if module in table else None


def _fitted(name: str, found: Tensor, ours: Tensor, *, config: Config) -> Tensor | None:
    """A tensor in the shape of ours; None where it is another thing."""
    if found.shape == ours.shape:
        return found.to(ours.dtype)
    if name.endswith("position") and found.ndim == 3 and found.shape[2] == ours.shape[2]:
        return _positions(found.float(), (config.input.height, config.input.width), ours)
    if name.endswith("attention.bias") and found.shape[1:] == ours.shape[1:]:
        return _offsets(found.float(), ours)
    if found.ndim == 4 and {found.shape[1], ours.shape[1]} == {1, 3}:
        # Grey is three equal channels: their weights add up, or are shared out.
        grey = found.float().sum(dim=1, keepdim=True)
        fitted = grey if ours.shape[1] == 1 else grey.expand(-1, 3, -1, -1) / 3
        return fitted.contiguous() if fitted.shape == ours.shape else None
    return None


def _positions(found: Tensor, size: tuple[int, int], ours: Tensor) -> Tensor | None:
    """Position embeddings (1, T, C) of a square grid, without a class token, on another grid."""
    side = math.isqrt(found.shape[1])
    extra = found.shape[1] - side**2
    if extra not in (0, 1):
        return None
    cell = math.isqrt(size[0] * size[1] // ours.shape[1])  # pixels of a token's side
    grid = found[:, extra:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    new = (size[0] // cell, size[1] // cell)
    grid = F.interpolate(grid, new, mode="bilinear", align_corners=True)
    return grid.flatten(2).transpose(1, 2).contiguous()


def _offsets(found: Tensor, ours: Tensor) -> Tensor:
    """Biases (offsets, heads) of one window's size for another, as in Swin's code."""
    old, new = math.isqrt(len(found)), math.isqrt(len(ours))
    grid = found.T.reshape(1, -1, old, old)
    grid = F.interpolate(grid, (new, new), mode="bicubic", align_corners=False)
    return grid.reshape(-1, new * new).T.contiguous()


def _some(names: Iterable[str], shown: int = 3) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - shown} more" if len(ordered) > shown else ""
    return (", ".join(ordered[:shown]) or "none") + more


def write_weights(path: Path, weights: Mapping[str, Tensor], config: Config) -> None:
    """Write the weights of a recipe's network as safetensors.

    Raises:
        MachineError: where the disk refuses.
    """
    whole = {name: value.contiguous() for name, value in weights.items()}
    write_atomically(path, safetensors.torch.save(whole, {NETWORK: config.network}))


def read_weights(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a file by name, and the network it is for where it says so.

    No code in a file is run: pickles are read as weights only, npz without objects.

    Raises:
        UsageError: it is missing, broken, or of another kind.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        known = ", ".join(_READERS)
        raise UsageError(f"{path} is no file of weights.", f"Name one that ends in {known}.")
    try:
        return reader(path)
    except (*_BROKEN, SafetensorError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} cannot be read as weights.", "Name a whole file, as it was published."
        ) from error


def _safetensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    with safetensors.safe_open(path, framework="pt") as file:
        network = (file.metadata() or {}).get(NETWORK)
        return {name: file.get_tensor(name) for name in file.keys()}, network  # noqa: SIM118


def _torch(path: Path) -> tuple[dict[str, Tensor], None]:
    value = torch.load(path, map_location="cpu", weights_only=True)
    for key in _WRAPPERS:
        value = value.get(key, value)
    return {name: tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}, None


def _npz(path: Path) -> tuple[dict[str, Tensor], None]:
    with np.load(path, allow_pickle=False) as file:
        return from_flax({name: file[name] for name in file.files}), None


def from_flax(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """The weights of a Flax vision transformer in PyTorch's layouts and with dots in the names.

    Kernels become (outputs, inputs, height, width) or (outputs, inputs), scales become weights, and
    query, key and value are joined, in this order, under `qkv`.
    """
    flat = {name.replace("/", "."): _laid_out(name, array) for name, array in arrays.items()}
    tensors = {
        name.replace(".kernel", ".weight").replace(".scale", ".weight"): torch.from_numpy(array)
        for name, array in flat.items()
    }
    for name in [name for name in tensors if ".query." in name]:
        parts = [tensors.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        tensors[name.replace("query", "qkv")] = torch.cat(parts)
    return tensors


def _laid_out(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if not name.endswith("/kernel"):
        flat = array if name.endswith("pos_embedding") else array.reshape(-1)
        return np.ascontiguousarray(flat, dtype=np.float32)
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 3:  # heads apart: of the outputs, or in `out` of the inputs
        inputs = -1 if "/out/" in name else array.shape[0]
        array = array.reshape(inputs, array.shape[2] if inputs == -1 else -1).T
    else:
        array = array.T
    return np.ascontiguousarray(array, dtype=np.float32)


_READERS = {".safetensors": _safetensors, ".pth": _torch, ".pt": _torch, ".npz": _npz}

"""In which files do weights come? safetensors, PyTorch's own, a vision transformer's npz."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from reference_models.config import Config
from reference_models.errors import UsageError
from reference_models.files import write_atomically

NETWORK = "network"  # the metadata key that names the network whose weights a file of ours holds
_WRAPPERS = ("model", "state_dict")  # keys under which training scripts keep the weights
_BROKEN = (OSError, ValueError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError)


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

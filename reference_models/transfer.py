"""Which weights can a training start from, which of them fit, and which do not?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from reference_models.backbones import FORMATS, Table
from reference_models.config import Config
from reference_models.errors import UsageError
from reference_models.files import sha256_bytes
from reference_models.run import build_network
from reference_models.weights import read_weights


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
        UsageError: the file cannot be read, or holds nothing for this network.
    """
    found, network = read_weights(path)
    if network not in (None, config.network):
        raise UsageError(
            f"{path} holds the weights of {network}, not {config.network}.",
            f"Name another file, or set network: {network}.",
        )
    wanted = build_network(config).state_dict()
    kind, sources = _sources(found, wanted, config.network)
    fitted = {
        name: _fitted(name, found[public], wanted[name], config)
        for name, public in sources.items()
        if public in found
    }
    weights = {name: value for name, value in fitted.items() if value is not None}
    if not weights:
        known = ", ".join(row.name for row in FORMATS if row.network == config.network)
        raise UsageError(
            f"{path} holds no weights for {config.network}.",
            f"Known: its own{', ' if known else ''}{known}.",
        )
    unused = found.keys() - {sources[name] for name in weights}
    odd = [name for name, value in fitted.items() if value is None]
    missing = wanted.keys() - fitted.keys()
    report = (
        f"{path.name}, {kind}: {len(weights)} of {len(wanted)} tensors loaded; "
        f"fresh: {_some(missing)}; of another shape: {_some(odd)}; not used: {_some(unused)}"
    )
    return Start(weights, sha256_bytes(path.read_bytes()), report)


def _sources(
    found: Mapping[str, Tensor], wanted: Iterable[str], network: str
) -> tuple[str, dict[str, str]]:
    """What the file is, and the name in it of each weight that it might hold."""
    for row in FORMATS:
        if row.network == network and row.sign in found:
            pairs = ((name, _public(name, row.table)) for name in wanted)
            return row.name, {name: public for name, public in pairs if public is not None}
    return f"weights of {network}", {name: name for name in wanted}


def _public(name: str, table: Table) -> str | None:
    module, _, leaf = name.rpartition(".")
    if name in table:
        return table[name]
    return f"{table[module]}.{leaf}" if module in table else None


def _fitted(name: str, found: Tensor, wanted: Tensor, config: Config) -> Tensor | None:
    """A tensor in the shape of ours; None where it is another thing."""
    if found.shape == wanted.shape:
        return found.to(wanted.dtype)
    if name.endswith("position") and found.ndim == 3 and found.shape[2] == wanted.shape[2]:
        return _positions(found.float(), (config.input.height, config.input.width), wanted)
    if name.endswith("attention.bias") and found.shape[1:] == wanted.shape[1:]:
        return _offsets(found.float(), wanted)
    if found.ndim == 4 and {found.shape[1], wanted.shape[1]} == {1, 3}:
        # Grey is three equal channels: their weights add up, or are shared out.
        grey = found.float().sum(dim=1, keepdim=True)
        fitted = grey if wanted.shape[1] == 1 else grey.expand(-1, 3, -1, -1) / 3
        return fitted.contiguous() if fitted.shape == wanted.shape else None
    return None


def _positions(found: Tensor, size: tuple[int, int], wanted: Tensor) -> Tensor | None:
    """Position embeddings (1, T, C) of a square grid, without a class token, on another grid."""
    side = math.isqrt(found.shape[1])
    extra = found.shape[1] - side**2
    if extra not in (0, 1):
        return None
    cell = math.isqrt(size[0] * size[1] // wanted.shape[1])  # pixels of a token's side
    grid = found[:, extra:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    new = (size[0] // cell, size[1] // cell)
    grid = F.interpolate(grid, new, mode="bilinear", align_corners=True)
    return grid.flatten(2).transpose(1, 2).contiguous()


def _offsets(found: Tensor, wanted: Tensor) -> Tensor:
    """Biases (offsets, heads) of one window's size for another, as in Swin's code."""
    old, new = math.isqrt(len(found)), math.isqrt(len(wanted))
    grid = found.T.reshape(1, -1, old, old)
    grid = F.interpolate(grid, (new, new), mode="bicubic", align_corners=False)
    return grid.reshape(-1, new * new).T.contiguous()


def _some(names: Iterable[str], shown: int = 3) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - shown} more" if len(ordered) > shown else ""
    return (", ".join(ordered[:shown]) or "none") + more

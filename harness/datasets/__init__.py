"""The datasets: one adapter a file, found by its fixed name, or by its file where it is yours."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from harness.datasets import breast, bus_uc, bus_uclm, busbra, busi, generic, phantom, yap2018
from harness.datasets.base import Adapter, RawCase, Refusal, Release
from harness.spelling import did_you_mean

MODULES = (busi, busbra, bus_uc, bus_uclm, yap2018, breast, phantom, generic)
ADAPTERS: dict[str, Adapter] = {module.ADAPTER.name: module.ADAPTER for module in MODULES}
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def adapter(name: str) -> Adapter:
    """The adapter of a dataset: by its name, or from the Python file that defines `ADAPTER`.

    Raises:
        BusbenchError: `usage` where no dataset has that name, or the file defines no adapter.
    """
    if name.endswith(".py"):
        return _from_file(Path(name))
    if name not in ADAPTERS:
        known = ", ".join(sorted(ADAPTERS))
        nearest = did_you_mean(name, ADAPTERS)
        remedy = f"{nearest}Name one of {known}, or the Python file of an adapter."
        raise BusbenchError(Code.USAGE, f"No dataset is called {name!r}.", remedy)
    return ADAPTERS[name]


def is_synthetic(dataset: str) -> bool:
    """Whether a dataset is of generated images, which show no patient."""
    return dataset in ADAPTERS and ADAPTERS[dataset].synthetic


def _from_file(path: Path) -> Adapter:
    remedy = "See docs/add-a-dataset.md."
    spec = importlib.util.spec_from_file_location("busbench_dataset", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise BusbenchError(Code.USAGE, f"{path} is not a Python file.", remedy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, "ADAPTER", None)
    if not isinstance(found, Adapter) or not NAME.fullmatch(found.name):
        raise BusbenchError(Code.USAGE, f"{path} defines no ADAPTER with a usable name.", remedy)
    return found


__all__ = ["ADAPTERS", "Adapter", "RawCase", "Refusal", "Release", "adapter", "is_synthetic"]

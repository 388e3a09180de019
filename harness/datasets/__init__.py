"""The datasets: one adapter a file, found by its fixed name."""

from __future__ import annotations

from evaluator.errors import BusbenchError
from harness.datasets import busbra, generic, phantom
from harness.datasets.base import Adapter, RawCase, Refusal, Release

ADAPTERS: dict[str, Adapter] = {
    module.ADAPTER.name: module.ADAPTER for module in (busbra, phantom, generic)
}


def adapter(name: str) -> Adapter:
    """The adapter of a dataset.

    Raises:
        BusbenchError: `usage` where no dataset has that name.
    """
    if name not in ADAPTERS:
        known = ", ".join(sorted(ADAPTERS))
        raise BusbenchError("usage", f"No dataset is called {name!r}.", f"Name one of: {known}.")
    return ADAPTERS[name]


__all__ = ["ADAPTERS", "Adapter", "RawCase", "Refusal", "Release", "adapter"]

"""All verbs, registered by importing their modules; the order is the order of `--help`."""

from harness.cli import demo, prepare, audit, splits, keys, lanes, benchmark, results  # noqa: I001

__all__ = ["audit", "benchmark", "demo", "keys", "lanes", "prepare", "results", "splits"]

"""All verbs, registered by importing their modules; the order is the order of `--help`."""

from harness.cli import doctor, demo, prepare, audit, splits, keys, lanes, results  # noqa: I001

__all__ = ["audit", "demo", "doctor", "keys", "lanes", "prepare", "results", "splits"]

"""All verbs, registered by importing their modules; the order is the order of `--help`."""

from harness.cli import keys, results

__all__ = ["keys", "results"]

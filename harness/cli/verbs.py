"""All verbs, registered by importing their modules; the order is the order of `--help`."""

from harness.cli import demo, prepare, audit, splits, keys, lanes, ledger, template, verify, results  # noqa: I001

__all__ = [
    "audit",
    "demo",
    "keys",
    "lanes",
    "ledger",
    "prepare",
    "results",
    "splits",
    "template",
    "verify",
]

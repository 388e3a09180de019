"""All verbs, registered by importing their modules; the order is the order of `--help`."""

from harness.cli import doctor, demo, prepare, audit, splits, sealing, train, evaluate, benchmark  # noqa: I001
from harness.cli import ledger, template, verify, results

__all__ = [
    "audit",
    "benchmark",
    "demo",
    "doctor",
    "evaluate",
    "ledger",
    "prepare",
    "results",
    "sealing",
    "splits",
    "template",
    "train",
    "verify",
]

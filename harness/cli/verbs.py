"""All verbs, registered by importing their modules; the order is the order of `--help`."""

from harness.cli import prepare  # noqa: F401, I001
from harness.cli import audit  # noqa: F401

"""The doctor: whether this machine is fit for an evaluation, and what should be repaired.

`examine` goes through a table of small checks; none of them changes anything.
"""

from harness.doctor.checks import CHECKS, Context, examine
from harness.doctor.finding import Finding, exit_status

__all__ = ["CHECKS", "Context", "Finding", "examine", "exit_status"]

"""The doctor: whether this machine is fit for an evaluation, and what should be repaired.

`examine` goes through a table of small checks; none of them changes anything. Where there is a
GPU to hand over, one starts a container.
"""

from harness.doctor.checks import CHECKS, examine
from harness.doctor.context import Context
from harness.doctor.finding import Finding, exit_status

__all__ = ["CHECKS", "Context", "Finding", "examine", "exit_status"]

"""The audit: which cases belong on one side of a split, and which splits leak.

`audit` looks at a case store and reports pairs and groups; `judge` compares any split with that
report; `read_splits` reads the splits of others; `sheet` shows the pairs to a person.
"""

from harness.audit.parts import read_splits
from harness.audit.report import AuditReport, Kind, Pair, connected_groups
from harness.audit.run import audit
from harness.audit.sheet import sheet
from harness.audit.verdict import Verdict, judge

__all__ = [
    "AuditReport",
    "Kind",
    "Pair",
    "Verdict",
    "audit",
    "connected_groups",
    "judge",
    "read_splits",
    "sheet",
]

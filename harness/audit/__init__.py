"""The audit: which cases can't stand on two sides of a split, and which splits leak.

`audit` looks at a case store and reports pairs and groups; `judge` holds any split against that
report; `read_splits` reads the splits of others.
"""

from harness.audit.parts import read_splits
from harness.audit.report import AuditReport, Kind, Pair, connected_groups
from harness.audit.run import audit
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
]

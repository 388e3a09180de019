"""The audit: which cases belong on one side of a split, and which splits leak.

`audit` looks at a case store and reports pairs and groups; `judge` compares any split with that
report. `published` reads the splits of others, `certificate` judges them, `across` compares stores,
and `sheet` shows the pairs to a person; they are heavy to import, and so not imported here.
"""

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
]

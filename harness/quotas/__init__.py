"""Feedback: how often may a team hand in, and what may it learn? One policy, one place.

`policy` decides, purely; `log` remembers who handed in what, beside the ledger.
"""

from harness.quotas.policy import Feedback, HandedIn, Submitted, demand_open, phase_on, show
from harness.quotas.submission_log import SubmissionLog

__all__ = ["Feedback", "HandedIn", "SubmissionLog", "Submitted", "demand_open", "phase_on", "show"]

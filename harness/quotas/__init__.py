"""Quotas and feedback: how often a team may submit, and what it may learn.

`policy` decides, purely; the submission log beside the ledger keeps what was submitted; `recording`
applies both to evaluation jobs.
"""

from harness.quotas.policy import Feedback, HandedIn, Submitted, phase_on, require_open, show
from harness.quotas.submission_log import SubmissionLog

__all__ = ["Feedback", "HandedIn", "SubmissionLog", "Submitted", "phase_on", "require_open", "show"]

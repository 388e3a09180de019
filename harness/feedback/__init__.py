"""Feedback: how often may a team hand in, and what may it learn? One policy, one place.

`policy` decides, purely; `book` remembers who handed in what, beside the ledger.
"""

from harness.feedback.book import Book
from harness.feedback.policy import Feedback, HandedIn, Submitted, demand_open, phase_on, show

__all__ = ["Book", "Feedback", "HandedIn", "Submitted", "demand_open", "phase_on", "show"]

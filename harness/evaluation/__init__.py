"""Evaluation of a submission: gate, inference, scoring, and the signed report of them."""

"""Experiments whose numbers the documentation states, and whose parts the tests hold to account."""

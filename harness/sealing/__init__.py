"""Sealing: who may open what. Keys, and the test cases encrypted to them."""

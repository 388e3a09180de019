"""Lanes: the ways in. Training in a container, checking, and evaluating a submission folder."""

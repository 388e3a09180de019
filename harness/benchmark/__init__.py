"""Grids of networks and tracks, trained fold by fold and evaluated."""

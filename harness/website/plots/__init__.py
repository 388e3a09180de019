"""Plots of a track, a split and a training: charts, how they are drawn, and what each shows."""

"""Validation Dice by epoch, one line per fold, as an image: docs/curves.svg.

Run from the project's root: `python -m benchmarks.curves docs/curves.svg WORK...`, where each WORK
is a training's folder with its `fold-<k>.csv`; the folder's name is the title.
"""

from __future__ import annotations

import sys
from pathlib import Path

import altair as alt
import pandas as pd


def panel(folder: Path) -> alt.Chart:
    """The curves of one training."""
    logs = {path.stem: pd.read_csv(path) for path in sorted(folder.glob("fold-*.csv"))}
    rows = pd.concat(logs, names=["fold"]).reset_index("fold")
    dice = alt.Y("dice:Q", title="validation Dice").scale(domain=(0.4, 0.9), clamp=True)
    lines = alt.Chart(rows, title=folder.name, width=300, height=220).mark_line()
    chart: alt.Chart = lines.encode(alt.X("epoch:Q"), dice, alt.Color("fold:N", title=None))
    return chart


if __name__ == "__main__":
    alt.hconcat(*(panel(Path(work)) for work in sys.argv[2:])).save(sys.argv[1])

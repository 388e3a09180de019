"""How did trainings go? Validation Dice by epoch, a line a fold, as a picture.

Run from the project's root: `python -m benchmarks.curves WORK... --out docs/curves.svg`, where each
WORK holds a training's `fold-<k>.csv`; its folder's name is the title.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import altair as alt
import pandas as pd


def curves(folders: list[Path]) -> alt.HConcatChart:
    """One panel a training."""
    panels = []
    for folder in folders:
        logs = {path.stem: pd.read_csv(path) for path in sorted(folder.glob("fold-*.csv"))}
        rows = pd.concat(logs, names=["fold"]).reset_index("fold")
        panel = alt.Chart(rows, title=folder.name, width=300, height=220).mark_line()
        panels.append(
            panel.encode(
                alt.X("epoch:Q"),
                alt.Y("dice:Q", title="validation Dice").scale(domain=(0.4, 0.9), clamp=True),
                alt.Color("fold:N", title=None),
            )
        )
    return alt.hconcat(*panels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/curves.svg"))
    arguments = parser.parse_args()
    curves(arguments.work).save(arguments.out)


if __name__ == "__main__":
    main()

"""nnU-Net at a size that one core can train: fewer maps, smaller tiles, shorter epochs.

    build/nnunet/bin/python -m benchmarks.board.nnunet TEMPLATE --bundle BUNDLE --out OUT --epochs 8

runs `train.py` of a folder that `busbench new-submission --like nnunet` made. Plans, augmentation,
loss and training are nnU-Net's own; what is smaller is stated here. Its answers are not averaged
with those for mirror images.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import sys
from typing import Any

TILE = 320  # pixels a side
MAPS = (8, 16, 32, 64, 128)  # of the network's stages
STEPS = 25  # of an epoch, with two tiles each


def main() -> None:
    _, template, *words = sys.argv
    sys.path.insert(0, template)
    sys.argv = [template, *words]
    train = importlib.import_module("train")
    train.SMALL, train.MAPS, train.STEPS = TILE, MAPS, STEPS
    stated = train.arguments

    def arguments(*defaults: Any, **own: str) -> argparse.Namespace:
        """As stated, and small; `--quick` by itself allows one epoch."""
        options: argparse.Namespace = stated(*defaults, **own)
        options.quick = True
        return options

    train.arguments = arguments
    train.export = functools.partial(train.export, mirroring=False)  # a quarter of the cost
    train.main()


if __name__ == "__main__":
    main()

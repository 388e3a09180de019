"""nnU-Net at a size that one core can train: fewer maps, smaller tiles, shorter epochs.

    build/nnunet/bin/python -m benchmarks.board.nnunet TEMPLATE --bundle BUNDLE --out OUT --epochs 12

runs `train.py` of a folder that `busbench new-submission --like nnunet` made. Plans, training,
augmentation and loss are nnU-Net's own; what is smaller is stated here.
"""

from __future__ import annotations

import importlib
import sys

TILE = 320  # pixels a side
MAPS = (8, 16, 32, 64, 128)  # of the network's stages
STEPS = 25  # of an epoch, with two tiles each


def main() -> None:
    _, template, *words = sys.argv
    sys.path.insert(0, template)
    sys.argv = [template, *words, "--quick"]
    train = importlib.import_module("train")
    train.SMALL, train.MAPS, train.STEPS = TILE, MAPS, STEPS
    train.main()


if __name__ == "__main__":
    main()

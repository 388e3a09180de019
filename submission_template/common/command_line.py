"""The command line that every `train.py` shares."""

import argparse
from pathlib import Path


def arguments(epochs: int) -> argparse.Namespace:
    """`--bundle`, `--out`, `--epochs`, and `--quick` for a try that learns nothing.

    In the sandbox the command is `run --bundle /in/bundle --out /out` unless you name another.
    """
    parser = argparse.ArgumentParser(description="Train on a training bundle, leave a submission.")
    parser.add_argument("verb", nargs="?", choices=["run"], help="may be left out")
    parser.add_argument("--bundle", type=Path, required=True, help="the training bundle")
    parser.add_argument("--out", type=Path, required=True, help="where the submission goes")
    parser.add_argument("--epochs", type=int, default=epochs, help=f"default: {epochs}")
    quick = parser.add_argument("--quick", action="store_const", const=1, dest="epochs")
    quick.help = "one pass, to see that it runs"
    return parser.parse_args()

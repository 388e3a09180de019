"""The command line that every `train.py` shares."""

import argparse
from pathlib import Path


def arguments(epochs: int, **own: str) -> argparse.Namespace:
    """`--bundle`, `--out`, `--epochs`, and `--quick` for a try that learns nothing.

    Args:
        epochs: how many, unless the command line says otherwise.
        own: options of your own by name, each with its default.

    In the sandbox the command is `run --bundle /in/bundle --out /out` unless you name another.
    """
    parser = argparse.ArgumentParser(description="Train on a training bundle, leave a submission.")
    parser.add_argument("verb", nargs="?", choices=["run"], help="may be left out")
    parser.add_argument("--bundle", type=Path, required=True, help="the training bundle")
    parser.add_argument("--out", type=Path, required=True, help="where the submission goes")
    parser.add_argument("--epochs", type=int, default=epochs, help=f"default: {epochs}")
    parser.add_argument("--quick", action="store_true", help="one pass, to see that it runs")
    for name, default in own.items():
        parser.add_argument(f"--{name}", default=default, help=f"default: {default}")
    options = parser.parse_args()
    options.epochs = 1 if options.quick else options.epochs
    return options

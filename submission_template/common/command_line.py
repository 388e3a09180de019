"""The command line that every `train.py` shares."""

import argparse
from pathlib import Path


def arguments() -> argparse.Namespace:
    """`--bundle`, `--out`, and `--quick` for a try that learns nothing."""
    parser = argparse.ArgumentParser(description="Train on a training bundle, leave a submission.")
    parser.add_argument("--bundle", type=Path, required=True, help="the training bundle")
    parser.add_argument("--out", type=Path, required=True, help="where the submission goes")
    parser.add_argument("--quick", action="store_true", help="one pass, to see that it runs")
    return parser.parse_args()

"""The command line that every `train.py` shares."""

import argparse
from pathlib import Path


def arguments(epochs: int, **own: dict) -> argparse.Namespace:
    """`--bundle`, `--out`, `--epochs`, and `--quick` for a try that learns nothing.

    Args:
        epochs: how many, unless the command line says otherwise.
        own: options of your own by name, each with the keywords of argparse's `add_argument`. One
            whose value `--quick` decides has that value as `quick`, and is refused beside it.

    In the sandbox the command is `run --bundle /in/bundle --out /out` unless you name another.
    """
    parser = argparse.ArgumentParser(description="Train on a training bundle, leave a submission.")
    parser.add_argument("verb", nargs="?", choices=["run"], help="may be left out")
    parser.add_argument("--bundle", type=Path, required=True, help="the training bundle")
    parser.add_argument("--out", type=Path, required=True, help="where the submission goes")
    parser.add_argument("--quick", action="store_true", help="one pass, to see that it runs")
    own = {"epochs": {"type": count, "default": epochs, "quick": 1, "help": "how many"}} | own
    usual, quick = {}, {}
    for name, stated in own.items():
        words = {key: value for key, value in stated.items() if key not in ("default", "quick")}
        usual[name] = stated["default"]
        if "quick" in stated:
            quick[name] = stated["quick"]
        if stated["default"] is not False:
            words["help"] = f"{stated['help']}; default: {stated['default']}"
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, default=argparse.SUPPRESS, **words)
    options = parser.parse_args()
    if both := options.quick and [name for name in quick if name in options]:
        parser.error(f"--quick decides --{both[0]}: leave one of them out")
    decided = usual | (quick if options.quick else {})
    return argparse.Namespace(**(decided | vars(options)))


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)

"""What is said, by every backend alike, when a model or its device fails."""

from __future__ import annotations

from evaluator.errors import BusbenchError, Code


def model_failed(file: str, verb: str, runtime: str, reason: str) -> BusbenchError:
    """The error of a model that cannot be loaded or run.

    Args:
        verb: `loaded` or `run`.
        runtime: its name and version.
    """
    return BusbenchError(
        Code.MODEL_FAILED,
        f"{file} cannot be {verb} by {runtime}: {reason}.",
        "Load it with the same ONNX Runtime version on your side first.",
    )


def device_unavailable(device: str, reason: str, needed: str) -> BusbenchError:
    """The error of a device that is not the one asked for; `needed` is what would bring it."""
    return BusbenchError(
        Code.DEVICE_UNAVAILABLE,
        f"--device {device} was asked for, but {reason}.",
        f"{needed} beside a working CUDA driver, or use --device cpu.",
    )


def first_line(text: str) -> str:
    """The first line of a runtime's message, in bounds and without its full stop."""
    lines = text.strip().splitlines() or ["no reason given"]
    return lines[0][:300].rstrip(".")

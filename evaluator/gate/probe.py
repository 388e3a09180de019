"""The process in which a model is really opened, and which may die.

Started by `evaluator.gate.contained`, never imported. It puts limits on itself and gives up every
change outside its empty folder before it touches the model, then prints one line for each step it
takes: `stage WHAT`, `refused CODE DETAIL`, `failed WHY` or `done JSON`. Nothing is caught here:
whatever ends this process is for the parent to judge.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import sys
from pathlib import Path
from types import TracebackType

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from evaluator.documents.submission import InputSpec, OutputSpec
from evaluator.gate.confinement import confine
from evaluator.gate.contained import LOADING, SHAPING, STARTED
from evaluator.gate.macs import cost
from evaluator.inference.outputs import find_trouble
from evaluator.inference.preprocessing import to_input

_MAX_FILE_BYTES = 64 << 20  # a folded graph without its large weights, or a report
_SHOWN = ("speckle", "a black image")
_MIXED = 0.1  # of the map's spread: what integer arithmetic over a whole batch may move it


def _say(word: str, text: str) -> None:
    print(word, " ".join(text.split())[:400], flush=True)


def _report_failure(
    kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    _say("failed", f"{kind.__name__}: {error}")


def _limit(seconds: float, size: int) -> None:
    """Limits that this process, and whatever takes it over, cannot raise again."""
    for kind, value in (
        (resource.RLIMIT_AS, size),
        (resource.RLIMIT_CPU, math.ceil(seconds)),
        (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # SIGXCPU at the soft CPU limit distinguishes time from memory; SIGKILL comes later
        grace = 5 if kind == resource.RLIMIT_CPU else 0
        ceiling = soft + grace if hard == resource.RLIM_INFINITY else min(soft + grace, hard)
        resource.setrlimit(kind, (soft, ceiling))


def _cost() -> None:
    """Shape inference on the lightened model that comes in on standard input."""
    _say("stage", SHAPING)
    light = ModelProto.FromString(sys.stdin.buffer.read())
    _say("done", cost(light).model_dump_json())


def _images(args: argparse.Namespace) -> NDArray[np.float32]:
    """Two inputs (2, C, H, W), prepared as declared, in the order of `_SHOWN`."""
    spec = args.input
    speckle = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width), np.uint8)
    return np.stack([to_input(image, spec) for image in (speckle, np.zeros_like(speckle))])


def _load(args: argparse.Namespace) -> None:
    """Load the model as inference will, and run it at batch 1 and 2."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False  # an arena takes more than is needed
    options.add_session_config_entry("session.load_model_format", "ONNX")
    os.chdir(args.folder)  # so that complaints name the file alone
    _say("stage", LOADING)
    session = onnxruntime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    fixed = session.get_inputs()[0].shape[0] == 1
    images = _images(args)
    maps = []
    for batch in (images[:1],) if fixed else (images[:1], images):
        _say("stage", f"while it ran at batch {len(batch)}")
        (output,) = session.run(None, {name: batch})
        trouble = find_trouble(output, batch.shape, args.output)
        if trouble is not None:
            _say(
                "refused", f"G-RESULT-{trouble.what} {_where(output, args.output)}{trouble.detail}"
            )
            return
        maps.append(output)
    if len(maps) == 2 and _differ(maps[0][0], maps[1][0]):
        _say("refused", "G-BATCH Its map of one image depends on the batch that it comes in.")
        return
    _say("done", "{}")


def _where(output: NDArray[np.float32], spec: OutputSpec) -> str:
    """The first image whose map alone is unsound, where one is: black after speckle."""
    for shown, single in zip(_SHOWN, output, strict=False):
        batch = single[None]
        shape = (1, 1, *batch.shape[2:]) if batch.ndim == 4 else batch.shape
        trouble = find_trouble(batch, shape, spec)
        if trouble is not None and trouble.what in ("NON-FINITE", "RANGE"):
            return f"For {shown}: "
    return ""


def _differ(alone: NDArray[np.float32], together: NDArray[np.float32]) -> bool:
    """Whether two maps of one image differ by more than arithmetic can explain."""
    gap = float(np.abs(alone.astype(np.float64) - together).mean())
    return gap > _MIXED * float(alone.std(dtype=np.float64)) + 1e-4 * float(np.abs(alone).max())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("cost", "load"))
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--folder")
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--input", type=InputSpec.model_validate_json)
    parser.add_argument("--output", type=OutputSpec.model_validate_json)
    return parser.parse_args()


def main() -> None:
    """Limit this process, then do the one task it was started for."""
    args = _arguments()
    confine(Path.cwd())
    _limit(args.seconds, args.bytes)
    sys.excepthook = _report_failure
    _say("stage", STARTED)
    if args.task == "cost":
        _cost()
    else:
        _load(args)


if __name__ == "__main__":
    main()

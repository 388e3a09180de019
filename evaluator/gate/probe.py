"""The process in which a model is really opened, and which may die.

Started by `evaluator.gate.contained`, never imported. Each fork of it puts limits on itself and
gives up every change outside its empty folder before it touches a model, then prints one line for
each step it takes. Nothing is caught here: whatever ends a fork is for others to judge.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from evaluator.documents.input_spec import InputSpec, Size
from evaluator.documents.submission import OutputSpec
from evaluator.gate.confinement import confine
from evaluator.gate.contained import LOADING, SHAPING, STARTED, Load, Task
from evaluator.gate.forking import say, serve
from evaluator.gate.macs import cost
from evaluator.inference.outputs import find_bent, find_trouble
from evaluator.inference.placement import values_for

_MAX_FILE_BYTES = 64 << 20  # a folded graph without its large weights, or a report
_SHOWN = ("speckle", "a black image", "a drawn lesion", "an image of low contrast")
_LESION = 2  # of those
_BATCHES = ((0,), (0, 1), (2, 3))  # of those; a network of batch 1 takes each alone
_MIXED = 0.1  # of the map's spread: what integer arithmetic over a whole batch may move it


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


def _cost(model: bytes) -> None:
    """Shape inference on the lightened model."""
    say("stage", SHAPING)
    light = ModelProto.FromString(model)
    say("done", cost(light).model_dump_json())


def _images(spec: InputSpec, height: int, width: int) -> NDArray[np.float32]:
    """Four inputs (4, C, H, W), prepared as declared, in the order of `_SHOWN`."""
    rng = np.random.default_rng(0)
    speckle = rng.integers(0, 256, (height, width), np.uint8)
    drawn = _draw_lesion(height, width, rng)
    faint = (100 + drawn // 16).astype(np.uint8)
    shown = (speckle, np.zeros_like(speckle), drawn, faint)
    # of the input's size: as they are
    return np.stack([values_for(image, spec)[:, image] for image in shown])


def _draw_lesion(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Multiplicative speckle on tissue that darkens with depth, and a dark ellipse (H, W)."""
    down, right = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    tissue = 150 - 40 * down - 95 * ((down / 0.35) ** 2 + (right / 0.45) ** 2 < 1)
    image: NDArray[np.uint8] = np.clip(tissue * rng.gamma(12, 1 / 12, tissue.shape), 0, 255).astype(
        np.uint8
    )
    return image


def _load(task: Load) -> None:
    """Load the model as inference will, and run it at batch 1 and 2, and at each size."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False  # an arena takes more than is needed
    options.add_session_config_entry("session.load_model_format", "ONNX")
    os.chdir(task.folder)  # so that complaints name the file alone
    say("stage", LOADING)
    session = onnxruntime.InferenceSession(task.model, options, providers=["CPUExecutionProvider"])
    fixed = session.get_inputs()[0].shape[0] == 1
    first, *others = task.sizes
    maps = _run(session, task, first, batches=[(n,) for n in range(4)] if fixed else _BATCHES)
    for size in others if maps else ():
        if not _run(session, task, size, batches=[(_LESION,)]):
            return
    if not maps:
        return
    if not fixed and _differ(maps[0][0], maps[1][0]):
        say("refused", "G-BATCH Its map of one image depends on the batch that it comes in.")
        return
    cure = find_bent(np.concatenate(maps), task.output) if task.bent else None
    if cure is not None:
        say("refused", f"G-RESULT-RANGE {cure}")
        return
    say("done", "{}")


def _run(
    session: onnxruntime.InferenceSession,
    task: Load,
    size: Size,
    *,
    batches: Sequence[tuple[int, ...]],
) -> list[NDArray[np.float32]]:
    """The maps of batches of images of one size; none where a result is refused, which is said."""
    name, kind = session.get_inputs()[0].name, session.get_inputs()[0].type
    taken = np.float16 if kind == "tensor(float16)" else np.float32
    images, maps = _images(task.input, *size).astype(taken), []
    at = f" and {size[0]} x {size[1]} pixels" if task.input.is_native else ""
    for chosen in batches:
        batch = images[list(chosen)]
        say("stage", f"while it ran at batch {len(batch)}{at}")
        (output,) = session.run(None, {name: batch})
        trouble = find_trouble(output, batch.shape, task.output)
        if trouble is not None:
            where = _where(output, task.output, [_SHOWN[n] for n in chosen])
            say("refused", f"G-RESULT-{trouble.what} {where}{trouble.detail}")
            return []
        maps.append(output.astype(np.float32))
    return maps


def _where(output: NDArray[np.float32], spec: OutputSpec, names: Sequence[str]) -> str:
    """The first image whose map alone is unsound, where one is."""
    for shown, single in zip(names, output, strict=False):
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


def do(task: Task, model: bytes) -> None:
    """Limit this process, then do the one task it was forked for."""
    confine(Path.cwd())
    _limit(task.cpu_seconds, task.address_space)
    say("stage", STARTED)
    if task.load is None:
        _cost(model)
    else:
        _load(task.load)


if __name__ == "__main__":
    serve(do)

"""A participant's first folder: `submission_template/`, with their names in it.

The template's files are real files: those that end in `.j2` are rendered, all others copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from harness.folders import whole_folder

TEMPLATE = Path(__file__).resolve().parents[1] / "submission_template"
COMMON, TORCH, LOOP = "common", "torch", "torch_loop"
HELPER = TEMPLATE / COMMON / "dataset.py"  # reads a training bundle, and is in each
SUFFIX = ".j2"


class Kind(StrEnum):
    """What a participant's method is like."""

    PYTORCH = "pytorch"
    PREPROCESSING = "preprocessing"
    SKLEARN = "sklearn"
    ENSEMBLE = "ensemble"
    NNUNET = "nnunet"
    SMP = "smp"
    MONAI = "monai"
    KERAS = "keras"


ABOUT = {
    Kind.PYTORCH: "A PyTorch network, one model a fold.",
    Kind.PREPROCESSING: "A network in nnU-Net's manner, its preprocessing inside the ONNX file.",
    Kind.SKLEARN: "Scikit-learn on each pixel, made into ONNX by skl2onnx.",
    Kind.ENSEMBLE: "The fold models' mean, in one ONNX file.",
    Kind.NNUNET: "nnU-Net itself, with its own plans and the bundle's folds.",
    Kind.SMP: "A network of segmentation_models_pytorch, one model a fold.",
    Kind.MONAI: "A MONAI network, defined as in a MONAI bundle, one model a fold.",
    Kind.KERAS: "A Keras network, one model a fold, made into ONNX by tf2onnx.",
}
PACKAGES = {  # what a kind needs beside PyTorch's common packages
    Kind.SMP: ("segmentation-models-pytorch>=0.6,<0.7",),
    Kind.MONAI: ("monai>=1.6,<2",),
    Kind.NNUNET: ("nnunetv2>=2.8,<2.9",),
}
PARTS = {kind: (COMMON, TORCH, LOOP, kind.value) for kind in Kind} | {
    Kind.SKLEARN: (COMMON, Kind.SKLEARN.value),
    Kind.KERAS: (COMMON, Kind.KERAS.value),
    Kind.NNUNET: (COMMON, TORCH, Kind.NNUNET.value),
}


def new_submission(folder: Path, kind: Kind, team: str, *, method: str) -> list[Path]:
    """Write a new submission project, whole or not at all.

    Returns:
        Its files, relative to `folder`, in order.

    Raises:
        BusbenchError: `output-exists` where the folder is taken, `disk-full`.
    """
    files = dict(_rendered(kind, team, method))
    with whole_folder(folder) as partial:
        for path, data in files.items():
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / path).write_bytes(data)
    return sorted(files)


def _rendered(kind: Kind, team: str, method: str) -> Iterator[tuple[Path, bytes]]:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  who reads HELPER needs none

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    cuda = TORCH in PARTS[kind]
    names = {
        "team": team,
        "method": method,
        "about": ABOUT[kind],
        "image": image_name(method),
        "packages": PACKAGES.get(kind, ()),
        "cuda": cuda,  # whether its framework has a build for GPUs
        "loop": LOOP in PARTS[kind],  # whether it has our training loop
        "kind": kind.value,
        "requirements": "requirements-cpu.txt" if cuda else "requirements.txt",
    }
    for part in PARTS[kind]:
        for source in sorted((TEMPLATE / part).rglob("*")):
            if source.is_dir() or "__pycache__" in source.parts:
                continue
            path, data = source.relative_to(TEMPLATE / part), source.read_bytes()
            if path.suffix == SUFFIX:
                text = environment.from_string(data.decode()).render(names)
                path, data = path.with_suffix(""), text.encode()
            yield path, data


def image_name(method: str) -> str:
    """A name that an engine takes: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", method.lower()).strip("-") or "my-method"

"""Write `containers/locks/<room>.txt`: the exact versions that each image installs.

Run by `make lock`. For each room a fresh virtual environment takes the room's packages within the
ranges of pyproject.toml, and what pip chose is written down.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRITON = "tritonclient[grpc]"
# Which of the project's dependencies each room imports.
ROOMS = {
    "infer": ("numpy", "onnx", "onnxruntime", "Pillow", "pydantic", "pyrage", "PyYAML"),
    "triton": ("numpy", "onnx", "onnxruntime", "Pillow", "pydantic", "pyrage", "PyYAML", TRITON),
    "score": ("numpy", "numba", "Pillow", "pyarrow", "pydantic", "pyrage", "PyYAML", "scipy"),
    "participant": (
        *("numpy", "onnx", "onnxruntime", "Pillow", "pydantic", "PyYAML", "safetensors", "torch"),
    ),
}
TORCH = "torch==2.13.0"  # exact, so that pip keeps to the build it finds first


def requirements() -> dict[str, str]:
    """Every requirement of pyproject.toml by its package's name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + extras["evaluator"] + extras["triton"] + extras["models"]
    names = {line: line.split("=")[0].rstrip("<>!~ ") for line in lines}
    return {name: line for line, name in names.items()}


def lock(room: str) -> None:
    """Write one room's lock file."""
    known = requirements()
    wanted = [TORCH if name == "torch" else known[name] for name in ROOMS[room] if name in known]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", *wanted], check=True)
        frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    # a local build's suffix (`+cpu`) names a file that other sites do not have
    lines = [line.split("+")[0] for line in frozen.splitlines()]
    (ROOT / "containers" / "locks" / f"{room}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:] or ROOMS:
        lock(name)

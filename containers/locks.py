"""Write `containers/locks/<component>.txt`: the exact versions that each image installs.

Run by `make lock`. For each component pip chooses the component's packages within the ranges of
pyproject.toml, as for an empty environment, and what it chose is written down.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRITON = "tritonclient[grpc]"
CUDA = "onnxruntime-gpu[cuda,cudnn]"
# Which of the project's dependencies each component imports.
COMPONENTS = {
    "infer": ("numpy", "onnx", "onnxruntime", "Pillow", "pydantic", "pyrage", "PyYAML"),
    "infer-gpu": ("numpy", "onnx", CUDA, "Pillow", "pydantic", "pyrage", "PyYAML"),
    "triton": ("numpy", "onnx", "onnxruntime", "Pillow", "pydantic", "pyrage", "PyYAML", TRITON),
    "score": ("numpy", "numba", "Pillow", "pyarrow", "pydantic", "pyrage", "PyYAML", "scipy"),
    "participant": (
        "numpy",
        "onnx",
        "onnxruntime",
        "Pillow",
        "pydantic",
        "PyYAML",
        "safetensors",
        "torch",
    ),
}
TORCH = "torch==2.13.0"  # exact, so that pip keeps to the build it finds first


def requirements() -> dict[str, str]:
    """Every requirement of pyproject.toml by its package's name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = ("evaluator", "gpu", "triton", "models")
    lines = project["dependencies"] + [line for extra in wanted for line in extras[extra]]
    names = {line: line.split("=")[0].rstrip("<>!~ ") for line in lines}
    return {name: line for line, name in names.items()}


def lock(component: str) -> None:
    """Write one component's lock file."""
    known = requirements()
    wanted = [
        TORCH if name == "torch" else known[name] for name in COMPONENTS[component] if name in known
    ]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    dry = [*pip, "--dry-run", "--ignore-installed", "--report", "-", *wanted]
    report = subprocess.run(dry, check=True, stdout=subprocess.PIPE).stdout
    chosen = (item["metadata"] for item in json.loads(report)["install"])
    # a local build's suffix (`+cpu`) names a file that other sites do not have
    lines = [f"{one['name']}=={one['version'].split('+')[0]}" for one in chosen]
    text = "\n".join(sorted(lines, key=str.lower)) + "\n"
    (ROOT / "containers" / "locks" / f"{component}.txt").write_text(text)


if __name__ == "__main__":
    for name in sys.argv[1:] or COMPONENTS:
        lock(name)

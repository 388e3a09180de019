"""Write `containers/locks/<component>.txt`: what each image installs, by version and hash.

Run by `make lock`. For each component pip chooses the component's packages within the ranges of
pyproject.toml, as for an empty environment, and what it chose is written down with the SHA-256 of
the file, and that of the same release for the other architecture. With `--keep` the versions stay,
and the hashes alone are fetched again.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "containers" / "locks"
TRITON = "tritonclient[grpc]"
AGE = "cryptography"  # for what is sealed
NVML, CUDA = "nvidia-ml-py", "onnxruntime-gpu[cuda,cudnn]"
# Which of the project's dependencies each component imports.
COMPONENTS = {
    "infer": (AGE, "numba", "numpy", "onnx", "onnxruntime", "Pillow", "pydantic", "PyYAML"),
    "infer-gpu": (AGE, "numba", "numpy", NVML, "onnx", CUDA, "Pillow", "pydantic", "PyYAML"),
    "triton": (AGE, "numba", "numpy", "onnx", "onnxruntime", "pydantic", "PyYAML", TRITON),
    "score": (AGE, "numpy", "numba", "Pillow", "pyarrow", "pydantic", "PyYAML", "scipy"),
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
TORCH = "torch==2.13.0+cpu"  # the build for CPUs: the other needs 3 GB of CUDA
# Written by hand, without dependencies: see triton/install.sh.
SERVERS = ("triton-server", "triton-server-gpu")
# Wheels of the other architecture, newest first: pip takes the names literally.
OTHER = [f"manylinux{tag}_aarch64" for tag in ("_2_28", "_2_27", "_2_26", "_2_17", "2014")]


def wanted(component: str) -> list[str]:
    """The requirements of a component, in the ranges of pyproject.toml."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, build = document["project"], document["build-system"]["requires"]
    if component == "harness":  # on the machine with the keys; the last builds the project itself
        return [*project["dependencies"], *build]
    if component == "release":
        return ["build", *build]
    extras = project["optional-dependencies"]
    of_extras = ("evaluator", "gpu", "triton", "models")
    lines = project["dependencies"] + [line for extra in of_extras for line in extras[extra]]
    known = {line.split("=")[0].rstrip("<>!~ "): line for line in lines} | {"torch": TORCH}
    return [known[name] for name in COMPONENTS[component]]


def pins(component: str) -> list[str]:
    """The versions in a component's lock file."""
    return re.findall(r"^[^\s#]+==\S+", (LOCKS / f"{component}.txt").read_text(), re.M)


def ask(words: Iterable[str], *options: str) -> list[dict[str, Any]]:
    """The files that pip would install; none where there are none."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    dry = [*pip, "--dry-run", "--ignore-installed", "--report", "-", *options, *words]
    other = "--platform" in options  # for which there may be no file
    error = subprocess.DEVNULL if other else None
    done = subprocess.run(dry, stdout=subprocess.PIPE, stderr=error, check=not other)
    return list(json.loads(done.stdout)["install"]) if done.returncode == 0 else []


def lock(chosen: Sequence[dict[str, Any]]) -> str:
    """The text of a lock file."""
    lines = []
    for item in chosen:
        pin = f"{item['metadata']['name']}=={item['metadata']['version']}"
        files = [item]
        if not item["download_info"]["url"].endswith("-none-any.whl"):
            platforms = [word for tag in OTHER for word in ("--platform", tag)]
            other = ("--no-deps", "--only-binary", ":all:", "--python-version", "3.11")
            files += ask([pin], *other, *platforms, "--target", "unused")
        hashes = sorted({one["download_info"]["archive_info"]["hashes"]["sha256"] for one in files})
        lines.append(" \\\n    ".join([pin, *(f"--hash=sha256:{each}" for each in hashes)]))
    return "\n".join(sorted(lines, key=str.lower)) + "\n"


def main() -> None:
    """Write the named components' locks, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    everything = [*COMPONENTS, *SERVERS, "harness", "release"]
    parser.add_argument("component", nargs="*", default=everything, choices=everything)
    parser.add_argument("--keep", action="store_true", help="keep the versions")
    options = parser.parse_args()
    for component in options.component:
        if options.keep or component in SERVERS:
            chosen = ask(pins(component), "--no-deps")
        else:
            chosen = ask(wanted(component))
        (LOCKS / f"{component}.txt").write_text(lock(chosen))


if __name__ == "__main__":
    main()

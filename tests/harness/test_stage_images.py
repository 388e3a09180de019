"""Each image has the modules of its own stages and its own lock, and is named after both."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from docker.errors import APIError, ImageNotFound

from evaluator.__main__ import STAGES
from evaluator.errors import BusbenchError
from harness.challenge import BASE_IMAGE, Component, Images
from harness.evaluation.settings import EvaluateSettings
from harness.sandbox.images import with_base_here
from harness.sandbox.sources import BASE_VARIABLE, ROOT, build_context, sources_digest

# The files that name a base image.
BASED = (
    *("evaluator.Dockerfile", "participant.Dockerfile", "triton.Dockerfile", "compose.yaml"),
    *("../challenge.yaml", "../submission_template/common/Dockerfile.j2"),
    "../ci/gitlab-ci.example.yml",
)
EVALUATOR = ("infer", "infer-gpu", "triton", "score")
# What each image runs; modules that only a subprocess runs are named beside the stages.
ENTRIES: dict[str, tuple[str, ...]] = {
    "infer": (
        STAGES["gate"],
        STAGES["verdict"],
        STAGES["infer"],
        STAGES["ready"],
        STAGES["unseal"],
        STAGES["collect"],
        "evaluator.gate.probe",
    ),
    "infer-gpu": (STAGES["infer"], STAGES["ready"], STAGES["collect"]),
    "triton": (STAGES["infer"], STAGES["ready"], "evaluator.triton.guard"),
    "score": (STAGES["score"],),
}
# The one import that an image may do without: a backend that its stages are not asked for.
OTHER_BACKEND = "evaluator.triton"


def context(component: Component, root: Path = ROOT) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(build_context(component, Images(), root)))


def modules_in(component: Component) -> set[str]:
    with context(component) as archive:
        return {name for name in archive.getnames() if name.startswith("evaluator/")}


@pytest.mark.parametrize("component", get_args(Component))
def test_no_image_is_built_without_its_own_lock(component: Component) -> None:
    with context(component) as archive:
        names = archive.getnames()
    assert [name for name in names if name.startswith("containers/locks/") and "server" not in name]
    assert f"containers/locks/{component}.txt" in names
    assert sum(name.endswith(".Dockerfile") for name in names) == 1


@pytest.mark.parametrize(
    ("settings", "packages"),
    [
        (EvaluateSettings(), {"onnxruntime"}),
        (EvaluateSettings(device="cuda"), {"onnxruntime-gpu", "nvidia-cudnn-cu13"}),
        (EvaluateSettings(device="tensorrt"), {"onnxruntime-gpu", "nvidia-cudnn-cu13"}),
        (EvaluateSettings(backend="triton"), {"onnxruntime", "tritonclient"}),
    ],
)
def test_a_model_never_meets_the_runtime_of_another_device(
    settings: EvaluateSettings, packages: set[str]
) -> None:
    with context(settings.component) as archive:
        lock = archive.extractfile(f"containers/locks/{settings.component}.txt")
        assert lock is not None
        locked = {line.split("==")[0] for line in lock.read().decode().splitlines()}
    runtimes = {name for name in locked if name.startswith("onnxruntime")}
    assert packages <= locked and runtimes == {name for name in packages if "runtime" in name}


@pytest.mark.parametrize("file", BASED)
def test_no_file_names_a_base_that_can_move_or_another_than_the_harness(file: str) -> None:
    named = re.findall(r"python:[\w.-]+(?:@sha256:\w+)?", (ROOT / "containers" / file).read_text())
    assert set(named) == {BASE_IMAGE}


def test_no_choice_of_this_machine_leaves_a_run_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    sources_digest.cache_clear()
    by_digest = sources_digest("score", Images())
    monkeypatch.setenv(BASE_VARIABLE, "python:3.11-slim-bookworm")
    sources_digest.cache_clear()
    assert sources_digest("score", Images()) != by_digest
    sources_digest.cache_clear()


def imported_by(path: Path) -> Iterator[str]:
    """Every module of the evaluator that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{item.name}" for item in node.names)


def closure(component: Component) -> set[str]:
    """The files that the stages of a component import, however indirectly."""
    waiting = ["evaluator.__main__", *ENTRIES[component]]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if component != "triton" and name.startswith(OTHER_BACKEND):
            continue
        if not name.startswith("evaluator"):
            continue
        stem = ROOT / name.replace(".", "/")
        path = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
        file = str(path.relative_to(ROOT))
        if file in found or not path.exists():
            continue  # seen, or a name inside a module
        found.add(file)
        waiting += [*imported_by(path), name.rpartition(".")[0]]
    return found


@pytest.mark.parametrize("component", EVALUATOR)
def test_no_image_has_a_module_that_its_stages_do_not_import(component: Component) -> None:
    assert {name for name in modules_in(component) if name.endswith(".py")} == closure(component)


@pytest.mark.parametrize(
    ("component", "absent"),
    [
        ("score", ("gate", "inference", "triton")),
        ("infer", ("metrics", "scoring", "triton")),
        ("infer-gpu", ("metrics", "scoring", "triton", "gate")),
        ("triton", ("metrics", "scoring", "gate")),
    ],
)
def test_no_image_has_what_belongs_to_another_stage(
    component: Component, absent: tuple[str, ...]
) -> None:
    folders = {name.split("/")[1] for name in modules_in(component)}
    assert not folders & {*absent}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what images are built from."""
    for folder in ("evaluator", "containers", "reference_models"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


@pytest.mark.parametrize(
    ("edited", "changed"),
    [
        ("evaluator/metrics/formulas.py", {"score"}),
        ("evaluator/scoring/summary.py", {"score"}),
        ("evaluator/documents/scores.py", {"score"}),
        ("evaluator/gate/operators.py", {"infer"}),
        ("evaluator/triton/server.py", {"triton"}),
        ("evaluator/inference/speed.py", {"infer", "infer-gpu", "triton"}),
        ("evaluator/sealed.py", {"infer", "infer-gpu", "triton", "score"}),
        ("reference_models/export.py", {"participant"}),
    ],
)
def test_an_edit_renames_no_image_that_does_not_run_it(
    tree: Path, edited: str, changed: set[str]
) -> None:
    def contexts() -> dict[str, bytes]:
        return {each: build_context(each, Images(), tree) for each in get_args(Component)}

    before = contexts()
    with (tree / edited).open("a") as file:
        file.write("# edited\n")
    after = contexts()
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_row_of_another_component_renames_no_image(tree: Path) -> None:
    before = build_context("score", Images(), tree)
    table = tree / "containers" / "sources.txt"
    table.write_text(table.read_text().replace("evaluator/gate    ", "evaluator/gate   "))
    with table.open("a") as file:
        file.write("evaluator/py.typed triton\n")
    assert build_context("score", Images(), tree) == before


# An installation in development mode finds every module of ours, wherever it is.
ISOLATE = (
    "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in f'{f}'.lower()]"
)


def _take_compiled(folder: Path) -> None:
    """Put what numba compiled of the modules beside them, so that the test compiles nothing."""
    for module in folder.rglob("*.py"):
        original = ROOT / module.relative_to(folder)
        os.utime(module, ns=(original.stat().st_atime_ns, original.stat().st_mtime_ns))
        cache = module.parent / "__pycache__"
        for compiled in original.parent.glob(f"__pycache__/{module.stem}.*.nb[ci]"):
            cache.mkdir(exist_ok=True)
            shutil.copy2(compiled, cache)


def run_alone(folder: Path, component: Component, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder that has the component's modules and nothing else of ours."""
    with context(component) as archive:
        archive.extractall(folder, filter="data")
    _take_compiled(folder)
    return subprocess.run(
        [sys.executable, "-P", "-c", f"{ISOLATE}\n{code}"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


IMPORT_ALL = """
import importlib, json, sys
modules = json.loads({!r})
assert importlib.import_module("evaluator").__file__.startswith({!r})
for module in modules:
    importlib.import_module(module)
print(json.dumps(sorted(name for name in sys.modules if name.startswith("evaluator"))))
"""


@pytest.mark.parametrize("component", ["infer", "infer-gpu", "score"])
def test_no_stage_lacks_a_module_in_its_own_image(tmp_path: Path, component: Component) -> None:
    code = IMPORT_ALL.format(json.dumps(ENTRIES[component]), str(tmp_path))
    done = run_alone(tmp_path, component, code)
    assert done.returncode == 0, done.stderr
    assert not [name for name in json.loads(done.stdout) if name.startswith(OTHER_BACKEND)]


def test_an_image_says_which_stages_it_lacks(tmp_path: Path) -> None:
    code = "import sys; sys.argv[1:] = ['gate']; from evaluator.__main__ import main; main()"
    done = run_alone(tmp_path, "score", code)
    assert done.returncode == 2
    assert "this image does not contain the stage gate" in done.stderr


class ImagesByTag:
    """The images of an engine that has one by its tag, and reaches no registry."""

    def get(self, name: str) -> Any:
        raise ImageNotFound(name)

    def pull(self, name: str) -> Any:
        raise APIError(f"no registry has {name}")

    def list(self, name: str) -> list[str]:
        return [name] if name == "python:3.11" else []


def test_a_base_that_was_named_is_never_replaced_by_a_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = SimpleNamespace(images=ImagesByTag())
    images = Images(base=f"python:3.11@sha256:{'0' * 64}")
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    assert with_base_here(engine, images).base == "python:3.11"
    with pytest.raises(BusbenchError, match="has no base image other"):
        with_base_here(engine, Images(base=f"other:1@sha256:{'0' * 64}"))
    monkeypatch.setenv(BASE_VARIABLE, f"python:3.11@sha256:{'1' * 64}")
    with pytest.raises(BusbenchError, match="1111"):
        with_base_here(engine, images)

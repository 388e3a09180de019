"""Compilation: paid once, and neither a read-only disk nor another user brings it back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluator.compiled import LEVELS
from tests.support import ROOT

pytestmark = pytest.mark.slow

LOOP = """
from evaluator.compiled import compiled

@compiled("int64(int64)")
def twice(number):
    return 2 * number
"""
# What a process does with that module: its answer, cache hits, and what it had to compile.
REPORT = """
from loop import twice
hits, misses = (sum(counter.values()) for counter in twice.stats[1:])
print(twice(21), hits, misses)
"""


@pytest.fixture
def module() -> Iterator[Any]:
    """A folder with `loop.py` that other users may read."""
    folder = Path(tempfile.mkdtemp(prefix="busbench-loop-"))
    folder.chmod(0o755)
    (folder / "loop.py").write_text(LOOP, encoding="utf-8")
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def run(script: Any, folder: Any, *prefix: Any, **variables: Any) -> Any:
    """Run a script on `folder`'s modules and ours, with a home that is in that folder too."""
    environment = {name: value for name, value in os.environ.items() if "NUMBA" not in name}
    environment |= {"PYTHONPATH": f"{folder}:{ROOT}", "HOME": f"{folder}/home"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"} | variables
    environment.pop("XDG_CACHE_HOME", None)
    return subprocess.run(
        [*prefix, sys.executable, "-c", script],
        capture_output=True,
        check=True,
        cwd=folder,
        env=environment,
        text=True,
    ).stdout.strip()


def bound_by_modes() -> Any:
    """What to put before a command so that a folder's missing mode bits bind it, root or not."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root writes anywhere, and there is no setpriv to stop it")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def test_the_next_process_compiles_nothing(module: Any) -> None:
    assert run(REPORT, module) == "42 0 1"
    assert run(REPORT, module) == "42 1 0"


def test_a_reader_without_a_place_to_write_compiles_nothing(module: Any) -> None:
    assert run(REPORT, module) == "42 0 1"
    (module / "__pycache__").chmod(0o555)
    module.chmod(0o555)
    assert run(REPORT, module, *bound_by_modes()) == "42 1 0"


def test_without_any_place_for_a_cache_it_still_computes(module: Any) -> None:
    module.chmod(0o555)
    assert run(REPORT, module, *bound_by_modes()) == "42 0 1"
    assert not list(module.rglob("*.nbi"))


def test_a_cache_for_another_processor_is_neither_run_nor_an_error(module: Any) -> None:
    assert run(REPORT, module, NUMBA_CPU_NAME="generic") == "42 0 1"
    (module / "__pycache__").chmod(0o555)
    module.chmod(0o555)
    assert run(REPORT, module, *bound_by_modes()) == "42 0 1"
    assert run(REPORT, module, *bound_by_modes(), NUMBA_CPU_NAME="generic") == "42 1 0"


def test_an_unreadable_cache_is_no_error(module: Any) -> None:
    assert run(REPORT, module) == "42 0 1"
    for path in (module / "__pycache__").iterdir():
        path.chmod(0)
    assert run(REPORT, module, *bound_by_modes()) == "42 0 1"


def test_a_changed_source_is_not_run_from_the_old_cache(module: Any) -> None:
    assert run(REPORT, module) == "42 0 1"
    (module / "loop.py").write_text(LOOP.replace("2 * number", "3 * number"), encoding="utf-8")
    assert run(REPORT, module) == "63 0 1"


def test_no_level_of_processors_changes_a_bit() -> None:
    script = """
import hashlib, numpy
from evaluator.metrics import examine
from tests.support.masks import HOSTILE
digest, masks = hashlib.sha256(), [make(97) for make in HOSTILE.values()]
for spacing in (None, (0.3, 0.1), (0.07, 0.0713)):
    for one, other in zip(masks, masks[5:] + masks[:5]):
        digest.update(b"".join(map(numpy.ndarray.tobytes, examine(one, other, spacing).distances)))
print(digest.hexdigest())
"""
    assert len({run(script, ROOT, NUMBA_CPU_NAME=level) for level in LEVELS}) == 1


def test_the_metrics_own_loops_come_from_the_cache() -> None:
    """The first import may have compiled them; the second may not, nor load what compiling needs.

    SciPy's linear algebra is the largest part of that.
    """
    script = """
import sys
from evaluator.metrics import kernel
functions = (kernel.survey, kernel.both_ways, kernel.connected, kernel.matches)
print(*(sum(function.stats.cache_hits.values()) for function in functions))
print("scipy.linalg" in sys.modules)
"""
    run(script, ROOT)
    assert run(script, ROOT).split() == ["1", "1", "1", "1", "False"]


def test_asking_which_metrics_there_are_needs_no_compiler() -> None:
    script = """
import sys
from evaluator.metrics import METRICS, worst
print(worst("hd95", (30, 40)), "numba" in sys.modules)
"""
    assert run(script, ROOT) == "50.0 False"


def test_a_missing_compiler_is_named_with_its_remedy() -> None:
    script = """
import sys
sys.modules["numba"] = None
import numpy
from evaluator.errors import BusbenchError
from evaluator.metrics import dice
try:
    dice(numpy.ones((2, 2), bool), numpy.ones((2, 2), bool))
except BusbenchError as error:
    print(error.code, error.remedy)
"""
    assert run(script, ROOT).startswith("extra-missing Run pip install")

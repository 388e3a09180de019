"""Order of the tests over several workers: whole files, those that take longest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

CACHE = "busbench/seconds"  # what each file took here, in pytest's cache
USUAL = 0.3  # seconds of a test in a file of which nothing is known
# Where the cache knows nothing, as in a fresh clone: measured on two busy cores; only order matters
SLOW = {
    "containers": 2500.0,
    "tests/harness/test_template.py": 1040.0,
    "tests/documentation/test_documentation.py": 630.0,
    "tests/harness/test_nnunet.py": 230.0,
    "tests/evaluator/test_triton.py": 200.0,
    "tests/reference_models/test_export.py": 160.0,
    "tests/harness/test_site_browser.py": 110.0,
    "tests/reference_models/test_learning.py": 110.0,
    "tests/documentation/test_tour.py": 95.0,
    "tests/harness/test_ledger_verify.py": 75.0,
    "tests/harness/test_benchmark.py": 75.0,
}


def unit_of(nodeid: str) -> str:
    """The file of a test, or `containers`, or on a GPU its function.

    A file's tests share fixtures that are slow to make. Container tests count containers, volumes
    and networks, which another worker's would change, so their folder is one worker's. What is slow
    to make for a GPU all workers share, and the device waits for the host most of the time.
    """
    file = nodeid.partition("::")[0]
    if file.startswith("tests/gpu/"):
        return nodeid.partition("[")[0]
    return "containers" if file.startswith("tests/containers/") else file


class LongestFirst(LoadScopeScheduling):
    """Hands out units in order of their time, so that the workers end together.

    By xdist's own order, of the number of tests, files of few slow tests come last, and one worker
    is left with them. (Its `loadgroup` has no effect with pytest 9.2.)
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        self._seconds: Mapping[str, float] = SLOW | _known(config)

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        longest = max(self.workqueue, key=self._expected)
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)

    def _expected(self, unit: str) -> float:
        return self._seconds.get(unit, USUAL * len(self.workqueue[unit]))


class Stopwatch:
    """Pytest plugin of the process that hands out tests: keeps the time of each unit."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._spent: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        unit = unit_of(report.nodeid)
        self._spent[unit] = self._spent.get(unit, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        known = _known(self._config)
        # The larger, since a run of some tests of a file says little of the file.
        spent = {unit: max(s, known.get(unit, 0.0)) for unit, s in self._spent.items()}
        if (cache := _cache(self._config)) is not None:
            cache.set(CACHE, known | spent)


def _known(config: pytest.Config) -> dict[str, float]:
    cache = _cache(config)
    return {} if cache is None else cache.get(CACHE, {})


def _cache(config: pytest.Config) -> pytest.Cache | None:
    return getattr(config, "cache", None)  # absent with `-p no:cacheprovider`

"""Fixtures of the tests on a GPU: the device, and every reference network's file and maps."""

from __future__ import annotations

import os

import pytest

from evaluator.documents.inference import Device, Precision
from evaluator.inference.hardware import device_name
from harness.locking import locked
from tests.support.gpu_networks import COMMON, ORDER, PRECISIONS
from tests.support.gpu_preparation import Networks

# Set, these tests run on the CPU: that proves nothing of a GPU, but that the tests themselves work.
DRY_RUN = "BUSBENCH_GPU_DRY_RUN"


@pytest.fixture(scope="session")
def gpu() -> Device:
    """A CUDA device that works. Without one, tests skip; under `make test-gpu` they fail."""
    if os.environ.get(DRY_RUN):
        return "cpu"
    if device_name("cuda") == "unknown":
        message = "this machine has no CUDA device that works"
        if os.environ.get("BUSBENCH_REQUIRE_GPU"):
            pytest.fail(message)
        pytest.skip(message)
    return "cuda"


@pytest.fixture(scope="session")
def cuda(gpu: Device) -> Device:
    """The same, for tests that mean nothing in a dry run."""
    if gpu == "cpu":
        pytest.skip("this is a dry run on the CPU")
    return gpu


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest, gpu: Device) -> Precision:
    """Each precision that the device has."""
    if gpu == "cpu" and request.param != "fp32":
        pytest.skip("a CPU computes in fp32")
    found: Precision = request.param
    return found


@pytest.fixture(scope="session")
def networks(
    request: pytest.FixtureRequest, gpu: Device, tmp_path_factory: pytest.TempPathFactory
) -> Networks:
    """Networks and their maps, made once for all workers while tests run.

    A test asks for one by a parameter `name`, or for one of `COMMON`.
    """
    base = tmp_path_factory.getbasetemp()
    is_worker = bool(os.environ.get("PYTEST_XDIST_WORKER"))
    shared = base.parent if is_worker else base
    folder = shared / "networks"
    with locked(shared / "networks.lock"):
        if folder.exists():
            return Networks(folder)
        run = os.getppid() if is_worker else os.getpid()
        return Networks.begin(folder, gpu, _asked_for(request.session), watched=run)


def _asked_for(session: pytest.Session) -> list[str]:
    """The networks of the tests that were chosen."""
    functions = [item for item in session.items if isinstance(item, pytest.Function)]
    asking = [each for each in functions if "networks" in each.fixturenames]
    named = [each.callspec.params.get("name") for each in asking if hasattr(each, "callspec")]
    return [name for name in ORDER if name in (*named, *COMMON)]

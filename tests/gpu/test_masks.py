"""Every reference network on a CUDA device: the CPU's masks, whatever else is in its batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.documents.inference import Device, Precision
from tests.support.gpu_networks import BATCH, COMMON, ORDER, infer_stage
from tests.support.gpu_preparation import Networks
from tests.support.inference import Stage, speckle, stage

# Pixels that may be on the other side of the threshold: fresh weights leave many close to it.
FLIPPED = {"fp32": 1e-3, "tf32": 0.03, "fp16": 0.03}

every_network = pytest.mark.parametrize("name", ORDER)


@every_network
def test_a_device_flips_no_more_pixels_than_its_precision_rounds(
    networks: Networks, name: str, precision: Precision
) -> None:
    wanted, found = networks.of_cpu(name), networks.maps(name, precision)[0]
    flipped = ((found > 0) != (wanted > 0)).mean()
    off = np.abs(found - wanted).max() / wanted.std()
    print(f"\n{name} {precision}: {flipped:.1e} flipped, {off:.1e} deviations off")
    assert 0.2 < (wanted > 0).mean() < 0.8
    assert flipped <= FLIPPED[precision]


@every_network
@pytest.mark.parametrize("lowered", ["tf32", "fp16"])
def test_a_lower_precision_is_never_named_and_not_used(
    networks: Networks, cuda: Device, name: str, lowered: Precision
) -> None:
    assert not np.array_equal(networks.maps(name, lowered)[0], networks.maps(name, "fp32")[0])


@every_network
def test_the_company_in_a_batch_never_changes_a_bit_of_a_map(
    networks: Networks, name: str, precision: Precision
) -> None:
    first, again, *others = networks.maps(name, precision)
    assert np.array_equal(first, again)
    for place in range(BATCH):
        for beside in others[2 * place : 2 * place + 2]:
            assert np.array_equal(beside[place], first[place]), f"at place {place}"


def infer(made: Stage, **options: Any) -> bytes:
    """All packed masks that an infer stage writes."""
    done = infer_stage(made, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return b"".join(path.read_bytes() for path in sorted(made.out.glob("*.bits")))


def made(folder: Path, model: Path) -> Stage:
    """A stage of 20 images of different sizes, with the consistency pass."""
    return stage(folder, speckle(20), model.read_bytes(), seed="5" * 64)


@pytest.fixture(scope="module")
def of_the_cpu(networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a stage of CMUNeXt writes on the CPU."""
    return infer(made(tmp_path_factory.mktemp("cpu") / "stage", networks.onnx("cmunext")))


def require_same(wanted: bytes, found: bytes) -> None:
    """Fail where masks differ in more than the pixels that fp32 may flip, or say nothing."""
    bits = [np.unpackbits(np.frombuffer(each, np.uint8)) for each in (wanted, found)]
    assert (bits[0] != bits[1]).mean() <= FLIPPED["fp32"] and 0.01 < bits[0].mean() < 0.99


@pytest.mark.parametrize("batch_size", ["auto", 3])
def test_a_stage_on_the_device_writes_the_masks_of_the_cpu(
    tmp_path: Path, networks: Networks, of_the_cpu: bytes, *, gpu: Device, batch_size: object
) -> None:
    there = made(tmp_path / "stage", networks.onnx("cmunext"))
    require_same(of_the_cpu, infer(there, device=gpu, batch_size=batch_size))
    assert there.runtime.device == gpu and not there.runtime.measured.batch_dependent


@pytest.mark.parametrize("name", COMMON)
def test_two_runs_never_write_different_masks(
    tmp_path: Path, networks: Networks, gpu: Device, precision: Precision, name: str
) -> None:
    stages = [made(tmp_path / run, networks.onnx(name)) for run in ("first", "second")]
    with ThreadPoolExecutor() as pool:
        one, other = pool.map(lambda s: infer(s, device=gpu, precision=precision), stages)
    assert one == other and any(one)


def test_tensorrt_writes_the_masks_of_the_cpu(
    tmp_path: Path, networks: Networks, of_the_cpu: bytes, *, cuda: Device
) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    there = made(tmp_path / "stage", networks.onnx("cmunext"))
    require_same(of_the_cpu, infer(there, device="tensorrt"))

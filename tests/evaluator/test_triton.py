"""A real Triton server as a backend: the same masks, and nothing that a hostile model survives."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tritonclient import grpc

from evaluator.errors import BusbenchError, Fault
from evaluator.inference.backends import InferSettings, TritonOptions, open_model
from evaluator.triton import slot as triton_slot
from reference_models.export import export_network
from reference_models.networks import build
from tests.support import ROOT, soon
from tests.support.corpus import hostile
from tests.support.corpus.honest import SIZE as CORPUS_SIZE
from tests.support.inference import blur, echo, half_ends, network, speckle, stage

SIZE = 64


def two_maps() -> bytes:
    """Background and lesion, from one convolution."""
    weight = np.random.default_rng(0).normal(0, 1, (2, 1, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return network([node], [numpy_helper.from_array(weight, "w")])


# The ten reference networks, and the smallest side that is quick or, for the last two, natural.
REFERENCES = {
    **dict.fromkeys(("unet", "attention_unet", "unetpp", "unet3plus", "cmunet"), 32),
    **dict.fromkeys(("cmunext", "unext", "transunet"), SIZE),
    **{"medt": 128, "swin_unet": 224},
}


def reference(name: str) -> bytes:
    """A reference network with fresh weights."""
    side = REFERENCES[name]
    torch.manual_seed(0)
    network = build(name, image_size=side)
    return export_network(network, torch.rand(2, 1, side, side), {}).data


NETWORKS: dict[str, Callable[[], bytes]] = {
    "blur": blur,
    "two maps": two_maps,
    "one image a run": lambda: echo(batch=1),
    "float16 at both ends": half_ends,
}


class Operator(NamedTuple):
    """A server that somebody else runs, over TCP, with its repository shared."""

    address: str
    repository: Path

    def options(self, **how: Any) -> TritonOptions:
        return TritonOptions(address=self.address, repository=self.repository, **how)


@pytest.fixture(scope="module")
def operator(tritonserver: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    repository = folder / "models"
    repository.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(tritonserver / "bin/tritonserver", f"--model-repository={repository}"),
                *("--model-control-mode=explicit", "--allow-http=false", "--allow-metrics=false"),
                *("--grpc-address=127.0.0.1", f"--grpc-port={port}"),
            ],
            stdout=log,
            stderr=log,
        )
    yield Operator(f"127.0.0.1:{port}", repository)
    server.terminate()
    server.wait(timeout=600)


def settings(options: TritonOptions, **how: Any) -> InferSettings:
    return InferSettings(backend="triton", triton=options, **how)


def shared_memory(process: int | None = None) -> list[Path]:
    """What a process, this one unless another is named, and its servers hold there."""
    return list(Path("/dev/shm").glob(f"busbench*-{process or os.getpid()}-*"))


def batch_of(size: int, side: int = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((size, 1, side, side), np.float32)


@pytest.mark.parametrize("shared", [True, False], ids=["shared memory", "socket"])
@pytest.mark.parametrize("name", NETWORKS)
def test_masks_are_not_other_than_onnx_runtimes(
    operator: Operator, tmp_path: Path, name: Any, shared: bool
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(NETWORKS[name]())
    with (
        closing(open_model(path, InferSettings(threads=2))) as direct,
        closing(open_model(path, settings(operator.options(shared_memory=shared)))) as served,
    ):
        for size, side in ((1, SIZE), (4, SIZE), (8, SIZE), (3, SIZE), (1, 2 * SIZE), (2, 32)):
            for seed in (0, 1):  # the second run of a size meets memory that is there already
                batch = batch_of(size, side, seed)
                maps, expected = served.run(batch), direct.run(batch)
                assert maps.shape == expected.shape and maps.dtype == np.float32
                assert np.array_equal(maps > 0, expected > 0)
                assert np.allclose(maps, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
def test_no_reference_network_has_other_masks_than_onnx_runtimes(
    operator: Operator, tmp_path: Path, name: Any
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(reference(name))
    with (
        closing(open_model(path, InferSettings(threads=2))) as direct,
        closing(open_model(path, settings(operator.options(), threads=2))) as served,
    ):
        for size in (2, 1):
            batch = batch_of(size, REFERENCES[name])
            maps, expected = served.run(batch), direct.run(batch)
            threshold = np.median(expected)  # fresh weights may stay on one side of 0
            assert 0 < (expected > threshold).mean() < 1
            assert np.array_equal(maps > threshold, expected > threshold)
            assert np.allclose(maps, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False], ids=["shared memory", "socket"])
def test_requests_in_flight_do_not_get_each_others_maps(
    operator: Operator, tmp_path: Path, shared: bool
) -> None:
    (tmp_path / "model.onnx").write_bytes(echo())
    how = settings(operator.options(shared_memory=shared), threads=2)
    with closing(open_model(tmp_path / "model.onnx", how)) as model:
        assert model.in_flight > 1
        batches = [batch_of(1 + n % 5, seed=n) for n in range(40)]
        with ThreadPoolExecutor(2 * model.in_flight) as pool:  # more than it may have: some wait
            for batch, maps in zip(batches, pool.map(model.run, batches), strict=True):
                assert np.array_equal(maps, batch)


def test_an_operators_server_is_left_as_it_was(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(blur())
    with closing(open_model(tmp_path / "model.onnx", settings(operator.options()))) as model:
        for size in (1, 2):
            model.run(batch_of(size))
        assert len(list(operator.repository.iterdir())) == 1
    client = grpc.InferenceServerClient(operator.address)
    assert not client.get_system_shared_memory_status().regions
    assert not any(model.state == "READY" for model in client.get_model_repository_index().models)
    assert not list(operator.repository.iterdir())
    assert not shared_memory()


# --- our own server ------------------------------------------------------------------------------


def servers(owner: int | None = None) -> list[int]:
    """Process ids of the Triton servers of a process, and of their backends.

    The process is this one unless another is named.
    """
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_text()
        except OSError:
            continue
        if f"busbench-triton-{owner or os.getpid()}-" in words and "guard.py" not in words:
            found.append(int(line.parent.name))
    return found


def test_the_infer_stage_gives_the_same_bits(tritonserver: Path, tmp_path: Path) -> None:
    images = speckle(11)
    bits = []
    for backend in ("onnxruntime", "triton"):
        sealed = stage(tmp_path / backend, images, blur(5), blur(6))
        sealed.infer(
            backend=backend, threads=2, batch_size=4, triton=TritonOptions(executable=tritonserver)
        )
        bits.append([(sealed.out / f"fold-{fold}.bits").read_bytes() for fold in (0, 1)])
    assert bits[0] == bits[1] and bits[0][0] != bits[0][1]
    assert not servers()


def test_our_own_server_cannot_be_reached_over_a_network(
    tritonserver: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(echo())
    how = settings(TritonOptions(executable=tritonserver))
    with closing(open_model(tmp_path / "model.onnx", how)) as model:
        model.run(batch_of(1))
        sockets = set()
        for process in servers():
            for descriptor in Path(f"/proc/{process}/fd").iterdir():
                target = str(descriptor.readlink())
                sockets |= {target[8:-1]} if target.startswith("socket:[") else set()
        listening = {
            line.split()[9]
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
            if line.split()[3] == "0A"
        }
        assert sockets and not sockets & listening


def test_the_operators_library_path_is_not_lost(tritonserver: Path, tmp_path: Path) -> None:
    program = tritonserver / "bin/tritonserver" if tritonserver.is_dir() else tritonserver
    where = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "LD_DEBUG": "libs"}
    done = subprocess.run(
        [program, "--help"], env=where, capture_output=True, text=True, check=False
    )
    path = re.findall(r"search path=(\S+)\s+\(LD_LIBRARY_PATH\)", done.stderr)[-1]
    assert path.endswith(f"/nvidia_pytriton.libs:{tmp_path}")


def _reshape() -> bytes:
    """Fails at run time alone: the new shape does not hold the image."""
    shape = numpy_helper.from_array(np.array([1, 1, 7, 7]), "s")
    return network([helper.make_node("Reshape", ["x", "s"], ["y"])], [shape])


def _bytes(model: bytes | None) -> bytes:
    assert model is not None
    return model


def _bomb() -> bytes:
    return _bytes(hostile.memory_bomb_controlled_by_data(Path()))


def _endless() -> bytes:
    return _bytes(hostile.endless_loop(Path()))


@pytest.mark.parametrize(
    "build_model, code, side",
    [
        (_endless, "limit-time", CORPUS_SIZE),
        (_bomb, "model-failed", CORPUS_SIZE),
        (_reshape, "model-failed", SIZE),
    ],
    ids=["endless loop", "memory bomb", "failing reshape"],
)
def test_a_hostile_model_harms_no_other(
    tritonserver: Path, tmp_path: Path, build_model: Any, code: str, side: Any
) -> None:
    path, honest = tmp_path / "hostile.onnx", tmp_path / "honest.onnx"
    path.write_bytes(build_model())
    honest.write_bytes(blur())
    options = TritonOptions(executable=tritonserver, seconds=5, memory_mb=3000)
    with (
        closing(open_model(path, settings(options))) as model,
        pytest.raises(BusbenchError) as failed,
    ):
        model.run(batch_of(2, side))
    assert failed.value.code == code and failed.value.fault is Fault.SUBMISSION
    assert "hostile.onnx" in failed.value.message and "\n" not in str(failed.value)
    assert not servers() and not shared_memory()
    with closing(open_model(honest, settings(options))) as model:
        assert model.run(batch_of(2)).shape == (2, 1, SIZE, SIZE)


def test_a_loop_that_never_ends_does_not_hold_the_others_up(
    tritonserver: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(_endless())
    how = settings(TritonOptions(executable=tritonserver, seconds=3), threads=2)
    with closing(open_model(tmp_path / "model.onnx", how)) as model:
        with ThreadPoolExecutor(model.in_flight) as pool:
            runs = [pool.submit(model.run, batch_of(1, CORPUS_SIZE)) for _ in range(6)]
        codes = {getattr(run.exception(), "code", None) for run in runs}
    assert codes == {"limit-time"} and not servers()


def test_a_server_that_dies_is_distinguished_from_one_that_answers(
    tritonserver: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(echo())
    how = settings(TritonOptions(executable=tritonserver, seconds=20))
    with closing(open_model(tmp_path / "model.onnx", how)) as model:
        model.run(batch_of(1))
        for process in servers():
            with suppress(ProcessLookupError):  # one may end with the other
                os.kill(process, signal.SIGKILL)
        with pytest.raises(BusbenchError, match="took the server down"):
            model.run(batch_of(1))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for a server's socket, whose path may have 107 characters at the most."""
    with tempfile.TemporaryDirectory(prefix="t-") as name:
        yield Path(name)


def test_a_killed_evaluator_leaves_no_server(tritonserver: Path, short_path: Path) -> None:
    (short_path / "model.onnx").write_bytes(echo())
    script = (
        "from pathlib import Path; import sys, time\n"
        "from evaluator.inference.backends import InferSettings, TritonOptions, open_model\n"
        "options = TritonOptions(executable=Path(sys.argv[1]))\n"
        "settings = InferSettings(backend='triton', triton=options)\n"
        "model = open_model(Path(sys.argv[2]), settings)\n"
        "print('ready', flush=True); time.sleep(600)\n"
    )
    evaluator = subprocess.Popen(
        [sys.executable, "-c", script, str(tritonserver), str(short_path / "model.onnx")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(short_path)},
    )
    assert evaluator.stdout is not None and evaluator.stdout.readline() == b"ready\n"
    assert len(servers(evaluator.pid)) == 2  # the server and its backend
    evaluator.kill()
    evaluator.communicate()
    soon(lambda: not list(short_path.glob("busbench-*")))  # goes last
    assert not servers(evaluator.pid) and not list(short_path.glob("busbench-*"))
    assert not shared_memory(evaluator.pid)


def test_a_file_that_cannot_be_loaded_is_the_models_fault(
    tritonserver: Path, tmp_path: Path
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], domain="nobodys")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, SIZE, SIZE])],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("nobodys", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(BusbenchError) as failed:
        open_model(tmp_path / "m.onnx", settings(TritonOptions(executable=tritonserver)))
    assert failed.value.code == "model-failed" and "nobodys" in failed.value.message
    assert not servers()


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_another_device_is_refused_and_not_replaced(
    tritonserver: Path, tmp_path: Path, device: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(echo())
    how = settings(TritonOptions(executable=tritonserver), device=device)
    with pytest.raises(BusbenchError) as refused:
        open_model(tmp_path / "model.onnx", how)
    assert refused.value.code == "device-unavailable" and not servers()


@pytest.mark.parametrize(
    "options, says",
    [
        (TritonOptions("127.0.0.1:1", Path("/tmp"), patience=1), "at 127.0.0.1:1"),
        (TritonOptions("127.0.0.1:1", Path("/nowhere")), "/nowhere is not"),
        (TritonOptions(executable=Path("/nowhere")), "/nowhere is no Triton server"),
        (TritonOptions(executable=Path("/bin/false")), "The Triton server ended"),
    ],
    ids=["nobody listens", "no repository", "no such file", "it ends at once"],
)
def test_a_server_that_is_not_there_is_one_sentence_and_a_remedy(
    tmp_path: Path, options: Any, says: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(echo())
    with pytest.raises(BusbenchError) as failed:
        open_model(tmp_path / "model.onnx", settings(options))
    assert failed.value.code == "triton-unavailable" and failed.value.fault is Fault.INFRASTRUCTURE
    assert says in failed.value.message and "\n" not in str(failed.value)
    assert "--triton" in failed.value.remedy and "make triton" in failed.value.remedy


def test_shared_memory_that_is_short_is_not_written_to(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_slot, "COPIES", 1 << 40)
    (tmp_path / "model.onnx").write_bytes(echo())
    with closing(open_model(tmp_path / "model.onnx", settings(operator.options()))) as model:
        batch = batch_of(3)
        assert np.array_equal(model.run(batch), batch) and np.array_equal(model.run(batch), batch)
        assert not shared_memory()

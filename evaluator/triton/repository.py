"""A model's entry in the repository of a Triton server.

    REPOSITORY/<name>/config.pbtxt
    REPOSITORY/<name>/1/model.onnx

The same entry serves NVIDIA's `onnxruntime` backend and ours (`containers/triton/model.py`).
Layout and fields: Triton's model repository and model configuration documentation.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from onnx import ModelProto, ValueInfoProto
from tritonclient.grpc import model_config_pb2 as pb

from evaluator.files import disk_errors, write_atomically

FREE = -1
KINDS = {"cpu": pb.ModelInstanceGroup.KIND_CPU, "cuda": pb.ModelInstanceGroup.KIND_GPU}


@dataclass(frozen=True)
class Port:
    """The one input of a network, or its one output: float32."""

    name: str
    shape: tuple[int, ...]  # (N, C, H, W), `FREE` where the file leaves a size open


@dataclass(frozen=True)
class Service:
    """How a model is to be served.

    Args:
        instances: copies that answer at the same time; each has `threads` of the CPU.
        max_batch: images a request, at most.
    """

    device: str = "cpu"
    threads: int = 1
    instances: int = 1
    max_batch: int = 512

    @classmethod
    def on(cls, device: str, threads: int) -> Service:
        """Two instances that share a CPU's threads, each with the model in memory.

        While one request costs time beside its network, or its network uses few threads, the other
        instance works on.
        """
        instances = 2 if device == "cpu" and threads > 1 else 1
        return cls(device, -(-threads // instances), instances)


def ports(model: ModelProto) -> tuple[Port, Port]:
    """The input and the output of a model that has passed the gate."""
    stored = {tensor.name for tensor in model.graph.initializer}
    (given,) = (info for info in model.graph.input if info.name not in stored)
    (result,) = model.graph.output
    return _port(given), _port(result)


def _port(info: ValueInfoProto) -> Port:
    sizes = info.type.tensor_type.shape.dim
    return Port(
        info.name,
        tuple(size.dim_value if size.HasField("dim_value") else FREE for size in sizes),
    )


def has_fixed_batch(given: Port, result: Port) -> bool:
    """Whether the model takes one image at a time."""
    return FREE not in (given.shape[0], result.shape[0])


def model_config(name: str, given: Port, result: Port, *, service: Service) -> str:
    """`config.pbtxt`; names come from the participant and are escaped, whatever they contain.

    There is no batching on the server: a request is one run, so masks do not depend on the traffic.
    """
    fixed = has_fixed_batch(given, result)
    first = 0 if fixed else 1  # with a free batch, Triton counts N apart from the sizes
    config = pb.ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=0 if fixed else service.max_batch,
        input=[pb.ModelInput(name=given.name, data_type=pb.TYPE_FP32, dims=given.shape[first:])],
        output=[
            pb.ModelOutput(name=result.name, data_type=pb.TYPE_FP32, dims=result.shape[first:])
        ],
        instance_group=[pb.ModelInstanceGroup(kind=KINDS[service.device], count=service.instances)],
        parameters={"intra_op_thread_count": pb.ModelParameter(string_value=str(service.threads))},
    )
    return str(text_format.MessageToString(config))


def add_model(repository: Path, name: str, path: Path, *, config: str, link: bool) -> None:
    """Put a model into a repository; its configuration comes last.

    Args:
        link: point at the file instead of copying it; for a server that sees the same paths.

    Raises:
        BusbenchError: `disk-full` where the repository cannot be written.
    """
    target = repository / name / "1" / "model.onnx"
    with disk_errors(repository):
        target.parent.mkdir(parents=True)
        if link:
            target.symlink_to(path.resolve())
        else:
            shutil.copyfile(path, target)
    write_atomically(repository / name / "config.pbtxt", config.encode())

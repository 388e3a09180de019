"""A model's entry in the repository of a Triton server.

    REPOSITORY/<name>/config.pbtxt
    REPOSITORY/<name>/1/model.onnx

The same entry serves NVIDIA's `onnxruntime` backend and ours (`containers/triton/model.py`).
Layout and fields: Triton's model repository and model configuration documentation.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from onnx import ModelProto, TensorProto, ValueInfoProto
from tritonclient.grpc import model_config_pb2 as pb

from evaluator.documents.inference import Precision
from evaluator.files import disk_errors, write_atomically
from evaluator.inference.backends.cuda import cuda_options

FREE = -1
KINDS = {"cpu": pb.ModelInstanceGroup.KIND_CPU, "cuda": pb.ModelInstanceGroup.KIND_GPU}


@dataclass(frozen=True)
class Port:
    """The one input of a network, or its one output."""

    name: str
    shape: tuple[int, ...]  # (N, C, H, W), `FREE` where the file leaves a size open
    datatype: str = "FP32"  # or FP16


@dataclass(frozen=True)
class Service:
    """How a model is to be served.

    Args:
        instances: copies that answer at the same time; each has `threads` of the CPU.
        max_batch: images a request, at most.
        cuda: options of ONNX Runtime's CUDA provider, on a GPU.
    """

    device: str = "cpu"
    threads: int = 1
    instances: int = 1
    max_batch: int = 512
    cuda: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def on(cls, device: str, threads: int, precision: Precision = "fp32") -> Service:
        """Two instances that share a CPU's threads, each with the model in memory.

        While one request costs time beside its network, or its network uses few threads, the other
        instance works on.
        """
        instances = 2 if device == "cpu" and threads > 1 else 1
        cuda = {} if device == "cpu" else cuda_options(precision)
        return cls(device, -(-threads // instances), instances, cuda=cuda)


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
        "FP16" if info.type.tensor_type.elem_type == TensorProto.FLOAT16 else "FP32",
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
        input=[_tensor(pb.ModelInput, given, first)],
        output=[_tensor(pb.ModelOutput, result, first)],
        instance_group=[pb.ModelInstanceGroup(kind=KINDS[service.device], count=service.instances)],
        parameters={"intra_op_thread_count": pb.ModelParameter(string_value=str(service.threads))},
    )
    if service.cuda:
        accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
        accelerators.add(name="cuda", parameters=service.cuda)
    return str(text_format.MessageToString(config))


def _tensor(kind: Callable[..., Any], port: Port, first: int) -> Any:
    """An input or an output; the sizes from `first` on are stated."""
    datatype = pb.DataType.Value(f"TYPE_{port.datatype}")
    return kind(name=port.name, data_type=datatype, dims=port.shape[first:])


def add_model(repository: Path, name: str, model: Path | bytes, *, config: str, link: bool) -> None:
    """Put a model into a repository; its configuration comes last.

    Args:
        model: the file, or what is in it.
        link: point at the file instead of copying it; for a server that sees the same paths.

    Raises:
        BusbenchError: `disk-full` where the repository cannot be written.
    """
    target = repository / name / "1" / "model.onnx"
    with disk_errors(repository):
        target.parent.mkdir(parents=True)
        if isinstance(model, bytes):
            target.write_bytes(model)
        elif link:
            target.symlink_to(model.resolve())
        else:
            shutil.copyfile(model, target)
    write_atomically(repository / name / "config.pbtxt", config.encode())

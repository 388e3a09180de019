"""A Triton server's configuration of a model, read back by protobuf's own parser."""

from __future__ import annotations

import onnx
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2 as pb

from evaluator.documents.inference import Precision
from evaluator.inference.backends import InferSettings
from evaluator.inference.backends.cuda import provider_options
from evaluator.triton.repository import (
    FREE,
    Port,
    Service,
    has_fixed_batch,
    model_config,
    ports,
)
from tests.support.inference import blur, echo, half_ends

IN, OUT = Port("x", (FREE, 1, 64, 64)), Port("y", (FREE, 2, 64, 64))


def parsed(text: str) -> pb.ModelConfig:
    return text_format.Parse(text, pb.ModelConfig())


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_tensors_name_cannot_change_the_configuration(first: str, second: str) -> None:
    config = parsed(
        model_config("m", Port(first, IN.shape), Port(second, OUT.shape), service=Service())
    )
    assert (config.input[0].name, config.output[0].name) == (first, second)
    plain = parsed(model_config("m", IN, OUT, service=Service()))
    config.input[0].name, config.output[0].name = "x", "y"
    assert config == plain


def test_a_name_that_looks_like_configuration_stays_a_name() -> None:
    name = 'x" } ]\nbackend: "python" input [ { name: "'
    text = model_config("m", Port(name, IN.shape), OUT, service=Service())
    assert parsed(text).backend == "onnxruntime" and parsed(text).input[0].name == name


def test_the_server_merges_no_requests_and_takes_no_larger_batch() -> None:
    config = parsed(model_config("m", IN, OUT, service=Service("cpu", 3, 2, max_batch=16)))
    assert config.max_batch_size == 16
    assert not config.HasField("dynamic_batching") and not config.HasField("sequence_batching")
    assert list(config.input[0].dims) == [1, 64, 64] and list(config.output[0].dims) == [2, 64, 64]
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, pb.ModelInstanceGroup.KIND_CPU)
    assert config.parameters["intra_op_thread_count"].string_value == "3"


def test_a_model_of_one_image_is_never_given_two() -> None:
    taken, given_back = ports(onnx.load_from_string(echo(batch=1)))
    assert has_fixed_batch(taken, given_back)
    config = parsed(model_config("m", taken, given_back, service=Service()))
    assert config.max_batch_size == 0 and list(config.input[0].dims) == [1, 1, FREE, FREE]


def test_stored_weights_are_not_taken_for_inputs() -> None:
    model = onnx.load_from_string(blur())
    for tensor in model.graph.initializer:
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    taken, result = ports(model)
    assert (taken.name, result.name) == ("x", "y") and not has_fixed_batch(taken, result)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16"])
def test_a_gpus_instance_has_no_other_options_than_the_cuda_backend(precision: Precision) -> None:
    config = parsed(model_config("m", IN, OUT, service=Service.on("cuda", 4, precision)))
    (group,) = config.instance_group
    assert (group.count, group.kind) == (1, pb.ModelInstanceGroup.KIND_GPU)
    (cuda,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    settings = InferSettings(device="cuda", precision=precision)
    direct = dict(provider_options(settings))["CUDAExecutionProvider"]
    assert cuda.name == "cuda" and {"device_id": "0", **cuda.parameters} == direct
    assert not config.HasField("dynamic_batching")
    on_cpu = parsed(model_config("m", IN, OUT, service=Service.on("cpu", 4)))
    assert not on_cpu.optimization.execution_accelerators.gpu_execution_accelerator


@pytest.mark.parametrize("result", [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16])
def test_float16_at_the_ends_is_not_declared_as_another_type(result: int) -> None:
    taken, given_back = ports(onnx.load_from_string(half_ends(result)))
    config = parsed(model_config("m", taken, given_back, service=Service()))
    half = result == onnx.TensorProto.FLOAT16
    assert config.input[0].data_type == pb.TYPE_FP16
    assert config.output[0].data_type == (pb.TYPE_FP16 if half else pb.TYPE_FP32)


@pytest.mark.parametrize(
    "device, threads, instances, each",
    [("cpu", 1, 1, 1), ("cpu", 2, 2, 1), ("cpu", 5, 2, 3), ("cuda", 8, 1, 8)],
)
def test_instances_leave_no_thread_idle(
    device: str, threads: int, instances: int, each: int
) -> None:
    service = Service.on(device, threads)
    assert (service.instances, service.threads) == (instances, each)

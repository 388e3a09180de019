"""Providers of ONNX Runtime for each device, and their options in each precision.

No runtime is imported here: a Triton server gets the same options.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from evaluator.documents.inference import Device, Precision
from evaluator.errors import BusbenchError, Code
from evaluator.inference.backends import InferSettings

Options = dict[str, str]
# In order: the first must run the network; a later one takes what the first cannot.
PROVIDERS: Mapping[Device, Sequence[str]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}
# Precision is never lowered unasked. Without `use_tf32`, convolutions leave the tensor cores out
# whatever their type, which float16 is slow without.
_ARITHMETIC: Mapping[Precision, Options] = {
    "fp32": {"use_tf32": "0"},
    "tf32": {"use_tf32": "1"},
    "fp16": {"use_tf32": "1", "prefer_nhwc": "1"},
}
# TensorRT and cuDNN's fallbacks have no option for TF32, but NVIDIA's libraries read this.
TF32 = "NVIDIA_TF32_OVERRIDE"


def cuda_options(precision: Precision) -> Options:
    """Options of the CUDA provider.

    With cuDNN 9 the search `EXHAUSTIVE` measures nothing: it asks cuDNN's better heuristic, whose
    answer is the same each time. CUDA graphs are left out: on an H100, two networks of four never
    ended their first runs with them.

    Source: "CUDA Execution Provider" in ONNX Runtime's documentation.
    """
    return {
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        **_ARITHMETIC[precision],
    }


def provider_options(settings: InferSettings) -> list[tuple[str, Options]]:
    """ONNX Runtime's providers for a device and their options, the first preferred.

    Source: "TensorRT Execution Provider" in ONNX Runtime's documentation.
    """
    tensorrt = {
        "device_id": "0",
        "trt_fp16_enable": str(int(settings.precision == "fp16")),
        "trt_int8_enable": "0",
    }
    if settings.engines is not None:
        tensorrt |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": f"{settings.engines}"}
    known = {
        "CUDAExecutionProvider": {"device_id": "0"} | cuda_options(settings.precision),
        "TensorrtExecutionProvider": tensorrt,
    }
    return [(name, known.get(name, {})) for name in PROVIDERS[settings.device]]


def require_tf32(precision: Precision) -> None:
    """Let NVIDIA's libraries use TF32, or not, for the rest of this process.

    Raises:
        BusbenchError: `device-unavailable` where it was asked for and is switched off: by the
            operator, or by a model that ran in fp32 before.
    """
    if precision == "fp32":
        os.environ[TF32] = "0"
    elif precision == "tf32" and os.environ.get(TF32) == "0":
        raise BusbenchError(
            Code.DEVICE_UNAVAILABLE,
            f"--precision tf32 was asked for, but {TF32}=0 switches it off in this process.",
            f"Unset {TF32}, or use --precision fp32.",
        )

"""The `onnxruntime` backend of a Triton server that has only the Python backend.

Triton starts it once an instance, in a process of its own with the server's Python. It takes the
model repository that NVIDIA's own `onnxruntime` backend takes: `model.onnx`, the parameter
`intra_op_thread_count`, and on a GPU the options of the accelerator `cuda`. What fails here reaches
the client as the request's error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # comes with the Python backend

PROVIDERS = {"CPU": "CPUExecutionProvider", "GPU": "CUDAExecutionProvider"}


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the ONNX file; an error says why the model cannot be served."""
        if int(np.__version__.split(".")[0]) > 1:
            # the stub's pybind11 reads arrays by numpy 1's layout: from numpy 2 all come back empty
            raise pb_utils.TritonModelException(f"the server's numpy is {np.__version__}, not 1.x")
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        threads = config["parameters"]["intra_op_thread_count"]["string_value"]
        options.intra_op_num_threads = int(threads)
        options.log_severity_level = 4
        options.add_session_config_entry("session.load_model_format", "ONNX")
        kind = args["model_instance_kind"]
        provider, chosen = PROVIDERS[kind], {}
        if kind == "GPU":
            options.use_deterministic_compute = True
            chosen = _cuda_options(config) | {"device_id": args["model_instance_device_id"]}
            onnxruntime.preload_dlls()
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        providers = [(provider, chosen)]
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=providers, enable_fallback=0
        )
        if self._session.get_providers()[0] != provider:
            raise pb_utils.TritonModelException(f"the server has no {provider}")
        self._input = config["input"][0]["name"]
        self._output = config["output"][0]["name"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run each request's batch; client batches are not merged, so results stay the same."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        batch = pb_utils.get_input_tensor_by_name(request, self._input).as_numpy()
        (maps,) = self._session.run([self._output], {self._input: batch})
        return pb_utils.InferenceResponse([pb_utils.Tensor(self._output, maps)])


def _cuda_options(config: dict[str, Any]) -> dict[str, str]:
    """What the model's configuration asks of ONNX Runtime's CUDA provider."""
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    for each in accelerators.get("gpu_execution_accelerator", []):
        if each["name"] == "cuda":
            return dict(each["parameters"])
    return {}

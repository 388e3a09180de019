"""Inference backends: each turns a batch of inputs into a batch of maps, and says where it ran."""

from evaluator.backends.onnxruntime import OnnxRuntimeModel

__all__ = ["OnnxRuntimeModel"]

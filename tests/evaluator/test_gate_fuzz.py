"""The gate's static part on damaged files: findings or a model, never an exception of its own."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from evaluator.gate import GateLimits
from evaluator.gate.intake import load
from evaluator.gate.parameters import parameters
from evaluator.gate.rules import apply_rules
from evaluator.gate.subject import Subject
from evaluator.gate.survey import survey
from tests.support.corpus.honest import submission, tiny

HONEST = tiny().SerializeToString()
PLACES = st.integers(0, len(HONEST) - 1)
LIMITS = GateLimits()


def static_part(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        declared = submission(Path(folder), data)
        model = load(Path(folder), declared.models[0], LIMITS)
        if isinstance(model, ModelProto):
            seen = survey(model)
            if not apply_rules(Subject(seen, declared, LIMITS), "model.onnx"):
                parameters(seen)


@given(st.lists(st.tuples(PLACES, st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_changed_bytes_raise_nothing(changes: list[tuple[int, int]]) -> None:
    data = bytearray(HONEST)
    for place, byte in changes:
        data[place] = byte
    static_part(bytes(data))


@given(PLACES, PLACES, st.binary(max_size=64))
@settings(max_examples=400, deadline=None)
def test_cut_and_spliced_files_raise_nothing(start: int, end: int, between: bytes) -> None:
    static_part(HONEST[:start] + between + HONEST[end:])


@given(st.binary(max_size=512))
@settings(max_examples=200, deadline=None)
def test_noise_raises_nothing(data: bytes) -> None:
    static_part(data)

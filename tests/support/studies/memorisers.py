"""Declarations of the study's networks, and copies that an attacker stores beside what is known.

An attacker knows this code but not the seed: copies are mirrored, or transformed by guessed seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evaluator.consistency import draw, transform_pixels
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.files import sha256_bytes
from reference_models.baselines import INPUT, OPSET, Example


def submission(model: bytes, method: str, track: str) -> Submission:
    """The declaration of one model for all folds, in the file `model.onnx`."""
    return Submission(
        team="Benchmark",
        method=method,
        track=track,
        input=InputSpec.model_validate(INPUT),
        output=OutputSpec(),
        opset=OPSET,
        models=(ModelFile(file="model.onnx", sha256=sha256_bytes(model)),),
    )


def mirrored(examples: Sequence[Example]) -> list[Example]:
    """Every example as it is and mirrored."""
    flipped = [Example(image[:, ::-1], mask[:, ::-1]) for image, mask in examples]
    return [*examples, *flipped]


def moved(examples: Sequence[Example], copies: int) -> list[Example]:
    """Every example as it is, and `copies` times transformed by seeds that are not the secret."""
    return [*examples, *(p for n in range(copies) for p in _moved_once(examples, n))]


def _moved_once(examples: Sequence[Example], number: int) -> Iterator[Example]:
    for place, (image, mask) in enumerate(examples):
        transform = draw(sha256_bytes(f"guess {number}".encode()), str(place), image.shape)
        yield Example(transform_pixels(image, transform), transform_pixels(mask, transform))

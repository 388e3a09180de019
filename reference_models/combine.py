"""Submissions made from the models of one: over an image and its mirror image, over all folds.

The ONNX files are put together as they are, so a submission is enough: no training's folder and no
network's code is read. What the new files answer is compared, on images of the training bundle,
with the mean of what the old ones answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
import yaml
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, Field

from reference_models.config import InputSettings, validated
from reference_models.data import BILINEAR, letterbox, open_bundle, read_case
from reference_models.errors import UsageError
from reference_models.export import PARITY_BATCHES, Answer, difference, open_onnx
from reference_models.files import sha256_bytes, write_atomically
from reference_models.joining import Average, Kind, can_be_joined, join, mean_answer
from reference_models.logs import Say, silent
from reference_models.submission import DOCUMENT, Titles, model_name, require_only, write_model

_REMEDY = "Name a submission that this trainer wrote, with one model a fold."


# What the evaluator takes for granted where a document leaves it out.
_USUAL = {"mode": "resized", "resample": "antialiased"}


class _Part(BaseModel):
    """What is needed of a document; all else that it says is kept as it is."""

    model_config = ConfigDict(frozen=True)


class _Output(_Part):
    kind: Kind = "logits"
    threshold: float = 0.5


class _Model(_Part):
    fold: int = Field(ge=0)
    file: str = Field(pattern=r"^[^/]+$")
    sha256: str


class _Document(_Part):
    """A submission of fold models."""

    version: Literal["busbench/submission/v2"] = Field(alias="schema")
    method: str
    track: str
    input: dict[str, Any]
    output: _Output
    models: tuple[_Model, ...] = Field(min_length=1)
    parameters: int | None = None


def combine(
    source: Path,
    bundle: Path,
    out: Path,
    *,
    mirrored: bool,
    ensemble: bool,
    method: str | None = None,
    say: Say = silent,
) -> None:
    """Write the submission that averages the models of `source`; the same files give the same.

    Args:
        mirrored: average over an image and its mirror image, at twice the cost.
        ensemble: average the probabilities of all folds, in one file for all.
        method: its name on the board; None adds to that of `source` what was averaged.

    Raises:
        UsageError: nothing to average over, `source` is of another track, was changed or not
            written by this trainer, or `out` has other files.
        BundleError, TrainingError, MachineError: see the modules that raise them.
    """
    if not (mirrored or ensemble):
        raise UsageError("Nothing is to be averaged.", "Add --mirrored, --ensemble, or both.")
    stated = _read(source)
    document = validated(_Document, stated, str(source / DOCUMENT), remedy=_REMEDY)
    how = Average(mirrored, ensemble, document.output.kind)
    titles = Titles(str(stated.get("team")), method or f"{document.method} {how.words}")
    images = _images(bundle, document)
    models = {one.fold: _model(source / one.file, one.sha256) for one in document.models}
    groups: Mapping[Any, Sequence[ModelProto]] = (
        {None: [*models.values()]} if ensemble else {fold: [one] for fold, one in models.items()}
    )
    require_only(out, {DOCUMENT, *map(model_name, groups)})
    digests = {
        fold: write_model(out, fold, _joined(group, how, images, name=model_name(fold), say=say))
        for fold, group in groups.items()
    }
    new = _amended(document, how, titles=titles, digests=digests)
    text = yaml.safe_dump({**stated, **new}, sort_keys=False, allow_unicode=True)
    write_atomically(out / DOCUMENT, text.encode())


def _amended(
    document: _Document, how: Average, *, titles: Titles, digests: Mapping[Any, str]
) -> dict[str, Any]:
    """What the new submission says otherwise than the old one."""
    models = [
        {"fold": fold, "file": model_name(fold), "sha256": digest}
        for fold, digest in digests.items()
    ]
    output = {**document.output.model_dump(), "kind": how.answers}
    new: dict[str, Any] = {"method": titles.method, "output": output, "models": models}
    if how.ensemble and document.parameters is not None:
        new["parameters"] = document.parameters * len(document.models)
    return new


def _joined(
    models: Sequence[ModelProto], how: Average, images: torch.Tensor, *, name: str, say: Say
) -> bytes:
    """The bytes of the joined model, compared with the models that it is made of."""
    made = join(models, how)
    data: bytes = made.SerializeToString(deterministic=True)

    @cache  # opened once, and only where something is compared
    def parts() -> list[Answer]:
        return [open_onnx(model.SerializeToString()) for model in models]

    def expected(batch: NDArray[np.float32]) -> NDArray[Any]:
        views = [batch, np.ascontiguousarray(batch[..., ::-1])] if how.mirrored else [batch]
        return mean_answer(([part(view) for view in views] for part in parts()), how)

    apart = difference(expected, data, images)
    parity = "not compared, for ONNX Runtime is not installed"
    if apart is not None:
        parity = f"within {apart:.0e} of the models' mean"
    say(f"{name}: {len(made.graph.node)} nodes, {len(data) / 1e6:.1f} MB, {parity}")
    return data


def _read(source: Path) -> dict[str, Any]:
    path = source / DOCUMENT
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read.", _REMEDY) from error
    return value if isinstance(value, dict) else {}


def _images(bundle: Path, document: _Document) -> torch.Tensor:
    """The bundle's first images as the models want them, (5, C, H, W) float32."""
    said = {key: value for key, value in document.input.items() if value is not None}
    own = {key: value for key, value in said.items() if _USUAL.get(key) != value}
    settings = validated(InputSettings, own, f"input of {DOCUMENT}", remedy=_REMEDY)
    opened = open_bundle(bundle)
    if opened.document.track != document.track:
        raise UsageError(
            f"{bundle} is of {opened.document.track}, the submission of {document.track}.",
            "Name the bundle that it was trained on.",
        )
    size = (settings.height, settings.width)
    cases = opened.cases[: max(PARITY_BATCHES)]
    boxed = [letterbox(read_case(opened, case)[0], size, BILINEAR) for case in cases]
    images = (torch.from_numpy(np.stack(boxed)).float() / 255 - settings.mean) / settings.std
    return images[:, None].repeat(1, settings.channel_count, 1, 1)


def _model(path: Path, digest: str) -> ModelProto:
    try:
        data = path.read_bytes()
        model = onnx.load_model_from_string(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).", _REMEDY) from error
    except DecodeError as error:
        raise UsageError(f"{path} is no ONNX file.", _REMEDY) from error
    if sha256_bytes(data) != digest:
        raise UsageError(f"{path} is not the file that {DOCUMENT} declares.", _REMEDY)
    if not can_be_joined(model):
        raise UsageError(f"{path} is not one flat graph.", _REMEDY)
    return model

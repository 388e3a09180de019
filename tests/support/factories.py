"""Reports for tests: plausible, complete, and changed only where a test says so."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml

from evaluator.documents.inference import CountedModel, Measured, Runtime
from evaluator.documents.notes import MethodNotes
from evaluator.documents.scores import (
    AwesomeBusScores,
    Consistency,
    GroupScores,
    MetricProfile,
    MetricSummary,
    Scores,
)
from evaluator.documents.submission import ModelLimits
from evaluator.metrics import VERSIONS, profile_version
from harness.challenge import Limits
from harness.ledger import RecordedReport
from harness.ledger.report import Provenance, Report
from harness.sealing.documents import TrainingBundle

# When entries of tests are recorded that no clock is asked for.
TIME = "2026-11-01T12:00:00Z"
UNITS = {"dice": "", "iou": "", "hd95": "px"}

RUNTIME = Runtime(
    backend="onnxruntime",
    backend_version="1.23.0",
    provider="CPUExecutionProvider",
    device="cpu",
    precision="fp32",
    fixed_batches=(),
    repeatable=True,
    threads=2,
    measured=Measured(
        device_name="Some CPU",
        latency_ms=1.0,
        batch_sizes=(1,),
        batch_dependent=(),
        repeated_cases=8,
        seconds=20.0,
        host_memory_mb=200,
        gpu_memory_mb=None,
        gpu_memory_of=None,
        energy_j=None,
    ),
)


def digest_of(text: str) -> str:
    """A digest that looks like one, the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()


SOURCE = {"cite": "a paper", "release": "a page", "terms": "free"}


def make_training_bundle(**changes: Any) -> TrainingBundle:
    """What a training bundle of one case says of itself."""
    stated: dict[str, Any] = {
        "dataset": "phantom",
        "track": "phantom",
        "split_version": "v1",
        "split_digest": "1" * 64,
        "folds": 2,
        "cases": 1,
        "cases_sha256": "2" * 64,
        "test_cases": 1,
        "windows": 4,
        "infer": Limits(),
        "source": SOURCE,
        "model": ModelLimits(),
    }
    return TrainingBundle(**stated | changes)


def submission_document(files: Mapping[str, bytes], /, **changes: object) -> dict[str, object]:
    """What `submission.yaml` says of these files, one a fold, or one for all."""
    folds = range(len(files)) if len(files) > 1 else (None,)
    named = [
        {"fold": fold, "file": name, "sha256": hashlib.sha256(data).hexdigest()}
        for fold, (name, data) in zip(folds, files.items(), strict=True)
    ]
    return {
        "schema": "busbench/submission/v2",
        "team": "team",
        "method": "method",
        "track": "phantom",
        "input": {"height": 64, "width": 64, "resize": "letterbox"},
        "output": {},
        "models": named,
        "opset": 17,
        **changes,
    }


def hand_in(folder: Path, *models: bytes) -> Path:
    """A submission's folder, with one model a fold, or one for all."""
    folder.mkdir()
    files = {f"fold-{fold}.onnx": data for fold, data in enumerate(models)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "submission.yaml").write_text(yaml.safe_dump(submission_document(files)))
    return folder


def make_summary(
    mean: float, std: float | None = 0.01, half_width: float | None = 0.02, *, folds: int = 5
) -> MetricSummary:
    """One metric; the folds lie evenly around the mean."""
    offsets = [(k - (folds - 1) / 2) * (std or 0.0) / 2 for k in range(folds)]
    return MetricSummary(
        mean=mean,
        std=None if folds == 1 else std,
        ci_low=None if half_width is None else max(0.0, mean - half_width),
        ci_high=None if half_width is None else mean + half_width,
        folds=tuple(mean + offset for offset in offsets),
    )


def make_group(dice: float, iou: float, hd95: float, *, cases: int = 40, **how: Any) -> GroupScores:
    """All metrics over one group."""
    return GroupScores(
        cases=cases,
        patients=max(1, cases // 2),
        metrics={
            "dice": make_summary(dice, **how),
            "iou": make_summary(iou, **how),
            "hd95": make_summary(hd95, **{"std": 2.0, "half_width": 4.0, **how}),
        },
    )


def make_report(
    team: str = "reference",
    method: str = "cmunext",
    *,
    dice: float = 0.8,
    iou: float | None = None,
    hd95: float = 20.0,
    folds: int = 5,
    track: str = "busbra",
    dataset: str = "busbra",
    split_version: str = "v1",
    status: Literal["complete", "incomplete"] = "complete",
    labels: Literal["public", "private"] = "public",
    trained_here: str | None = None,
    runner: Literal["docker", "process"] = "docker",
    units: dict[str, str] | None = None,
    spaced: int = 0,
    metric_profile: str = "native@1",
    latency_ms: float = 12.5,
    measured: Mapping[str, object] | None = None,
    gmacs: float | None = 1.42,
    parameters: int = 418_000,
    half_width: float | None = 0.02,
    gap: float | None = None,
    split_digest: str | None = None,
    sealed_images: str = "images",
    sealed_labels: str = "labels",
    notes: Mapping[str, object] | None = None,
) -> Report:
    """A report of one submission on one track; `gap` is the consistency gap of its Dice.

    Args:
        measured: fields of `Measured` that differ from `RUNTIME`'s.
    """
    iou = dice / (2 - dice) if iou is None else iou
    how: dict[str, Any] = {"folds": folds} | ({"half_width": None} if half_width is None else {})
    models = tuple(
        CountedModel(
            fold=None if folds == 1 else fold,
            sha256=digest_of(f"{team}/{method}/{fold}"),
            opset=17,
            nodes=180,
            parameters=parameters,
            gmacs=gmacs,
        )
        for fold in range(folds)
    )
    predictions = digest_of(f"predictions of {team}/{method}")
    everything = make_group(dice, iou, hd95, **how)
    if gap is not None:
        means = {"transformed": dice - gap, "gap": gap}
        held = {name: {"dice": make_summary(mean, **how)} for name, mean in means.items()}
        everything = everything.model_copy(
            update={"consistency": Consistency.model_validate({"cases": 30, "windows": 4, **held})}
        )
    found = RUNTIME.measured.model_copy(update={"latency_ms": latency_ms, **(measured or {})})
    return Report(
        team=team,
        method=method,
        notes=MethodNotes.model_validate(notes or {}),
        track=track,
        dataset=dataset,
        split_version=split_version,
        labels=labels,
        status=status,
        scores=Scores(
            metric_profile=named_profile(metric_profile),
            units=UNITS if units is None else units,
            groups={
                "all": everything,
                "lesion": make_group(max(0.0, dice - 0.05), iou, hd95 + 3, cases=30, **how),
                "normal": make_group(0.9, 0.9, 8.0, cases=10, **how),
            },
            awesome_bus_2025=AwesomeBusScores(
                metric_profile=profile_version("awesome-bus-2025").identity,
                metrics={
                    "dice": make_summary(dice / 2, half_width=None, folds=folds),
                    "iou": make_summary(iou / 2, half_width=None, folds=folds),
                    "hd95": make_summary(hd95 / 2, 2.0, None, folds=folds),
                },
                dropped=0,
            ),
            true_negatives=45,
            invalid=0 if status == "complete" else 3,
            spaced=spaced,
            predictions_sha256=predictions,
            labels_sha256=digest_of(sealed_labels),
        ),
        models=models,
        runtime=RUNTIME.model_copy(update={"measured": found}),
        provenance=Provenance(
            submission_sha256=digest_of(f"{team}/{method}"),
            models_sha256=tuple(model.sha256 for model in models),
            split_digest=split_digest or digest_of(f"{track}/{split_version}"),
            sealed_images_sha256=digest_of(sealed_images),
            sealed_labels_sha256=digest_of(sealed_labels),
            predictions_sha256=predictions,
            evaluator={"infer": "sha256:" + "a" * 64, "score": "sha256:" + "b" * 64},
            runner=runner,
            busbench="0.1.0",
            trained_here=trained_here,
        ),
    )


def named_profile(label: str) -> MetricProfile:
    """A metric profile as a report states it, also one that no release knows."""
    if label in VERSIONS:
        return VERSIONS[label].identity
    name, _, version = label.partition("@")
    return MetricProfile(name=name, version=int(version or 1), digest=digest_of(label))


def make_image_report(method: str = "container", image: str = "sha256:" + "c" * 64) -> Report:
    """A report of a container image that predicts."""
    document = make_report(method=method, folds=1).document()
    document["models"], document["provenance"]["models_sha256"] = [], []
    document["provenance"]["image"] = image
    runtime = document["runtime"]
    runtime |= {"backend": "image", "precision": None}
    runtime["measured"] |= {"latency_ms": None, "batch_sizes": []}
    return Report.model_validate(document)


def recorded(reports: Sequence[Report]) -> list[RecordedReport]:
    """Reports as a verified ledger gives them, in their order."""
    return [
        RecordedReport(
            *(number, digest_of(f"entry {number}"), TIME),
            load=partial(Report.model_copy, report),
        )
        for number, report in enumerate(reports, start=1)
    ]


@dataclass(frozen=True)
class Entrant:
    """Who hands in, as far as the submission log cares."""

    team: str
    digest: str
    method: str = "m"
    track: str = "busbra"

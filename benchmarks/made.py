"""Inputs that the measurements make up: a plausible report, and a sealed set of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pyrage
from numpy.typing import NDArray
from onnx import TensorProto, helper

from evaluator.documents.base import write
from evaluator.documents.inference import CountedModel, GateVerdict, Measured, Runtime
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.scores import (
    RANKED,
    AwesomeBusScores,
    Consistency,
    GroupScores,
    MetricSummary,
    Scores,
)
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.files import sha256_bytes
from evaluator.metrics import profile_version
from evaluator.sealed import seal_archive
from harness.ledger.report import Provenance, Report

DIGEST = "0" * 64
MEANS = {"dice": 0.8, "iou": 0.67, "hd95": 20.0}


def summary(mean: float) -> MetricSummary:
    """A metric of five equal folds."""
    return MetricSummary(mean=mean, std=0.0, ci_low=mean, ci_high=mean, folds=(mean,) * 5)


def make_report(method: str = "method", gap: float = 0.02) -> Report:
    """A complete report of one submission; `gap` is the consistency gap of its Dice."""
    group = GroupScores(
        cases=40, patients=20, metrics={name: summary(mean) for name, mean in MEANS.items()}
    )
    consistency = Consistency.model_validate(
        {
            "cases": 30,
            "windows": 4,
            "transformed": {"dice": summary(MEANS["dice"] - gap)},
            "gap": {"dice": summary(gap)},
        }
    )
    models = [
        CountedModel(
            fold=fold,
            sha256=sha256_bytes(f"{method} {fold}".encode()),
            opset=17,
            nodes=180,
            parameters=418_000,
            gmacs=1.42,
        )
        for fold in range(5)
    ]
    return Report(
        team="Benchmark",
        method=method,
        track="busbra",
        dataset="busbra",
        split_version="v1",
        labels="public",
        status="complete",
        scores=Scores(
            metric_profile=profile_version("native").identity,
            units={"dice": "", "iou": "", "hd95": "px"},
            groups={
                "all": group.model_copy(update={"consistency": consistency}),
                "lesion": group,
                "normal": group,
            },
            awesome_bus_2025=AwesomeBusScores(
                metric_profile=profile_version("awesome-bus-2025").identity,
                metrics={key: group.metrics[key] for key in RANKED},
                dropped=0,
            ),
            true_negatives=45,
            invalid=0,
            spaced=0,
            predictions_sha256=DIGEST,
            labels_sha256=DIGEST,
        ),
        models=tuple(models),
        runtime=Runtime(
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
                batch_sizes=(1,) * 5,
                batch_dependent=(),
                repeated_cases=8,
                seconds=20.0,
                host_memory_mb=200,
                gpu_memory_mb=None,
                gpu_memory_of=None,
                energy_j=None,
            ),
        ),
        provenance=Provenance(
            submission_sha256=sha256_bytes(method.encode()),
            models_sha256=tuple(model.sha256 for model in models),
            split_digest=DIGEST,
            sealed_images_sha256=DIGEST,
            sealed_labels_sha256=DIGEST,
            predictions_sha256=DIGEST,
            evaluator={"infer": f"sha256:{DIGEST}", "score": f"sha256:{DIGEST}"},
            runner="docker",
            busbench="0.1.0",
            trained_here=None,
        ),
    )


def echo() -> bytes:
    """An ONNX file whose output is the image that it sees."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, "h", "w"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@dataclass(frozen=True)
class Submitted:
    """A submission of one model, which the gate has passed."""

    folder: Path
    submission: Submission
    verdict: Path


@dataclass(frozen=True)
class InferInputs:
    """Everything that an infer stage reads, and where it writes; the gate has passed the model."""

    submission_folder: Path
    submission: Submission
    images: Path
    key: Path
    verdict: Path
    out: Path


def seal_images(
    root: Path,
    images: Sequence[NDArray[np.uint8]],
    model: bytes,
    *,
    side: int,
    output: OutputSpec,
    seed: str | None = None,
) -> InferInputs:
    """Seal grey images (H, W) below `root` and submit one model for all folds; see `submit`.

    Args:
        seed: of the consistency pass; without one there is none.
    """
    made = submit(root, model, side=side, output=output)
    sealed, key = seal(root, images, seed)
    out = root / "out"
    out.mkdir()
    return InferInputs(made.folder, made.submission, sealed, key, made.verdict, out)


def seal(
    root: Path, images: Sequence[NDArray[np.uint8]], seed: str | None = None
) -> tuple[Path, Path]:
    """Seal grey images (H, W) in the folder `root`: the archive and its key."""
    identity = pyrage.x25519.Identity.generate()
    cases = tuple(
        SealedCase(case_id=f"c{n:05}", height=i.shape[0], width=i.shape[1], file=f"{n}.grey")
        for n, i in enumerate(images)
    )
    index = SealedIndex(split_digest=DIGEST, consistency_seed=seed, repeat_seed=DIGEST, cases=cases)
    sealed, key = root / "images.age", root / "images.key"
    key.write_text(str(identity))
    sealed.write_bytes(
        seal_archive(index, (image.tobytes() for image in images), str(identity.to_public()))
    )
    return sealed, key


def submit(root: Path, model: bytes, *, side: int, output: OutputSpec) -> Submitted:
    """Write a submission of one model for all folds below `root`, and the gate's verdict.

    Args:
        side: height and width of the network's input; images are stretched to it.
    """
    made = ModelFile(file="0.onnx", sha256=sha256_bytes(model))
    submission = Submission(
        team="Benchmark",
        method="net",
        track="phantom",
        input=InputSpec(height=side, width=side, resize="stretch"),
        output=output,
        models=(made,),
        opset=17,
    )
    counted = CountedModel(
        fold=None, sha256=made.sha256, opset=17, nodes=1, parameters=0, gmacs=None
    )
    verdict = GateVerdict(submission_sha256=submission.digest, models=(counted,))
    folder, gate = root / "submission", root / "gate.json"
    folder.mkdir(parents=True)
    (folder / made.file).write_bytes(model)
    write(submission, folder / "submission.yaml")  # JSON is YAML
    write(verdict, gate)
    return Submitted(folder, submission, gate)

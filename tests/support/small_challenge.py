"""A whole challenge of 48 tiny cases, and submissions to it. Stages run as plain processes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from evaluator.documents.base import write
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.files import sha256_bytes
from harness.audit import audit
from harness.challenge import Challenge, Track
from harness.evaluation.evaluate import EvaluateSubmission, Evaluation
from harness.execution import ExecutionEnvironment, run_job
from harness.quotas import SubmissionLog
from harness.sealing.bundle import Bundles, Recipients, seal
from harness.sealing.keys import Keys
from harness.splits import freeze
from harness.store import write_store
from tests.support.samples import SECRET, samples

SIDE = 32


@dataclass(frozen=True)
class SmallChallenge:
    """The organiser's side: `root` has store, splits/v1 with its secret, bundles and keys."""

    root: Path
    keys: Keys
    bundles: Bundles

    @classmethod
    def make(cls, root: Path, *, spacing: tuple[float, float] | None = None) -> SmallChallenge:
        store = write_store(root / "store", "phantom", samples(spacing=spacing))
        split = freeze(
            store, audit(store, near=False), root / "splits" / "v1", version="v1", secret=SECRET
        )
        (root / "splits" / "v1.secret").write_text(SECRET.hex() + "\n")
        keys = Keys.new(root / "keys")
        recipients = Recipients(keys.images.recipient, keys.labels.recipient)
        return cls(root, keys, seal(store, split, recipients, out=root / "bundles", windows=2))

    @property
    def settings(self) -> Challenge:
        return Challenge(tracks={"phantom": Track(dataset="phantom", split_version="v1")})

    def evaluate(self, submission: Path, runs: Path) -> Evaluation:
        job = self.job(submission, runs)
        run_job(job)
        return job.finished()

    def job(self, submission: Path, runs: Path) -> EvaluateSubmission:
        environment = ExecutionEnvironment("process", self.settings, self.keys.path)
        return EvaluateSubmission.of(submission, self.bundles, runs, environment=environment)


@dataclass(frozen=True)
class Evaluated:
    """A small challenge with one evaluated submission and its ledger."""

    challenge: SmallChallenge
    runs: Path
    ledger: Path
    report: Path

    def copied_ledger(self, folder: Path) -> Path:
        """A copy of the ledger, with its submission log."""
        log = SubmissionLog.beside(self.ledger).path
        shutil.copy(log, folder / log.name)
        return Path(shutil.copy(self.ledger, folder / self.ledger.name))


def model_bytes(bias: float) -> bytes:
    """A network of one 1×1 convolution: the lesion is where the image is bright enough."""
    tensors = {
        "weight": np.full((1, 1, 1, 1), 4.0, np.float32),
        "bias": np.full((1,), bias, np.float32),
    }
    shape: list[str | int | None] = ["n", 1, SIDE, SIDE]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "weight", "bias"], ["y"], name="conv")],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def declare(folder: Path, data: bytes, **changes: object) -> Path:
    """Change the one model of a submission's folder, and fields of its document."""
    path = folder / "submission.yaml"
    (folder / "all.onnx").write_bytes(data)
    document = yaml.safe_load(path.read_text()) | changes
    document["models"][0]["sha256"] = sha256_bytes(data)
    path.write_text(yaml.safe_dump(document))
    return folder


def make_submission(
    folder: Path, team: str = "team", method: str = "bright", *, bias: float = -2.0
) -> Path:
    """A submission's folder with one model for all folds."""
    folder.mkdir(parents=True, exist_ok=True)
    data = model_bytes(bias)
    (folder / "all.onnx").write_bytes(data)
    document = Submission(
        team=team,
        method=method,
        track="phantom",
        input=InputSpec(height=SIDE, width=SIDE, resize="letterbox"),
        output=OutputSpec(),
        opset=17,
        models=(ModelFile(file="all.onnx", sha256=sha256_bytes(data)),),
    )
    write(document, folder / "submission.yaml")  # JSON is YAML
    return folder

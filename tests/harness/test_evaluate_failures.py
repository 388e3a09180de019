"""An evaluation that fails: nothing is signed, and the participant reads no more than is safe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from onnx import helper, numpy_helper

from evaluator.documents.base import write
from evaluator.documents.sealed import SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file
from evaluator.progress import Progress
from evaluator.sealed import seal_archive
from harness.challenge import Challenge
from harness.evaluation.evaluate import REPORT, EvaluateSubmission
from harness.execution import ExecutionEnvironment, run_job
from harness.ledger.provenance import ProvenanceAttestation, write_provenance
from harness.quotas.policy import consumes
from harness.sandbox.failure import explain
from harness.sandbox.participant_error import ERROR_FILE
from harness.sandbox.process_runner import ProcessRunner
from harness.sandbox.stage import Outcome, Stage
from harness.sealing.bundle import Bundles
from harness.sealing.documents import SealedBundle
from harness.sealing.keys import Keys
from harness.sealing.training import TrainingSet
from harness.submission import read_submission
from tests.support.factories import submission_document
from tests.support.inference import blur, dice_rolling, network
from tests.support.jobs import Given
from tests.support.training_bundle import make_bundle

pytestmark = pytest.mark.usefixtures("forked_stages")


@pytest.fixture
def bundles(tmp_path: Path, keys: Keys) -> Bundles:
    """A training bundle, and its own cases sealed as a test set."""
    root = tmp_path / "bundles"
    make_bundle(root / "training", 4, folds=2)
    training = TrainingSet.open(root)
    cases = tuple(known.case for known in training.cases)
    digest = training.bundle.split_digest
    index = SealedIndex(split_digest=digest, repeat_seed=digest, cases=cases)
    sealed = root / "sealed"
    sealed.mkdir()
    for name, key, files in (
        ("images.age", keys.images, map(training.image, cases)),
        ("labels.age", keys.labels, map(training.mask, cases)),
    ):
        (sealed / name).write_bytes(seal_archive(index, files, key.recipient))
    stated = SealedBundle(
        dataset="phantom",
        track="phantom",
        split_version="v1",
        split_digest=training.bundle.split_digest,
        labels="public",
        folds=2,
        cases=len(cases),
        images_sha256=sha256_file(sealed / "images.age"),
        labels_sha256=sha256_file(sealed / "labels.age"),
        consistency=False,
        image_recipient=keys.images.recipient,
        label_recipient=keys.labels.recipient,
    )
    write(stated, sealed / "bundle.json")
    return Bundles.open(root)


def hand_in(root: Path, model: bytes) -> Path:
    folder = root / "submission"
    folder.mkdir()
    (folder / "all.onnx").write_bytes(model)
    document = submission_document({"all.onnx": model})
    (folder / "submission.yaml").write_text(yaml.safe_dump(document))
    return folder


def nan_in_the_dusk() -> bytes:
    """What the gate tries is black or bright enough for it; the images are between."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Sub", ["mean", "dusk"], ["off"]),
        helper.make_node("Mul", ["off", "off"], ["far"]),
        helper.make_node("Sub", ["far", "near"], ["outside"]),
        helper.make_node("Log", ["outside"], ["log"]),
        helper.make_node("Add", ["x", "log"], ["y"]),
    ]
    stored = {"dusk": 0.2, "near": 0.15**2}
    arrays = [
        numpy_helper.from_array(np.array([v], np.float32), name) for name, v in stored.items()
    ]
    return network(nodes, arrays)


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """One that the gate refuses."""
    return hand_in(tmp_path, dice_rolling())


def refused(submission: Path, bundles: Bundles, keys: Keys) -> BusbenchError:
    runs = submission.parent / "runs"
    with pytest.raises(BusbenchError) as error:
        environment = ExecutionEnvironment("process", Challenge(), keys.path)
        run_job(EvaluateSubmission.of(submission, bundles, runs, environment=environment))
    assert not list(runs.rglob(REPORT)) and not list(runs.rglob("*.key"))
    return error.value


def participant_error_in(root: Path) -> tuple[Path, dict[str, str]]:
    """The one participant-facing error that is there, and its content."""
    (file,) = (root / "runs").rglob(ERROR_FILE)
    return file, json.loads(file.read_text())


def test_a_failure_leaves_a_participant_facing_error_and_the_whole_log(
    submission: Path, bundles: Bundles, keys: Keys
) -> None:
    error = refused(submission, bundles, keys)
    assert (error.code, error.stage) == ("gate-refused", "gate")
    file, stated = participant_error_in(submission.parent)
    assert (stated["stage"], stated["code"], stated["fault"]) == (
        "gate",
        "gate-refused",
        "submission",
    )
    assert str(submission.parent) not in json.dumps(stated)
    assert (file.parent / "gate.log").read_text()


def test_a_model_that_fails_is_blamed_after_another_one_ran(
    tmp_path: Path, bundles: Bundles, keys: Keys
) -> None:
    error = refused(hand_in(tmp_path, nan_in_the_dusk()), bundles, keys)
    assert (error.code, error.stage) == ("model-failed", "infer")
    file, stated = participant_error_in(tmp_path)
    assert (stated["stage"], stated["fault"]) == ("infer", "submission")
    assert stated["last_line"] == ""  # it could tell what was in the image
    assert (file.parent / "ready.log").exists()


def slow(_: Path) -> None:
    raise BusbenchError(Code.LIMIT_TIME, "It ran past its limit.", "r", stage="infer")


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["public", "private"])
def test_no_code_tells_of_private_cases(
    labels: str, tmp_path: Path, bundles: Bundles, keys: Keys
) -> None:
    stated = bundles.sealed.model_copy(update={"labels": labels})
    write(stated, bundles.path / "sealed" / "bundle.json")
    runner = Tampering("infer", slow)
    error = tampered(tmp_path, Bundles.open(bundles.path), keys, runner=runner)
    assert error.code == "limit-time" and consumes(error)  # for the organiser
    _, said = participant_error_in(tmp_path)
    public = "model-failed" if labels == "private" else "limit-time"
    assert (said["stage"], said["code"]) == ("infer", public)


PREDICTIONS_BOMBS = {
    "objects": b'{"cases":[' + b"{}," * 200_000 + b"{}]}",
    "masks that are gone": b"{}",
    "no JSON": b"\xff",
}


class Tampering(ProcessRunner):
    """Does to a stage's output what a model could that took the stage over; ours stay whole."""

    def __init__(self, stage: str, tamper: Callable[[Path], None]) -> None:
        super().__init__()
        self.stage, self.tamper = stage, tamper
        self.ran: list[str] = []

    def run(self, stage: Stage, progress: Progress) -> None:
        self.ran.append(stage.name)
        super().run(stage, progress)
        if stage.name == self.stage:
            self.tamper(stage.output)


def tampered(root: Path, bundles: Bundles, keys: Keys, *, runner: ProcessRunner) -> BusbenchError:
    """The error of an evaluation under `runner`."""
    environment = Given("process", Challenge(), keys.path, given=runner)
    folder = hand_in(root, blur())
    with pytest.raises(BusbenchError) as error:
        run_job(EvaluateSubmission.of(folder, bundles, root / "runs", environment=environment))
    return error.value


@pytest.mark.slow
@pytest.mark.parametrize("bomb", PREDICTIONS_BOMBS)
def test_predictions_that_cannot_be_read_are_the_submissions_fault(
    bomb: str, tmp_path: Path, bundles: Bundles, keys: Keys
) -> None:
    def tamper(out: Path) -> None:
        (out / "predictions.json").write_bytes(PREDICTIONS_BOMBS[bomb])

    error = tampered(tmp_path, bundles, keys, runner=Tampering("infer", tamper))
    assert (error.code, int(error.fault)) == ("predictions-invalid", 10)
    assert consumes(error)


@pytest.mark.slow
@pytest.mark.parametrize("text", [b"[" + b"{}," * 50_000 + b"{}]", b'{"models":[]}', b"{"])
def test_no_verdict_that_cannot_be_read_gives_a_free_try(
    text: bytes, tmp_path: Path, bundles: Bundles, keys: Keys
) -> None:
    def tamper(out: Path) -> None:
        (out / "gate.json").write_bytes(text)

    runner = Tampering("gate", tamper)
    error = tampered(tmp_path, bundles, keys, runner=runner)
    assert error.code == "gate-refused" and consumes(error)
    assert runner.ran == ["gate", "verdict"]


OUT_OF_MEMORY = Outcome(exit_code=137, oom_killed=True)
# What the gate says, and is not believed, of a machine that starts no more processes.
NOT_STARTED = Outcome(
    exit_code=30, error={"code": "stage-crashed", "message": "No start.", "remedy": "Again."}
)


class Dying(ProcessRunner):
    """Lets a stage die, on every input or on the submission's alone."""

    def __init__(self, stage: str, *, always: bool, how: Outcome = OUT_OF_MEMORY) -> None:
        super().__init__()
        self.stage, self.always, self.how = stage, always, how
        self.died = 0

    def run(self, stage: Stage, progress: Progress) -> None:
        if stage.command[0] == self.stage and (self.always or not self.died):
            self.died += 1
            partial = stage.output.with_name(f"{stage.output.name}.partial")
            partial.mkdir(exist_ok=True)
            (partial / "error.json").write_text(json.dumps(self.how.error))
            raise explain(stage, self.how)
        super().run(stage, progress)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "always", "code"),
    [
        ("score", False, "predictions-invalid"),
        ("score", True, "limits-too-low"),
        ("gate", False, "limit-memory"),
        ("gate", True, "limits-too-low"),
    ],
)
def test_a_stage_that_dies_is_the_submissions_fault_until_it_dies_on_ours(
    *, stage: str, always: bool, code: str, tmp_path: Path, bundles: Bundles, keys: Keys
) -> None:
    error = tampered(tmp_path, bundles, keys, runner=Dying(stage, always=always))
    assert error.code == code
    assert consumes(error) is not always
    assert stage in error.remedy or not always  # whose limits to raise


@pytest.mark.slow
@pytest.mark.parametrize(("always", "code"), [(False, "gate-refused"), (True, "stage-crashed")])
def test_a_gate_that_never_starts_is_not_the_submissions_fault(
    *, always: bool, code: str, tmp_path: Path, bundles: Bundles, keys: Keys
) -> None:
    """What a stage says of the machine is not believed; but then a submission of ours is tried."""
    runner = Dying("gate", always=always, how=NOT_STARTED)
    error = tampered(tmp_path, bundles, keys, runner=runner)
    assert error.code == code
    assert consumes(error) is not always


def test_the_organisers_wrong_key_is_never_the_submissions_fault(
    tmp_path: Path, bundles: Bundles, other_keys: Keys
) -> None:
    error = refused(hand_in(tmp_path, blur()), bundles, other_keys)
    assert error.code == "keys-invalid"
    assert not list((tmp_path / "runs").rglob("gate.json"))  # found before anything was run


def test_a_forged_note_ends_the_evaluation_before_it_begins(
    submission: Path, bundles: Bundles, keys: Keys, other_keys: Keys
) -> None:
    forged = ProvenanceAttestation(
        image="sha256:abc",
        submission_sha256=read_submission(submission).digest,
        split_digest=bundles.sealed.split_digest,
    )
    write_provenance(forged, submission, other_keys)
    assert refused(submission, bundles, keys).code == "provenance-invalid"
    assert not any(path.is_file() for path in (submission.parent / "runs").rglob("*"))

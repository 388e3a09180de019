"""Demo: every step once, from raw images to a published leaderboard.

Each step leaves a folder that is there only when it is whole, so a killed demo resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.documents.inference import GateVerdict
from evaluator.documents.scores import RANKED
from evaluator.documents.submission import Submission
from evaluator.progress import Progress
from harness.audit import audit
from harness.challenge import Challenge, Track
from harness.datasets import phantom
from harness.evaluation.evaluate import EvaluateSubmission, Evaluation
from harness.evaluation.images import check
from harness.execution import ExecutionEnvironment, run_job
from harness.execution.inputs import Input
from harness.export.citation import release_of
from harness.prepare import prepare
from harness.quotas.recording import LedgerRecorder
from harness.ranking.record import record_ranking
from harness.sandbox.references import ImageRequest
from harness.sealing.bundle import Bundles, Recipients, seal
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit, freeze, make_secret, read_secret, secret_path
from harness.store import CaseStore
from harness.submission import read_submission
from harness.training.train import REFERENCE, TrainImage
from harness.website import Sources, publish

Tell = Callable[[str, str], None]  # takes the name of a step and a line about it
DEMO_VERSION = "demo"
PHANTOM_PATIENTS = 60
PHANTOM_SEED = 42
TRAIN_COMMAND = ("run", "--config", "demo", "--bundle", "{bundle}", "--out", "{out}")


@dataclass(frozen=True)
class Demo:
    """What a finished demo left."""

    out: Path

    @property
    def ledger(self) -> Path:
        """The ledger, with the one result."""
        return self.out / "ledger.jsonl"

    @property
    def runs(self) -> Path:
        """The runs behind it."""
        return self.out / "runs"

    @property
    def site(self) -> Path:
        """The page of the board."""
        return self.out / "site" / "index.html"


@dataclass(frozen=True)
class DemoSettings:
    """What the demo runs on."""

    dataset: str = "phantom"
    raw: Path | None = None  # null: phantoms are generated


def run_demo(
    settings: DemoSettings,
    out: Path,
    environment: ExecutionEnvironment,
    *,
    progress: Progress,
    tell: Tell,
) -> Demo:
    """Do every step once, on a track of its own: the dataset's name, split `demo`.

    Args:
        environment: how stages are run; the demo makes keys of its own.
        tell: called with the name of a finished step and one line about it.

    Raises:
        BusbenchError: the first one of any step.
    """
    store, split = _freeze_data(settings, out, progress, tell=tell)
    track = Track(dataset=settings.dataset, split_version=DEMO_VERSION, folds=split.lock.folds)
    challenge = environment.challenge.model_copy(update={"tracks": {settings.dataset: track}})
    keys = Keys.open(out / "keys") if (out / "keys").exists() else Keys.new(out / "keys")
    recipients = Recipients(keys.images.recipient, keys.labels.recipient)
    bundles = seal(
        store,
        split,
        recipients,
        out=out / "bundles",
        limits=challenge.limits,
        progress=progress,
    )
    tell("seal", f"{bundles.training.cases} cases to train on, {bundles.sealed.cases} sealed")
    demo = Demo(out)
    environment = replace(environment, challenge=challenge, keys=keys.path)
    _participate(demo, bundles, environment, progress=progress, tell=tell)
    for ranked in record_ranking(
        demo.ledger, [demo.runs], keys, challenge=challenge, progress=progress
    ):
        tell("rank", f"ranking of {ranked.track}: {ranked.state}")
    _publish(demo, keys, challenge, shows=release_of(settings.dataset).may_show, progress=progress)
    tell("publish", str(demo.site))
    return demo


def _publish(
    demo: Demo, keys: Keys, challenge: Challenge, *, shows: bool, progress: Progress
) -> None:
    """Publish the site; its sheets only where the terms let images be shown."""
    publish(
        demo.ledger,
        demo.out / "site",
        [demo.out / "split"],
        sources=Sources(stores=[demo.out / "store"], cases=[demo.runs] if shows else ()),
        challenge=challenge,
        keys=keys,
        progress=progress,
    )


def _participate(
    demo: Demo,
    bundles: Bundles,
    environment: ExecutionEnvironment,
    *,
    progress: Progress,
    tell: Tell,
) -> None:
    """Train the reference network, check and evaluate its submission, and record the result."""
    assert environment.keys is not None
    training = TrainImage(
        name=REFERENCE,
        image=ImageRequest(REFERENCE),
        command=TRAIN_COMMAND,
        bundle=Input(bundles.path / "training"),
        facts=bundles.training,
        out=demo.out / "submission",
        environment=environment,
    )
    run_job(training, progress)
    submission = read_submission(training.out)
    tell("train", f"{submission.method}, {len(submission.models)} folds, exported to ONNX")
    with environment.open(progress) as context:
        tell("check", _checked(submission, check(training.out, context)))
    evaluation = EvaluateSubmission.of(training.out, bundles, demo.runs, environment=environment)
    recorder = LedgerRecorder(Keys.open(environment.keys), demo.ledger, environment.challenge)
    run_job(evaluation, progress, recorder)
    tell("evaluate", _scored(evaluation.finished()))
    accepted = recorder.accepted.get(evaluation.key)
    if accepted is not None and accepted.appended is not None:
        tell("ledger", f"entry {accepted.appended.entry.number} of {demo.ledger}")


def _freeze_data(
    settings: DemoSettings, out: Path, progress: Progress, *, tell: Tell
) -> tuple[CaseStore, FrozenSplit]:
    raw = settings.raw
    if raw is None:
        raw = out / "raw"
        if not raw.exists():  # it appears only when it is whole
            phantom.generate(raw, PHANTOM_PATIENTS, PHANTOM_SEED, progress=progress)
    store = prepare(settings.dataset, raw, out / "store", progress=progress).store
    tell("prepare", f"{store.info.cases} cases, {store.info.patients or 'unknown'} patients")
    report = audit(store, progress=progress)
    tell("audit", f"{len(report.pairs)} pairs, {len(report.groups)} groups that stay together")
    path = secret_path(out / "split")
    secret = read_secret(path) if path.exists() else make_secret(path)
    split = freeze(store, report, out / "split", version=DEMO_VERSION, secret=secret)
    tell("freeze", _counted(split.lock.counts))
    return store, split


def _counted(counts: Mapping[str, Mapping[str, int]]) -> str:
    parts = {part: sum(counts[part].values()) for part in ("train", "test")}
    return f"{parts['train']} to train on, {parts['test']} held out, by patient"


def _checked(submission: Submission, verdict: GateVerdict) -> str:
    model = verdict.models[0]
    return f"accepted: {model.parameters:,} parameters, opset {submission.opset}"


def _scored(result: Evaluation) -> str:
    metrics = result.report.scores.groups["all"].metrics
    return ", ".join(f"{name} {metrics[name].mean:.4f}" for name in RANKED)

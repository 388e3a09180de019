"""Demo: every step once, from raw images to a published leaderboard of four methods.

`METHODS` are a trained network, a network fitted in closed form, one that finds no lesion anywhere,
and one that cheats, so that the board has groups, gaps and marks to show. Each step leaves a folder
that is there only when it is whole, so a killed demo resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.documents.scores import RANKED
from evaluator.progress import Progress
from harness.audit import audit
from harness.challenge import Challenge, Track
from harness.datasets import phantom
from harness.evaluation.evaluate import EvaluateSubmission, Evaluation
from harness.evaluation.images import check
from harness.execution import ExecutionEnvironment, run_job
from harness.execution.inputs import Input
from harness.export.citation import release_of
from harness.folders import let_all_read
from harness.prepare import prepare
from harness.quotas.recording import LedgerRecorder
from harness.ranking.metrics import BY_KEY
from harness.ranking.record import record_ranking
from harness.sandbox.references import ImageRequest
from harness.sealing.bundle import Bundles, Recipients, seal
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit, freeze, make_secret, read_secret, secret_path
from harness.store import CaseStore
from harness.submission import read_submission
from harness.training.train import REFERENCE, TrainImage, TrainSettings, train
from harness.website import Sources, publish

Tell = Callable[[str, str], None]  # takes the name of a step and a line about it
DEMO_VERSION = "demo"
PHANTOM_PATIENTS = 60
PHANTOM_SEED = 42
TEAM = "BUSBench demo"
FILES = ("--bundle", "{bundle}", "--out", "{out}")


@dataclass(frozen=True)
class Method:
    """A submission of the demo, made by our own participant's image.

    Args:
        cheats: it reads the prepared release with its test cases, so nothing attests where it was
            trained; the others have the training bundle alone.
    """

    name: str
    command: tuple[str, ...]
    cheats: bool = False


def _baseline(kind: str, *options: str) -> tuple[str, ...]:
    return ("baseline", "--kind", kind, "--team", TEAM, *options, *FILES)


METHODS = (
    Method("unext", ("run", "--config", "demo", *FILES)),
    Method("closed-form", _baseline("closed-form")),
    Method("empty", _baseline("empty", "--method", "empty mask")),
    Method("memoriser", _baseline("memoriser", "--published", "{published}"), cheats=True),
)


@dataclass(frozen=True)
class Demo:
    """What a finished demo left."""

    out: Path

    @property
    def ledger(self) -> Path:
        """The ledger, with a result of each method."""
        return self.out / "ledger.jsonl"

    @property
    def runs(self) -> Path:
        """The runs behind it."""
        return self.out / "runs"

    @property
    def site(self) -> Path:
        """The page of the board."""
        return self.out / "site" / "index.html"

    def submission(self, method: str) -> Path:
        """The folder of a method's submission."""
        return self.out / "submissions" / method


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
    sealed = _SealedTrack(demo, store, bundles, environment)
    for method in METHODS:
        _participate(method, sealed, progress=progress, tell=tell)
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


@dataclass(frozen=True)
class _SealedTrack:
    demo: Demo
    store: CaseStore
    bundles: Bundles
    environment: ExecutionEnvironment


def _participate(method: Method, track: _SealedTrack, *, progress: Progress, tell: Tell) -> None:
    """Make, check and evaluate a submission, and record the result."""
    environment, ledger = track.environment, track.demo.ledger
    assert environment.keys is not None
    make = _learn_by_heart if method.cheats else _train
    folder = make(method, track, progress=progress)
    submission = read_submission(folder)
    tell("train", f"{submission.method}, {_models(len(submission.models))}")
    with environment.open(progress) as context:
        verdict = check(folder, context)
    tell("check", f"{submission.method} accepted: {verdict.models[0].parameters:,} parameters")
    runs = track.demo.runs
    evaluation = EvaluateSubmission.of(folder, track.bundles, runs, environment=environment)
    recorder = LedgerRecorder(Keys.open(environment.keys), ledger, environment.challenge)
    run_job(evaluation, progress, recorder)
    tell("evaluate", f"{submission.method}: {_scored(evaluation.finished())}")
    accepted = recorder.accepted.get(evaluation.key)
    if accepted is not None and accepted.appended is not None:
        tell("ledger", f"entry {accepted.appended.entry.number} of {ledger}")


def _train(method: Method, track: _SealedTrack, *, progress: Progress) -> Path:
    """Train on the training bundle, with an attestation that it was so."""
    training = TrainImage(
        name=method.name,
        image=ImageRequest(REFERENCE),
        command=method.command,
        bundle=Input(track.bundles.path / "training"),
        facts=track.bundles.training,
        out=track.demo.submission(method.name),
        environment=track.environment,
    )
    run_job(training, progress)
    return training.out


def _learn_by_heart(method: Method, track: _SealedTrack, *, progress: Progress) -> Path:
    """Make the submission of who has the answers; without the keys, which would attest."""
    out = track.demo.submission(method.name)
    if not out.exists():
        let_all_read(track.store.path)  # no other container is given the store
        settings = TrainSettings(None, method.command, inputs={"published": track.store.path})
        with replace(track.environment, keys=None).open(progress) as context:
            train(track.bundles.path / "training", out, settings, context=context)
    return out


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


def _models(number: int) -> str:
    return "one model for all folds" if number == 1 else f"a model for each of {number} folds"


def _scored(result: Evaluation) -> str:
    metrics = result.report.scores.groups["all"].metrics
    return ", ".join(f"{name} {BY_KEY[name].number(metrics[name].mean)}" for name in RANKED)

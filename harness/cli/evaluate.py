"""`busbench evaluate`."""

from __future__ import annotations

from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from harness.challenge import HiddenPart
from harness.cli.app import app
from harness.cli.effects import Checked
from harness.cli.evaluation_view import print_evaluations, validate
from harness.cli.options import (
    Backend,
    BackendOption,
    BatchSizeOption,
    ChallengeOption,
    ClusterOption,
    DeviceOption,
    InferDevice,
    InputsOption,
    JsonOption,
    LedgerOption,
    OptionalKeys,
    Part,
    PrecisionOption,
    RunnerName,
    RunnerOption,
    read_batch_size,
    read_challenge,
)
from harness.cli.run_view import do_jobs, make_jobs
from harness.cli.submissions import LOCAL, Named, folders, names_image
from harness.evaluation.evaluate import EvaluateSubmission
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.validation import ValidateSubmission
from harness.execution import ExecutionEnvironment
from harness.ledger import known_keys
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys
from harness.sealing.training import TrainingSet
from harness.submission import read_entry


@app.command(cls=Checked)
def evaluate(
    submission: Annotated[
        list[str],
        typer.Argument(
            help="The submission's folder, or a container image that predicts, by digest "
            "(registry/name@sha256:…); or many."
        ),
    ],
    bundle: Annotated[
        Path,
        typer.Option(
            help="The folder with both bundles; for val, the training bundle.",
            exists=True,
            file_okay=False,
        ),
    ],
    keys: OptionalKeys = None,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Where runs are kept; each is private.", file_okay=False)
    ] = Path("runs"),
    part: Annotated[
        Part | None,
        typer.Option(
            help="test: the sealed test set; val: each fold's own validation cases; final: the "
            "sealed final part.",
            show_default="what the phase scores, or test",
        ),
    ] = None,
    ledger: LedgerOption = None,
    team: Annotated[
        str | None, typer.Option(help="Whose an image is that is named without a folder.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="What that image is called.", show_default="the image's name"),
    ] = None,
    received: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="The day (UTC) on which it came to you, if not today: its phase goes by it.",
        ),
    ] = None,
    device: DeviceOption = InferDevice.CPU,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = "auto",
    backend: BackendOption = Backend.ONNXRUNTIME,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="TRACK",
            help="Test what was trained on another track on this one, that of the bundle.",
        ),
    ] = None,
    splits: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --on: the frozen splits of both tracks, or a folder of them; repeatable.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    cluster: ClusterOption = None,
    inputs: InputsOption = None,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a submission on the sealed test set: gate, infer, score, sign.

    With --ledger, quotas and phases of challenge.yaml apply, and what the team may read is kept
    apart from the rest. The day on which a submission came is kept before anything is run, and its
    phase goes by that day, whenever it is run. Each submission is a job, here or on a --cluster;
    one that fails holds up no other. In a phase with `part: final` it is run on the final part, by
    the --keys of that part, and recorded by `busbench finalise` when the phase is over.

    With --part val: the same gate, inference and scoring on the validation folds of the training
    bundle, whose labels are public. It needs no keys, signs nothing, never touches a ledger, keeps
    every log whole, and leaves all masks as PNG, cases.csv and overlays.html, worst case first.
    Run either again after an interruption: finished stages are kept.

    With --on, where challenge.yaml offers `generalisation`: a submission that was trained on
    another track. Test patients with a twin in that track's training part are not scored. It takes
    quota on the track that it is tested on, and is never ranked there.

    Example: busbench evaluate submission --bundle bundles --keys keys --out runs --ledger l.jsonl

    Example: busbench evaluate submission --bundle bundles/busi --on busi --splits splits --keys k

    Example: busbench evaluate submission --bundle training --part val

    Example: busbench evaluate registry/name@sha256:… --team us --bundle bundles --keys keys
    """
    settings = read_challenge(challenge)
    environment = ExecutionEnvironment(runner.value, settings, keys, known_keys(ledger))

    def settings_on(track: str, folder: Path) -> EvaluateSettings:
        own = "fp32" if names_image(folder) else settings.precision_of(track)
        chosen = own if precision is None else precision.value
        return EvaluateSettings(device.value, read_batch_size(batch_size), backend.value, chosen)

    _require_both(on, splits)
    if part is Part.VAL:
        _require_public(keys, ledger, on)
        track = TrainingSet.open(bundle).bundle.track
        named = Named(track, team or LOCAL, method, out_dir)

        def validation(each: Path) -> ValidateSubmission:
            return ValidateSubmission.of(
                each,
                bundle,
                out_dir,
                environment=environment,
                settings=settings_on(track, each),
                address=inputs,
            )

        made = make_jobs(validation, folders(submission, named))
        return validate(*made, cluster=cluster, as_json=as_json)
    if keys is None:
        message = "The sealed test set is opened with --keys."
        raise BusbenchError(Code.USAGE, message, "Name the organiser's keys, or use --part val.")
    came = received and received.date()
    bundles = cache(partial(Bundles.open, bundle))  # of a part
    track = bundles("final" if part is Part.FINAL else "test").sealed.track
    if on not in (None, track):
        message = f"{bundle} is of the track {track}, not of {on}."
        raise BusbenchError(Code.USAGE, message, "Name with --bundle the bundles to test on.")

    def scored_on(each: Path) -> HiddenPart:
        asked: HiddenPart = "final" if part is Part.FINAL else "test"
        if ledger is None or on is not None:
            return asked
        from harness.quotas.recording import part_of  # noqa: PLC0415  as below

        due = part_of(read_entry(each), ledger, settings, received=came)
        if part is not None and due != asked:
            message = f"{each} came in a phase that scores the part {due}, and not {asked}."
            raise BusbenchError(Code.USAGE, message, "Leave --part out, or --ledger.")
        return due

    def evaluation(each: Path) -> EvaluateSubmission:
        return EvaluateSubmission.of(
            each,
            bundles(scored_on(each)),
            out_dir,
            environment=environment,
            settings=settings_on(track, each),
            address=inputs,
            splits=splits,
        )

    recorder = None
    if ledger is not None:
        from harness.quotas.recording import LedgerRecorder  # noqa: PLC0415  imports pyarrow

        recorder = LedgerRecorder(Keys.open(keys), ledger, settings, received=came)
    jobs, refused = make_jobs(evaluation, folders(submission, Named(track, team, method, out_dir)))
    batch = do_jobs(jobs, cluster, recorder, refused=refused)
    return print_evaluations(batch, recorder, as_json=as_json)


def _require_public(keys: Path | None, ledger: Path | None, on: str | None) -> None:
    if ledger is not None or keys is not None or on is not None:
        message, remedy = (
            "--part val takes no keys, no ledger and no other track.",
            "Leave --keys, --ledger and --on out.",
        )
        raise BusbenchError(Code.USAGE, message, remedy)


def _require_both(on: str | None, splits: list[Path] | None) -> None:
    if (on is None) != (splits is None):
        message = "--on and --splits belong together: the splits say which twins are in training."
        raise BusbenchError(Code.USAGE, message, "Name the frozen splits of both tracks.")

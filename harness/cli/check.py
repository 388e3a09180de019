"""`busbench check`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from evaluator.documents.submission import ImageSubmission, Submission
from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.challenge import CHALLENGE
from harness.cli.app import app, out
from harness.cli.options import (
    ChallengeOption,
    JsonOption,
    RunnerName,
    RunnerOption,
    make_runner,
    read_challenge,
)
from harness.cli.progress import bars
from harness.cli.screen import print_json
from harness.cli.show import print_trial, print_verdict
from harness.cli.submissions import LOCAL, Named, folders, only_track
from harness.evaluation.forecast import forecast
from harness.evaluation.images import check as check_submission
from harness.evaluation.trial import try_image
from harness.sandbox.cached import Context
from harness.sealing.training import TrainingSet
from harness.submission import read_entry

LEFT_TO_SCORING = (
    "Only the scoring finds whether masks of all test images are valid and the same twice, how "
    "fast the organiser's machine is, and what quota and phase allow."
)

TRIED_AT = (
    "Tried at 256, 512 and 1024 pixels a side, and counted at 512: --bundle says how large the "
    "track's images are."
)


@app.command()
def check(
    submission: Annotated[
        str,
        typer.Argument(
            help="The submission's folder, or a container image that predicts, by digest "
            "(registry/name@sha256:…)."
        ),
    ],
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="The track's training bundle, to check track and folds, and to forecast how long "
            "inference takes.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    log: Annotated[
        Path | None,
        typer.Option(help="Write the whole log of the gate, or of an image, here.", dir_okay=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell whether the evaluator would take a submission; labels are never touched.

    With --bundle the largest model is run on some of its images, and the time of the inference on
    all test cases is forecast. Limits are those of challenge.yaml, or else of the bundle.

    A container image that predicts is run twice, in the sandbox and on the processor, on some of
    the bundle's images or else on drawn ones, and its masks are taken in as in an evaluation.

    Example: busbench check my-submission --bundle bundles/training --log gate.log

    Example: busbench check registry/name@sha256:… --bundle bundles/training
    """
    if log is not None and log.resolve().is_relative_to(Path(submission).resolve()):
        message = f"--log {log} would lie in the submission."
        raise BusbenchError(Code.USAGE, message, "Name a file outside of it.")
    settings = read_challenge(challenge)
    training = None if bundle is None else TrainingSet.open(bundle)
    facts = None if training is None else training.bundle
    if facts is not None and challenge is None and not CHALLENGE.exists():
        settings = settings.with_limits(facts.infer, facts.model)
    expected, trial = None, None
    with bars() as progress, TemporaryDirectory(prefix="busbench-check-") as name:
        track = facts.track if facts is not None else only_track(settings)
        (folder,) = folders([submission], Named(track, LOCAL, None, Path(name)))
        context = Context(make_runner(runner, settings, progress), settings, progress)
        verdict = check_submission(folder, context, log, training=training)
        if isinstance(entry := read_entry(folder), ImageSubmission):
            trial = try_image(entry, training, context=context, log=log)
        elif training is not None:
            expected = forecast(folder, verdict, training, context=context)
    if as_json:
        found = {"forecast": expected and expected.document(), "trial": trial and trial.document()}
        return print_json({**verdict.document(), **found})
    if trial is not None:
        return print_trial(trial, on_bundle=training is not None)
    print_verdict(verdict, settings.limits.model)
    if expected is not None:
        took, assumed = expected.lines
        out.print(harmless(f"inference        {took}"))
        out.print(harmless(f"assumed          {assumed}"))
    else:
        out.print(harmless("With the track's training bundle, --bundle, it forecasts the time."))
        if isinstance(entry, Submission) and entry.input.is_native:
            out.print(harmless(TRIED_AT))
    out.print(harmless(LEFT_TO_SCORING))
    return None

"""Tables of results for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluator.documents.inference import CountedModel, GateVerdict
from evaluator.documents.scores import RANKED, Scores
from evaluator.documents.submission import ModelLimits
from evaluator.harmless import harmless
from evaluator.scoring.groups import CLASSES, SIZES
from harness.cli.app import out
from harness.cli.screen import Grid
from harness.evaluation.case_table import MASKS, OVERLAYS, SHOWN, TABLE
from harness.evaluation.evaluate import REPORT, Evaluation
from harness.evaluation.trial import Trial
from harness.evaluation.validation import Validation
from harness.ledger.report import PrecisionLoss
from harness.ranking.metrics import BY_KEY, COSTS, GAP, NOT_COUNTED


def print_verdict(verdict: GateVerdict, limits: ModelLimits) -> None:
    """What the gate read off each model, and its limits."""
    table = Grid(harmless("The gate accepts this submission"))
    for name in ("fold", "opset", "nodes", "parameters", "GMACs"):
        table.column(harmless(name), right=True)
    for model in verdict.models:
        table.row(*map(harmless, _cells(model)))
    most = (limits.opset, f"{limits.nodes:,}", f"{limits.parameters:,}", f"{limits.gmacs:,g}")
    table.row(*map(harmless, ("limit", *map(str, most))))
    out.draw(table)


def print_trial(trial: Trial, *, on_bundle: bool) -> None:
    """What a container image made of a few images, and what it took."""
    table = Grid(harmless("This container image would be taken; nothing of it is counted"))
    for name in ("image", "height", "width", "marked, %"):
        table.column(harmless(name), right=name != "image")
    for each in trial.images:
        share = f"{100 * each.lesion_px / (each.height * each.width):.1f}"
        table.row(*map(harmless, (each.name, str(each.height), str(each.width), share)))
    out.draw(table)
    for head, text in trial.lines:
        out.print(harmless(f"{head:16} {text}"))
    whose = "the bundle's images" if on_bundle else "images that were drawn here"
    out.print(harmless(f"It was started twice on {whose}, with the same masks, on the processor."))
    if not on_bundle:
        out.print(harmless("With the track's training bundle, --bundle, it forecasts the time."))


def _cells(model: CountedModel) -> tuple[str, ...]:
    fold = "all" if model.fold is None else str(model.fold)
    gmacs = NOT_COUNTED if model.gmacs is None else f"{model.gmacs:.3f}"
    return fold, str(model.opset), str(model.nodes), f"{model.parameters:,}", gmacs


def _rank(group: str) -> tuple[int, str]:
    """The place of a group: all, lesions and normals, classes, sizes, then scanners."""
    first = (*CLASSES, *SIZES)
    return (first.index(group), "") if group in first else (len(first), group)


def print_report(result: Evaluation) -> None:
    """The scores of a finished evaluation, group by group."""
    report = result.report
    _print_scores(
        f"{report.method} by {report.team} on {report.track} ({report.status})", report.scores
    )
    if report.precision_loss is not None:
        out.print(harmless(_loss(report.precision_loss)))
    together = report.scores.ensemble
    if together is not None:
        means = ", ".join(
            f"{key} {BY_KEY[key].mean_and_std(together.metrics[key])}" for key in RANKED
        )
        out.print(harmless(f"ensemble of the {together.models} models ({together.rule}): {means}"))
    out.print(harmless("dice gap: what the lesion cases lose on secretly transformed images"))
    measured = report.runtime.measured
    taken = [
        f"{c.label.lower()} {c.number(measured)} {c.unit}" for c in COSTS if c.is_known(measured)
    ]
    latency = measured.latency_ms
    shown = taken if latency is None else [f"latency {latency:.2f} ms", *taken]
    out.print(harmless(f"on {measured.device_name}: {', '.join(shown)}"))
    _print_seconds(result.seconds)
    out.print(harmless(f"report           {result.folder / REPORT}"))


def print_validation(result: Validation) -> None:
    """The scores of an evaluation on the validation folds, and what they are worth."""
    made, folds = result.submission, ", ".join(map(str, result.folds))
    _print_scores(
        f"{made.method} by {made.team} on {made.track}, validation folds {folds}: "
        "mean ± std of the folds' means",
        result.scores,
        SHOWN,
    )
    means = ", ".join(
        f"{metric} {BY_KEY[metric].number(mean)}" for metric, mean in result.cases.mean.items()
    )
    out.print(harmless(f"mean of all cases, each once: {means}"))
    if result.loss is not None:
        out.print(harmless(_loss(result.loss)))
    for hint in result.cases.hints:
        out.print(harmless(f"look here: {hint}"))
    worth = (
        "One model serves all folds: it may have trained on every one of these cases."
        if result.one_for_all
        else "Each fold's model, on the cases that it did not train on."
    )
    out.print(harmless(worth))
    _print_seconds(result.seconds)
    out.print(harmless(f"scores and logs  {result.folder}"))
    out.print(harmless(f"case by case     {result.folder / TABLE}"))
    out.print(harmless(f"masks            {result.folder / MASKS}"))
    out.print(harmless(f"worst first      {result.folder / OVERLAYS}"))


def _print_seconds(stages: Mapping[str, float]) -> None:
    """How long each stage took; nothing where that is not known."""
    if stages:
        shown = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items())
        out.print(harmless(f"stages           {shown}"))


def _loss(loss: PrecisionLoss) -> str:
    """What a precision changes, in a sentence."""
    return (
        f"{loss.precision} against fp32: mean Dice {loss.dice:.5f} and {loss.dice_fp32:.5f}, so "
        f"{loss.dice_lost:.5f} lost; {loss.masks} of {loss.cases} masks differ, by {loss.pixels} "
        "pixels"
    )


def _print_scores(title: str, scores: Scores, shown: Sequence[str] = RANKED) -> None:
    table = Grid(harmless(title), harmless("group"))
    table.column(harmless("cases"), right=True)
    for metric in shown:
        table.column(harmless(f"{metric} {scores.units[metric]}".strip()), right=True)
    gaps = any(group.consistency for group in scores.groups.values())
    if gaps:
        table.column(harmless("dice gap"), right=True)
    for name in sorted(scores.groups, key=_rank):
        group = scores.groups[name]
        # a profile may leave out all cases of a group
        cells = [BY_KEY[metric].mean_and_std(group.metrics.get(metric)) for metric in shown]
        if gaps:
            gap = None if group.consistency is None else group.consistency.gap["dice"]
            cells.append(GAP.mean_and_std(gap))
        table.row(*map(harmless, (name, group.cases, *cells)))
    out.draw(table)

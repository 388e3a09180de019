"""Facts of a report for the page of its submission: notes, heads of scores, evidence."""

from __future__ import annotations

from evaluator.metrics import METRICS as DEFINED
from evaluator.metrics.secondary import SECONDARY
from harness.challenge import Challenge
from harness.ledger import RecordedReport
from harness.ledger.report import Report
from harness.ranking.metrics import COSTS


def track_title(challenge: Challenge, report: Report) -> str:
    """The title of a report's track, and that it is the final where it is."""
    title = challenge.title_of(report.track)
    return f"{title}, final" if report.part == "final" else title


def notes_of(report: Report) -> list[tuple[str, str | None]]:
    """What a team says of its method, but for links; None where it does not say."""
    said = report.notes
    return [
        ("Description", said.description),
        ("Authors", ", ".join(said.authors) or None),
        ("Licence", said.licence),
        ("External data", said.external_data),
        ("Pretrained weights", said.pretrained),
    ]


def score_titles(report: Report) -> dict[str, str]:
    """The metrics that a report contains, in the order in which they are defined."""
    present = {key for group in report.scores.groups.values() for key in group.metrics}
    titles = {}
    for key in [key for key in DEFINED if key in present]:
        unit = report.scores.units.get(key)
        arrow = "↑" if DEFINED[key].higher_is_better else "↓"
        titles[key] = f"{DEFINED[key].title}{f' [{unit}]' if unit else ''} {arrow}"
    for key in [key for key in SECONDARY if key in present]:
        titles[key] = f"{SECONDARY[key].title} {'↑' if SECONDARY[key].higher_is_better else '↓'}"
    return titles


def evidence_of(entry: RecordedReport) -> list[tuple[str, str]]:
    """What produced a report, by digest, and what it ran on."""
    report, made = entry.report, entry.report.provenance
    runtime = report.runtime
    return [
        ("Ledger entry", entry.digest),
        ("Submission", made.submission_sha256),
        *([("Image", made.image)] if made.image else []),
        ("Frozen split", made.split_digest),
        ("Sealed images", made.sealed_images_sha256),
        ("Sealed labels", made.sealed_labels_sha256),
        ("Predictions", made.predictions_sha256),
        *((f"Evaluator, {stage}", image) for stage, image in sorted(made.evaluator.items())),
        ("Trained in image", made.trained_here or "supplied, not trained here"),
        ("Runner", f"{made.runner}, busbench {made.busbench}"),
        ("Backend", f"{runtime.backend} {runtime.backend_version}, {runtime.provider}"),
        ("Device", f"{runtime.device}, {runtime.measured.device_name}, {runtime.threads} threads"),
        ("Precision", _precision(report)),
        *(
            (cost.title, cost.number(runtime.measured))
            for cost in COSTS
            if cost.is_known(runtime.measured)
        ),
    ]


def _precision(report: Report) -> str:
    """What masks were computed in, what that changes, and whether another run gives the same."""
    runtime, loss = report.runtime, report.precision_loss
    batches = ", ".join(map(str, sorted({*runtime.fixed_batches})))
    said: list[str] = [runtime.precision or "the image's own"]
    if loss is not None:
        lost = f"{loss.dice_lost:.5f} Dice lost against fp32"
        said.append(f"{lost} on {loss.cases} validation cases, of which {loss.masks} masks differ")
    if batches:
        said.append(f"{batches} images in each run")
    if not runtime.repeatable:
        said.append("another run may give other masks")
    return "; ".join(said)

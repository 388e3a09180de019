"""Learning curves of what was trained here, from the logs that trainings leave.

A log is what the container wrote: only numbers in the form of the reference networks' trainer are
taken from it. A log belongs to a result where the submission beside it has models of that result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt

from evaluator.documents.reading import MEBIBYTE, read_bytes
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from harness.ledger import RecordedReport
from harness.submission import read_entry
from harness.website.plots.charts import Chart, data
from harness.website.plots.compositions import Figure, make_figure
from harness.website.plots.drawing import ACCENT, MUTED, SECOND, Look

SUFFIX = ".train.log"
LONGEST = 64 * MEBIBYTE  # bytes of a log
MOST = 150  # points of a line
NUMBER = r"(\d{1,9}\.\d{1,9})"  # of a bounded length: more digits could be infinite
LINE = re.compile(
    rf"fold (\d{{1,2}}) epoch (\d{{1,6}}), step (\d{{1,9}}): loss {NUMBER}, "
    rf"validation loss {NUMBER}, Dice {NUMBER}"
)


@dataclass(frozen=True)
class Validation:
    """What a log says after some steps of a fold; at the network's size."""

    fold: int
    epoch: int
    step: int
    loss: float
    val_loss: float
    dice: float


def find_curves(
    trained: Sequence[Path], reports: Iterable[RecordedReport]
) -> Mapping[int, tuple[Validation, ...]]:
    """The validations behind the results that were trained here, by entry.

    Args:
        trained: folders with submissions and logs, as `busbench train` and `benchmark` leave them.

    Raises:
        BusbenchError: `usage` where a folder has no log of a result that was trained here, or a log
            is too long.
    """
    here = [one for one in reports if one.report.provenance.trained_here is not None]
    found: dict[int, list[Validation]] = {}
    for folder in trained:
        used = False
        for log in _logs(folder):
            models, lines = _models(log), read_validations(log)
            for one in here if models and lines else ():
                if models <= {*one.report.provenance.models_sha256}:
                    found.setdefault(one.number, []).extend(lines)
                    used = True
        if not used:
            message = f"{folder} has no learning curve of a result that was trained here."
            remedy = "Name the --out of `busbench train` or `busbench benchmark`, or leave it out."
            raise BusbenchError(Code.USAGE, message, remedy)
    return {
        entry: tuple(sorted({(v.fold, v.step): v for v in values}.values(), key=_place))
        for entry, values in found.items()
    }


def _place(one: Validation) -> tuple[int, int]:
    return one.fold, one.step


def _logs(folder: Path) -> Iterator[Path]:
    whole = folder.resolve()
    beside = whole.with_name(whole.name + SUFFIX)
    yield from ([beside] if beside.is_file() else [])
    yield from sorted(folder.rglob(f"*{SUFFIX}"))


def _models(log: Path) -> set[str]:
    """The models of the submission beside a log; none where it is gone or is a container image."""
    folder = log.with_name(log.name.removesuffix(SUFFIX))
    try:
        submission = read_entry(folder)
    except BusbenchError:
        return set()
    found = submission.models if isinstance(submission, Submission) else ()
    return {model.sha256 for model in found}


def read_validations(log: Path) -> list[Validation]:
    """The validations that a training's log tells, in its order.

    Raises:
        BusbenchError: `usage` where it cannot be read or is too long.
    """
    remedy = "Leave it out, or cut it."
    text = read_bytes(log, LONGEST, Code.USAGE, remedy=remedy).decode(errors="replace")
    return [
        Validation(*map(int, match.groups()[:3]), *map(float, match.groups()[3:]))
        for match in LINE.finditer(text)
    ]


def curve_figure(points: Sequence[Validation]) -> Figure:
    """Loss and validation Dice by epoch, a line a fold."""
    folds = sorted({one.fold for one in points})
    thin = [one for fold in folds for one in _thinned([p for p in points if p.fold == fold])]
    last = [[one for one in points if one.fold == fold][-1] for fold in folds]
    best = max(points, key=lambda one: one.dice)
    said = (
        f"Validation Dice at the end: {', '.join(f'{one.dice:.4f}' for one in last)}; the best is "
        f"{best.dice:.4f}, in epoch {best.epoch} of fold {best.fold}."
    )
    many = f"a line for each of {len(folds)} folds" if len(folds) > 1 else "one fold"
    caption = (
        f"As the training's own log says, {many}: on its validation images, at the network's size. "
        "They choose a model, and are no results."
    )
    title = "How did the training go?"
    return make_figure(
        "curves", title, caption, alt=f"{title} {said}", build=lambda look: _lines(thin, look)
    )


def _thinned(points: Sequence[Validation]) -> Sequence[Validation]:
    """At most `MOST`, evenly spread; the last is among them."""
    each = -(-len(points) // MOST)
    return points[::-1][::each][::-1]


def _lines(points: Sequence[Validation], look: Look) -> Chart:
    dice = [{"epoch": p.epoch, "value": p.dice, "fold": p.fold} for p in points]
    loss = [
        {"epoch": p.epoch, "value": value, "line": f"{kind} {p.fold}", "kind": kind}
        for p in points
        for kind, value in (("training", p.loss), ("validation", p.val_loss))
    ]
    kinds = alt.Scale(domain=["training", "validation"], range=[MUTED, SECOND])
    x = alt.X("epoch:Q").title("Epoch").axis(tickCount=5, format="d")
    y = alt.Y("value:Q").scale(zero=False, nice=True)
    panels = (
        alt.Chart(data(dice))
        .mark_line(color=ACCENT, point={"color": ACCENT, "size": 12})
        .encode(x=x, y=y.title("Validation Dice ↑"), detail="fold:N"),
        alt.Chart(data(loss))
        .mark_line()
        .encode(
            x=x,
            y=y.title("Loss ↓"),
            detail="line:N",
            color=alt.Color("kind:N")
            .scale(kinds)
            .legend(symbolType="stroke", symbolStrokeWidth=3, symbolSize=200),
        ),
    )
    width = look.width - 70 if look.narrow else look.width // 2 - 90
    joined = [panel.properties(width=width, height=220) for panel in panels]
    layout: Callable[..., Any] = alt.vconcat if look.narrow else alt.hconcat
    whole: Chart = layout(*joined).resolve_legend(color="independent")
    return whole

"""The page of results, from what is kept of the board and the notes beside the plan.

    python -m benchmarks.board.page --docs docs

writes DOCS/results.md and DOCS/curves.svg from DOCS/examples/board.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import altair as alt
import pandas as pd
import yaml
from jinja2 import Environment, StrictUndefined

from benchmarks.board.keep import KEPT
from benchmarks.board.leak import price
from benchmarks.board.plan import HERE, LEAK, PLAN, Leak, Part, Plan, read_plan
from benchmarks.timing import head, row
from evaluator.errors import BusbenchError
from evaluator.files import write_atomically
from harness.challenge import load_challenge
from harness.ledger import verify_ledger
from harness.ranking import Board, make_board
from harness.ranking.board import Row, Track
from harness.ranking.metrics import MISSING
from harness.ranking.names import markdown
from harness.ranking.tables import to_markdown
from harness.sealing.keys import read_public_key
from reference_models.joining import Average

COLUMNS = ("dice", "interval:dice", "iou", "hd95", "gap", "gmacs", "parameters")
PUBLISHED = 0.8797  # best Dice on BUS-BRA in the table of the Awesome-BUS benchmark
BY = {"network": "the mean of a network's folds", "ensemble": "an ensemble of folds"}


class Goal(Part):
    """What a board should reach."""

    track: str
    by: Literal["network", "ensemble"]
    dice: float


class Training(Part):
    """What the training of a network took, as it is printed."""

    network: str
    track: str
    input: str
    length: str
    time: str
    validation: str | None = None  # of what has no curve


class Look(Part):
    """A score of the test part that was known."""

    when: str
    what: str


class Notes(Part):
    """What no command can know of a board."""

    made: str | None = None  # how long it took, and when
    elsewhere: str | None = None
    trainings: tuple[Training, ...] = ()
    missing: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()
    reasons: tuple[str, ...] = ()
    helped: tuple[str, ...] = ()
    looks: tuple[Look, ...] = ()


def read_notes(plan: Path = PLAN) -> Notes:
    """The notes beside a plan; nothing is claimed of a board whose plan has none."""
    path = plan.with_name("notes.yaml")
    return Notes.model_validate(yaml.safe_load(path.read_text("utf-8")) if path.exists() else {})


def results_page(kept: Path, plan: Plan, notes: Notes) -> str:
    """The page, in Markdown.

    Raises:
        BusbenchError: `ledger-invalid` where the ledger is not one that its key signed.
    """
    key = read_public_key(kept / "report.pub")
    challenge = load_challenge(kept / "challenge.yaml")
    board = make_board(verify_ledger(kept / "ledger.jsonl", key), challenge)
    certificates = [*csv.reader((kept / "certificates.csv").read_text("utf-8").splitlines())]
    curves = pd.read_csv(kept / "curves.csv")
    template = Environment(undefined=StrictUndefined).from_string(
        (HERE / "results.md.j2").read_text("utf-8")
    )
    page = template.render(
        notes=notes,
        published=PUBLISHED,
        goals=_table(_goals(board, plan, notes), text=2) if notes.goals else "",
        boards=to_markdown(board, COLUMNS),
        unranked=", ".join(one.track for one in board.tracks if one.statistics is None),
        leak=plan.leak and _table(_leak(kept, plan.leak), text=2),
        certificates=_table(certificates, text=3),
        trainings=_table(_trainings(notes, curves), text=5) if notes.trainings else "",
        has_curves=not curves.empty,
    )
    return page.rstrip() + "\n"


def _table(rows: Iterable[Iterable[object]], *, text: int) -> str:
    first, *others = rows
    return "\n".join([head(*map(str, first), text=text), *(row(*cells) for cells in others)])


def _goals(board: Board, plan: Plan, notes: Notes) -> Iterator[tuple[str, ...]]:
    yield "track", "by", "Dice: goal", "reached", "by which method"
    tracks = {track.track: track for track in board.tracks}
    for goal in notes.goals:
        found = tracks.get(goal.track)
        best = None if found is None else _best(found, plan, ensemble=goal.by == "ensemble")
        reached = (MISSING, MISSING) if best is None else (f"{_dice(best):.4f}", best.method)
        yield goal.track, BY[goal.by], f"{goal.dice:.2f}", reached[0], markdown(reached[1])


def _best(track: Track, plan: Plan, *, ensemble: bool) -> Row | None:
    """The best result of the plan's networks, mirrored or not."""
    kinds = [Average(mirrored, ensemble, "logits").words for mirrored in (False, True)]
    names = {f"{name} {kind}".strip() for name in plan.networks for kind in kinds}
    return max((one for one in track.ranked if one.method in names), key=_dice, default=None)


def _dice(one: Row) -> float:
    summary = one.summary("dice")
    assert summary is not None  # of a ranked row
    return summary.mean


def _leak(kept: Path, leak: Leak) -> Iterator[tuple[object, ...]]:
    yield "network", "split", "test cases", "patients", "Dice (95 %)"
    for network in leak.networks:
        try:
            rows = price((kept / "runs", kept / LEAK / "runs"), method=network, track=leak.track)
        except BusbenchError:
            rows = [("not evaluated on both", MISSING, MISSING, MISSING)]
        yield from ((markdown(network), *cells) for cells in rows)


def _trainings(notes: Notes, curves: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """What each training took, its best validation Dice, and the rise of that in the last quarter.

    Raises:
        ValueError: the notes state a validation Dice that a curve has, or none where no curve is.
    """
    yield (*Training.model_fields, "last quarter")
    drawn = dict([*curves.groupby(["track", "network"])])
    for training in notes.trainings:
        rows = drawn.get((training.track, training.network))
        if (rows is None) == (training.validation is None):
            raise ValueError(f"{training.network} on {training.track}: a curve or a validation")
        stated = [*training.model_dump(exclude={"validation"}).values()]
        measured = (training.validation or "", MISSING) if rows is None else learned(rows)
        yield tuple(map(markdown, (*stated, *measured)))


def learned(rows: pd.DataFrame) -> tuple[str, str]:
    """The best validation Dice, and its rise in the last quarter of the validations: over folds."""
    folds = [fold["dice"] for _, fold in rows.groupby("fold")]
    best = pd.Series([dice.max() for dice in folds])
    rise = best - [dice.iloc[: max(1, len(dice) * 3 // 4)].max() for dice in folds]
    return f"{best.mean():.4f} ± {best.std():.4f}", f"+ {rise.mean():.3f}"


def draw(table: Path, out: Path) -> None:
    """Validation Dice by epoch, a panel a network and track, a line a fold; nothing of no rows."""
    rows = pd.read_csv(table)
    if rows.empty:
        out.unlink(missing_ok=True)
        return
    dice = alt.Y("dice:Q", title="validation Dice").scale(zero=False)
    lines = alt.Chart(rows).mark_line().properties(width=180, height=140)
    encoded = lines.encode(alt.X("epoch:Q"), dice, alt.Color("fold:N"))
    panels = encoded.facet(row="network:N", column="track:N").resolve_scale(x="independent")
    panels.save(out)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", type=Path, required=True, help="the documentation's folder")
    parser.add_argument("--plan", type=Path, default=PLAN)
    chosen = parser.parse_args()
    docs = chosen.docs
    page = results_page(docs / KEPT, read_plan(chosen.plan), read_notes(chosen.plan))
    write_atomically(docs / "results.md", page.encode())
    draw(docs / KEPT / "curves.csv", docs / "curves.svg")
    print(f"Written: {docs / 'results.md'}")


if __name__ == "__main__":
    main()

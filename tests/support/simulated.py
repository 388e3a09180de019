"""A ledger as a challenge leaves it, from simulated cases: real summaries, rankings, signatures.

Each method has a strength, each case a difficulty that all methods share; the rest is chance with a
fixed seed. Nothing here is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.documents.sealed import SealedCase
from evaluator.metrics import METRICS
from evaluator.metrics.lesions import LesionCounts
from evaluator.scoring.summary import CaseScore, summarise
from harness.ledger import Ranking as Recorded
from harness.ledger import append, sign
from harness.ledger.report import Report
from harness.ranking import METRICS as RANKED
from harness.ranking.cases import CaseTable
from harness.ranking.statistics import make_ranking
from harness.sealing.keys import Keys
from tests.support.factories import digest_of, make_report

FOLDS = 2


@dataclass(frozen=True)
class Entrant:
    """One submission to be."""

    team: str
    method: str
    strength: float  # 0 to 1
    parameters: int
    gmacs: float
    latency_ms: float
    trained_here: bool = True
    complete: bool = True


ENTRANTS = (
    Entrant("Ward 7", "WideNet", 0.70, 34_525_889, 49.97, 612.0),
    Entrant("Ward 7", "WideNet with gates", 0.71, 34_877_421, 50.80, 655.3),
    Entrant("Ward 7", "NestNet", 0.78, 26_897_865, 28.65, 402.9),
    Entrant("Harbour AI", "Pocket", 0.55, 1_471_633, 0.416, 21.4),
    Entrant("Harbour AI", "Mixer-L", 0.70, 3_148_897, 5.52, 96.0),
    Entrant("Sonolab", "EchoFormer-B", 0.76, 105_275_921, 29.17, 455.1),
    Entrant("Harbour AI", "ShiftSeg", 0.66, 27_165_060, 6.06, 118.7),
    Entrant("Sonolab", "EchoFormer-S", 0.80, 18_400_112, 11.30, 171.2, trained_here=False),
    Entrant("Team Lumen", "LightBUS", 0.60, 512_400, 0.21, 9.8, trained_here=False),
    Entrant("Team Lumen", "LightBUS with an ensemble", 0.62, 2_562_000, 1.05, 44.0, complete=False),
)


def simulate(
    keys: Keys,
    ledger: Path,
    entrants: Sequence[Entrant] = ENTRANTS,
    *,
    cases: int = 120,
    **how: str,
) -> tuple[Report, ...]:
    """Write a ledger of one track with its ranking; `how` goes to `make_report`."""
    draw = np.random.default_rng(7)
    sealed = [_case(number, draw) for number in range(cases)]
    areas = [0 if case.label == "normal" else int(draw.integers(400, 22_000)) for case in sealed]
    difficulty = np.clip(draw.beta(2, 5, cases) + [0.25 * (area < 4000) for area in areas], 0, 1)
    reports, entries, tables = [], [], []
    for entrant in entrants:
        values = _values(entrant, difficulty, draw)
        report = _report(entrant, sealed, areas, dice=values, draw=draw, how=how)
        entry = append(ledger, sign(report, keys), keys).entry
        reports.append(report)
        if entrant.complete:
            entries.append(entry.digest)
            tables.append(values)
    table = CaseTable(
        tuple(entries),
        tuple(str(case.patient_group) for case in sealed),
        {m.key: np.stack([_metric(m.key, v).mean(0) for v in tables], axis=1) for m in RANKED},
    )
    ranking = make_ranking(reports[0], table)
    append(ledger, Recorded(body=ranking.document()), keys)
    return tuple(reports)


def _case(number: int, draw: np.random.Generator) -> SealedCase:
    label = ("benign", "malignant", "normal")[int(draw.choice(3, p=(0.5, 0.35, 0.15)))]
    return SealedCase(
        case_id=f"case-{number:04}",
        height=400,
        width=500,
        file=f"{number:04}.png",
        label=label,  # type: ignore[arg-type]
        device=("GE Logiq 7", "Siemens Acuson", "Toshiba Aplio 300")[number % 3],
        patient_group=f"g{number * 2 // 3:04}",
    )


def _values(entrant: Entrant, difficulty: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Dice of (folds, cases)."""
    shape = (FOLDS, len(difficulty))
    noise = draw.normal(0, 0.06, shape) + draw.normal(0, 0.04, difficulty.shape)
    return np.clip(0.62 + 0.42 * entrant.strength - 0.55 * difficulty + noise, 0.0, 0.985)


def _metric(name: str, dice: np.ndarray) -> np.ndarray:
    if name == "iou":
        return dice / (2 - dice)
    if METRICS[name].higher_is_better:
        return dice
    return 90 * (1 - dice) + 3


def _rows(cases: Sequence[SealedCase], areas: Sequence[int], dice: np.ndarray) -> list[CaseScore]:
    scores = {name: _metric(name, dice) for name in METRICS}
    rows = []
    for fold in range(FOLDS):
        for n, (case, area) in enumerate(zip(cases, areas, strict=True)):
            values = {name: float(table[fold, n]) for name, table in scores.items()}
            counts = LesionCounts(int(area > 0), int(area > 0 and dice[fold, n] > 0.7), 0)
            ranked = {metric.key: values[metric.key] for metric in RANKED}
            rows.append(CaseScore(fold, case, area, "ok", values, counts, ranked))
    return rows


def _report(
    entrant: Entrant,
    cases: Sequence[SealedCase],
    areas: Sequence[int],
    *,
    dice: np.ndarray,
    draw: np.random.Generator,
    how: dict[str, str],
) -> Report:
    report = make_report(
        entrant.team,
        entrant.method,
        status="complete" if entrant.complete else "incomplete",
        folds=FOLDS,
        parameters=entrant.parameters,
        gmacs=entrant.gmacs,
        latency_ms=entrant.latency_ms,
        trained_here="sha256:" + digest_of(entrant.method) if entrant.trained_here else None,
        **how,  # type: ignore[arg-type]
    )
    moved = np.clip(dice - np.abs(draw.normal(0.03, 0.02, dice.shape)), 0, 1)
    rows, shifted = (_rows(cases, areas, table) for table in (dice, moved))
    scores = summarise(
        rows,
        [shifted],
        predictions_sha256=report.scores.predictions_sha256,
        labels_sha256=report.scores.labels_sha256,
        in_mm=False,
    )
    invalid = 0 if entrant.complete else 3
    return report.model_copy(update={"scores": scores.model_copy(update={"invalid": invalid})})

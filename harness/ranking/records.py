"""The board as CSV, for programs: one row a submission, every number in full."""

from __future__ import annotations

import csv
import io

from harness.ranking import names
from harness.ranking.board import Board, Row, Track
from harness.ranking.metrics import BY_KEY, METRICS, SECONDARY

GROUPS = ("all", "lesion", "normal")
PARTS = ("mean", "std", "ci_low", "ci_high")

FIRST = (
    "track split_version part sealing metric_profile metric_profile_digest order rank mean_rank "
    "rank_low rank_high resamples_first group rank_aggregate rank_test team method status"
)
AWESOME_BUS = {
    f"awesome_bus_2025_{metric.key}_{part}": (metric.key, part)
    for metric in METRICS
    for part in ("mean", "std")
}
LAST = (
    "dice_gap_mean dice_gap_ci_low dice_gap_ci_high gap_unlike hd95_unit parameters gmacs "
    "latency_ms seconds host_memory_mb gpu_memory_mb gpu_memory_of energy_j device_name device "
    "provider backend kind labels trained_on left_out trained_here runner invalid description "
    "authors paper code licence external_data pretrained entry entry_digest recorded rescores"
)
SHOWN_BESIDE = {
    f"all_{metric.key}_{part}": (metric.key, part) for metric in SECONDARY for part in PARTS
}
TOGETHER = (
    "ensemble_rule",
    *(f"ensemble_{key}_mean" for key in BY_KEY),
    *(f"worst_{m.key}_{what}" for m in METRICS for what in ("group", "mean", "patients")),
    *(f"dice_gap_excess_{part}" for part in ("mean", "ci_low", "ci_high")),
)
CSV_COLUMNS = (
    *FIRST.split(),
    *(
        f"{group}_{name}"
        for group in GROUPS
        for name in ("cases", *(f"{metric.key}_{part}" for metric in METRICS for part in PARTS))
    ),
    *AWESOME_BUS,
    *SHOWN_BESIDE,
    *TOGETHER,
    *LAST.split(),
)


def to_csv(board: Board) -> str:
    """One line a submission; empty where a value is missing; units in their own column."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    records = (
        _record(track, row) for track in board.tracks for row in (*track.rows, *track.visitors)
    )
    writer.writerows({name: _cell(value) for name, value in each.items()} for each in records)
    return text.getvalue()


def _cell(value: object) -> object:
    """Whatever words a column has, a participant may have had a part in them."""
    return names.spreadsheet(value) if isinstance(value, str) else value


def _record(track: Track, row: Row) -> dict[str, object]:
    record: dict[str, object] = {
        **row.model_dump(
            exclude={
                *("groups", "awesome_bus_2025", "ensemble", "worst", "runtime", "ranked", "notes")
            }
        ),
        **row.notes.model_dump(),
        "authors": "; ".join(row.notes.authors),
        "track": track.track,
        "split_version": track.split_version,
        "part": track.part,
        "sealing": track.sealing,
        "metric_profile": track.metric_profile.label,
        "metric_profile_digest": track.metric_profile.digest,
        "order": track.order,
        "hd95_unit": track.units.get("hd95", ""),
        **row.runtime.model_dump(include={"device", "precision", "provider", "backend"}),
        **row.runtime.measured.document(),
    }
    if row.ranked is not None:
        shown = {"rank_low", "rank_high", "resamples_first", "rank_aggregate", "rank_test"}
        record |= {**row.ranked.model_dump(include=shown), "group": row.ranked.group}
    for part in ("mean", "ci_low", "ci_high"):
        record[f"dice_gap_{part}"] = None if row.gap is None else getattr(row.gap, part)
    published = row.awesome_bus_2025.metrics
    for column, (key, part) in AWESOME_BUS.items():
        record[column] = getattr(published[key], part) if key in published else None
    for group in GROUPS:
        record |= _group_record(row, group)
    for column, (key, part) in SHOWN_BESIDE.items():
        summary = row.summary(key)
        record[column] = None if summary is None else getattr(summary, part)
    return record | _together(row)


def _together(row: Row) -> dict[str, object]:
    """The fold models as one, the worst subgroups, and the gap less the reference's."""
    record: dict[str, object] = {}
    if row.ensemble is not None:
        record["ensemble_rule"] = row.ensemble.rule
        for key, summary in row.ensemble.metrics.items():
            record[f"ensemble_{key}_mean"] = summary.mean
    for key, worst in row.worst.items():
        record |= {f"worst_{key}_{name}": value for name, value in worst.model_dump().items()}
    if row.ranked is not None and row.ranked.gap_excess is not None:
        found = row.ranked.gap_excess
        low, high = found.interval or (None, None)
        record |= {
            "dice_gap_excess_mean": found.mean,
            "dice_gap_excess_ci_low": low,
            "dice_gap_excess_ci_high": high,
        }
    return record


def _group_record(row: Row, name: str) -> dict[str, object]:
    group = row.groups.get(name)
    record: dict[str, object] = {f"{name}_cases": None if group is None else group.cases}
    for metric in METRICS:
        summary = row.summary(metric.key, name)
        for part in PARTS:
            value = None if summary is None else getattr(summary, part)
            record[f"{name}_{metric.key}_{part}"] = value
    return record

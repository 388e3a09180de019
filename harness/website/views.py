"""Tracks and splits as pages show them, and the names of their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from evaluator.documents.base import Digest
from evaluator.files import canonical_json, sha256_bytes
from harness.ranking import METRICS, Row, Track
from harness.ranking.marks import Mark, all_marks, own_marks, shared_marks
from harness.ranking.metrics import GAP
from harness.website.rendering import count


@dataclass(frozen=True)
class Part:
    """A column of the ranking: Dice over some of the images."""

    group: str
    label: str


PARTS = (Part("lesion", "Lesions, Dice ↑"), Part("normal", "Normals, Dice ↑"))


@dataclass(frozen=True)
class View:
    """A track and what its page says of it."""

    track: Track
    leaks: bool  # only where the frozen split is at hand

    @cached_property
    def name(self) -> str:
        """Readable, and different for any two tables that cannot be compared."""
        track = self.track
        units = sorted(track.units.items())
        row = self.all_rows[0]
        measured = (track.metric_profile, row.awesome_bus_2025.metric_profile)
        profiles = [profile.document() for profile in measured]
        key = (track.dataset, track.split_digest, track.part, profiles, units, track.sealing)
        return f"{track.track}-{track.split_version}-{sha256_bytes(canonical_json(key))[:8]}"

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """Its own rows, then those that were trained on another track."""
        return (*self.track.rows, *self.track.visitors)

    @property
    def file(self) -> str:
        """Its page."""
        return f"tracks/{self.name}.html"

    @property
    def split_file(self) -> str:
        """The page of its split."""
        return split_file(self.track.dataset, self.track.split_version, self.track.split_digest)

    @property
    def size(self) -> str:
        """How large its test set is."""
        row = self.all_rows[0]
        found = row.groups.get("all")
        if found is None or row.left_out:
            return count(self.track.cases, "image") if self.track.cases else "unknown"
        return f"{count(found.cases, 'image')}, {count(found.patients, 'patient')}"

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts that any result has. Where all images show a lesion, that part is the whole."""
        groups = {name for row in self.track.rows for name in row.groups}
        return tuple(p for p in PARTS if p.group in groups) if self.has_normal else ()

    @cached_property
    def has_normal(self) -> bool:
        """Whether there are images without a lesion."""
        return any("normal" in row.groups for row in self.track.rows)

    @cached_property
    def marks(self) -> tuple[Mark, ...]:
        """The marks that any row has."""
        return all_marks(self.track)

    @cached_property
    def own_marks(self) -> tuple[Mark, ...]:
        """The marks that rows differ in."""
        return own_marks(self.track)

    @cached_property
    def folds(self) -> str:
        """How many models each result has, where all have as many; else empty."""
        found = {row.models for row in self.track.rows}
        return count(found.pop(), "fold") if len(found) == 1 else ""

    @cached_property
    def device(self) -> str:
        """What all results were computed on; empty where they differ."""
        found = {row.runtime.computed_on.upper() for row in self.track.rows}
        return f"computed on {found.pop()}" if len(found) == 1 else ""

    @property
    def shared(self) -> tuple[str, ...]:
        """What is true of all rows, said once."""
        marks = (mark.label for mark in shared_marks(self.track))
        return tuple(filter(None, (*marks, self.device, self.folds)))

    def sort_keys(self, row: Row) -> Mapping[str, object]:
        """What the table is sorted and filtered by, beside method and team."""
        gap, latency = row.gap, row.runtime.measured.latency_ms
        found = {metric.key: row.summary(metric.key) for metric in METRICS}
        found |= {part.group: row.summary("dice", part.group) for part in self.parts}
        return {
            "rank": row.rank,
            **{key: None if one is None else round(one.mean, 6) for key, one in found.items()},
            "gap": None if gap is None else round(gap.mean, GAP.digits + 3),
            "parameters": row.parameters,
            "gmacs": None if row.gmacs is None else round(row.gmacs, 6),
            "latency": None if latency is None else round(latency, 4),
            **{cost.key: cost.value(row.runtime.measured) for cost in self.track.costs},
            "gaps": "unlike the others" if row.gap_unlike else "like the others",
            "origin": "trained here" if row.trained_here else "supplied",
            "kind": row.kind,
            "labels": row.labels,
            "external": row.notes.external,
            "device": row.runtime.computed_on.upper(),
            "recorded": row.recorded,
        }


@dataclass(frozen=True)
class Split:
    """A frozen split that results name."""

    dataset: str
    version: str
    digest: Digest
    tracks: tuple[View, ...]


def split_file(dataset: str, version: str, digest: Digest) -> str:
    """The page of a split."""
    return f"splits/{dataset}-{version}-{digest[:8]}.html"

"""Contents of a site, and the names of its pages.

Names of files come from what was frozen (tracks, splits, entry numbers), never from a participant,
and stay the same from one edition to the next, so that links keep.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from evaluator.documents.base import Digest
from evaluator.files import canonical_json, sha256_bytes
from harness.challenge import Challenge
from harness.ledger import LedgerVerdict, RecordedReport, RecordedRescoring, RecordedRetraction
from harness.ranking import METRICS, Board, Row, Track, make_board
from harness.ranking.counting import comparable, entry_name
from harness.ranking.marks import Mark, all_marks, own_marks, shared_marks
from harness.ranking.metrics import GAP
from harness.sealing.keys import public_pem
from harness.splits.lock import SplitLock
from harness.website.extras import Extras
from harness.website.rendering import count


@dataclass(frozen=True)
class Part:
    """A column of the ranking: Dice over some of the images."""

    group: str
    label: str


CHECKPOINT = "ledger.checkpoint"  # its file in the site
PUBLIC_KEY = "report.pub"  # the same of the key that signs the ledger's next entry
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


@dataclass(frozen=True)
class Edition:
    """All that a site is made from; `Edition.of` makes one."""

    board: Board
    ledger: bytes
    reports: tuple[RecordedReport, ...]  # the superseded and the retracted, too
    retracted: Mapping[int, RecordedRetraction] = field(default_factory=dict)  # by entry
    rescorings: tuple[RecordedRescoring, ...] = ()
    locks: Mapping[Digest, SplitLock] = field(default_factory=dict)  # of splits at hand
    challenge: Challenge = field(default_factory=Challenge)  # whose words the pages say
    checkpoint: bytes | None = None  # of the ledger, where there was a key to sign it
    public_key: bytes = b""  # PEM text
    extras: Extras = field(default_factory=Extras)
    verdict: LedgerVerdict | None = None  # all entries, for boards of the past

    @classmethod
    def of(
        cls,
        verdict: LedgerVerdict,
        ledger: bytes,
        locks: Mapping[Digest, SplitLock] | None = None,
        *,
        challenge: Challenge | None = None,
        checkpoint: bytes | None = None,
    ) -> Edition:
        """The edition of a verified ledger and its bytes.

        Raises:
            BusbenchError: see `make_board`.
        """
        return cls(
            board=make_board(verdict, challenge),
            ledger=ledger,
            reports=verdict.all_reports,
            retracted={one.retracted.number: one for one in verdict.retractions},
            rescorings=verdict.rescorings,
            locks=locks or {},
            challenge=challenge or Challenge(),
            checkpoint=checkpoint,
            public_key=public_pem(verdict.signers[-1]).encode(),
            verdict=verdict,
        )

    @cached_property
    def views(self) -> tuple[View, ...]:
        """The tracks, in the board's order."""
        locks = self.locks
        return tuple(
            View(track, track.split_digest in locks and locks[track.split_digest].leaks)
            for track in self.board.tracks
        )

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """The splits of all tracks."""
        found: dict[tuple[str, str, Digest], list[View]] = {}
        for view in self.views:
            track = view.track
            key = (track.dataset, track.split_version, track.split_digest)
            found.setdefault(key, []).append(view)
        return tuple(Split(*key, tracks=tuple(views)) for key, views in found.items())

    @cached_property
    def contests(self) -> Mapping[int, tuple[tuple[str, ...], tuple[str, ...]]]:
        """By entry, its row's name and its table: of the entries with the same, the last counts."""
        return {e.number: (entry_name(e.report), comparable(e.report)) for e in self.reports}

    @cached_property
    def counting(self) -> Mapping[tuple[tuple[str, ...], tuple[str, ...]], RecordedReport]:
        """The reports that have a row, by what `contests` has of them."""
        rows = {row.entry for view in self.views for row in view.all_rows}
        return {self.contests[e.number]: e for e in self.reports if e.number in rows}

    def table_of(self, view: View) -> tuple[str, ...]:
        """What the reports of a view agree on."""
        return self.contests[view.all_rows[0].entry][1]

    @cached_property
    def rescored(self) -> Mapping[int, tuple[int, RecordedRescoring]]:
        """By entry, the one that took its place when it was scored anew, and since when."""
        return {old: (new, one) for one in self.rescorings for old, new in one.pairs}

    @cached_property
    def genesis(self) -> Digest:
        """The digest of entry 0, which names the ledger whoever signs it now."""
        return str(json.loads(self.ledger.splitlines()[0])["digest"])

    @cached_property
    def attestations(self) -> dict[int, bytes]:
        """The signed envelope of each report, as `busbench verify` takes it, by entry."""
        entries = (json.loads(line) for line in self.ledger.splitlines())
        return {
            entry["number"]: canonical_json(entry["envelope"]) + b"\n"
            for entry in entries
            if entry["kind"] in ("report", "rescored")
        }

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
from evaluator.files import canonical_json
from harness.challenge import Challenge
from harness.ledger import LedgerVerdict, RecordedReport, RecordedRescoring, RecordedRetraction
from harness.ranking import Board, make_board
from harness.ranking.counting import comparable, entry_name
from harness.sealing.keys import public_pem
from harness.splits.lock import SplitLock
from harness.website.extras import Extras
from harness.website.views import Split, View

CHECKPOINT = "ledger.checkpoint"  # its file in the site
PUBLIC_KEY = "report.pub"  # the same of the key that signs the ledger's next entry


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

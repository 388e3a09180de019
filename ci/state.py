"""The organiser's state, which no pull request may see.

STATE/keys/                 the organiser's keys
STATE/final-keys/           those of the final part, from the day on which its phase opens
STATE/bundles/<track>/      what `busbench seal` made
STATE/uploads/<sha256>      ONNX files that teams uploaded by another way, by their SHA-256
STATE/submissions/<id>/     what was assembled from a pull request
STATE/runs/                 evaluations
STATE/ledger.jsonl          the ledger, and the submission log beside it
STATE/site/                 the site, as it was published last
STATE/errors/               what no public log may say of errors
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from harness.challenge import HiddenPart
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys


@dataclass(frozen=True)
class State:
    """The organiser's folder."""

    path: Path

    @property
    def ledger(self) -> Path:
        """The ledger, which may still be to come."""
        return self.path / "ledger.jsonl"

    @property
    def runs(self) -> Path:
        """Where evaluations are kept."""
        return self.path / "runs"

    @property
    def site(self) -> Path:
        """The published site."""
        return self.path / "site"

    def keys(self) -> Keys:
        """The organiser's keys; raises `keys-invalid` where they are not there."""
        return Keys.open(self.path / "keys")

    def keys_of(self, part: HiddenPart) -> Path:
        """Where the keys of a hidden part lie."""
        return self.path / ("keys" if part == "test" else "final-keys")

    def bundles(self, track: str, part: HiddenPart = "test") -> Bundles:
        """The bundles of a track; raises `bundle-invalid` where they are not there."""
        bundles = Bundles.open(self.path / "bundles" / track, part)
        if bundles.sealed.track != track:
            message = f"{bundles.path} is sealed for track {bundles.sealed.track}."
            raise BusbenchError(Code.BUNDLE_INVALID, message, f"Seal {track} into this folder.")
        return bundles

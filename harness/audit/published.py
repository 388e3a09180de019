"""Published splits, matched to the cases of a store."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes, sha256_pixels
from evaluator.progress import Progress, quiet
from harness.audit.naming import CaseNames
from harness.audit.sources import REMEDY, Source, read_source
from harness.audit.words import Part
from harness.datasets.base import RefusedError
from harness.datasets.decode import decode
from harness.datasets.repair import grey_image
from harness.store import CaseStore

EXAMPLES = 3
Parts = dict[Part, frozenset[str]]  # part -> case ids


@dataclass(frozen=True)
class Published:
    """A published split of a store's cases."""

    name: str
    kind: str
    splits: Mapping[str, Parts]
    named: frozenset[str]  # all case ids in it, without those left out
    unmatched: tuple[str, ...]  # names that are no case of the store; empty unless allowed
    by_name_alone: int  # image files whose pixels are no case's, and whose name is
    renamed: int  # image files whose pixels are one case's, and whose name is another's

    @property
    def digest(self) -> str:
        """SHA-256 over which case is in which part, however the split was written."""
        said = {
            name: {part: sorted(cases) for part, cases in parts.items()}
            for name, parts in self.splits.items()
        }
        return sha256_bytes(canonical_json(said))

    def comparisons(self) -> Iterator[tuple[str, frozenset[str], frozenset[str]]]:
        """(name, held out, training): the test part against the rest, validation against training.

        Validation cases count as training for the test part, since they steer it too; and so do
        test cases for a final part, which judges what was chosen on them.
        """
        for name, parts in self.splits.items():
            nobody = frozenset[str]()
            train, val, test, final = (parts.get(part, nobody) for part in get_args(Part))
            for side, held_out, training in (
                ("test", test, train | val),
                ("final", final, train | val | test),
                ("validation", val, train),
            ):
                if held_out and training:
                    yield f"{name}, {side}" if name else side, held_out, training


def read_published(
    given: Sequence[str],
    store: CaseStore,
    *,
    partial: bool = False,
    excluded: Collection[str] = (),
    progress: Progress = quiet,
) -> Published:
    """Read a split and match it to a store.

    Args:
        given: a file or folder, or for each part a list or folder, as `train=PATH`.
        partial: leave out names that are no case of the store, and cases that it does not name,
            instead of refusing them.
        excluded: case ids to leave out of every part; the split need not name them.

    Raises:
        BusbenchError: `usage` where a path is missing, `split-invalid` where it is no split, names
            no case of the store, or leaves open which it means.
    """
    source = read_source(given)
    match = _Matching(store, source)
    splits: dict[str, Parts] = {
        name: {
            part: frozenset(match.cases(names, progress)).difference(excluded)
            for part, names in named.items()
        }
        for name, named in source.splits.items()
    }
    published = Published(
        name=source.name,
        kind=source.kind,
        splits=splits,
        named=frozenset().union(*(ids for parts in splits.values() for ids in parts.values())),
        unmatched=tuple(sorted(match.unmatched)),
        by_name_alone=match.by_name_alone,
        renamed=match.renamed,
    )
    wanted = {case.case_id for case in store.cases}.difference(excluded) if source.whole else ()
    _require_matched(published, match.ambiguous, store, partial=partial, wanted=wanted)
    return published


def drawn(name: str, part_of: Mapping[str, Part]) -> Published:
    """A split that a rule draws, as if it had been published."""
    parts: Parts = {
        part: frozenset(case_id for case_id, its in part_of.items() if its == part)
        for part in sorted({*part_of.values()})
    }
    return Published(name, "drawn by rule", {"": parts}, frozenset(part_of), (), 0, renamed=0)


class _Matching:
    """The matching of names to cases, each name once."""

    def __init__(self, store: CaseStore, source: Source) -> None:
        self._names = CaseNames(store.cases)
        self._files = source.files
        self._pixels: dict[str, set[str]] = {}
        for case in store.cases:
            self._pixels.setdefault(case.image_sha256, set()).add(case.case_id)
        self._known: dict[str, str | None] = {}
        self.unmatched, self.ambiguous = set[str](), dict[str, tuple[str, ...]]()
        self.by_name_alone = self.renamed = 0

    def cases(self, names: Sequence[str], progress: Progress) -> Iterator[str]:
        """The case ids of those names that fit one case; the others are noted."""
        for name in names:
            if name not in self._known:
                self._known[name] = self._case(name)
                if name in self._files:
                    done = len(self._known.keys() & self._files.keys())
                    progress("compare files", done, len(self._files))
            case_id = self._known[name]
            if case_id is not None:
                yield case_id

    def _case(self, name: str) -> str | None:
        by_name = self._names.find(name)
        found = by_name
        if name in self._files:
            by_pixels = self._pixels.get(_digest(self._files[name]), set())
            # Pixels are certain; among identical images, and without one, the name decides.
            found = frozenset(by_pixels & by_name or by_pixels or by_name)
            self.by_name_alone += len(found) == 1 and not by_pixels
            self.renamed += len(found) == 1 and bool(by_name) and not found & by_name
        if len(found) == 1:
            return next(iter(found))
        if found:
            self.ambiguous[name] = tuple(sorted(found))
        else:
            self.unmatched.add(name)
        return None


def _digest(file: Path) -> str:
    """The store's digest of an image file; of one that cannot be decoded, the name decides."""
    try:
        return sha256_pixels(grey_image(decode(file))[0])
    except RefusedError:
        return ""


def _require_matched(
    split: Published,
    ambiguous: Mapping[str, tuple[str, ...]],
    store: CaseStore,
    *,
    partial: bool,
    wanted: Collection[str],
) -> None:
    if ambiguous:
        name, cases = min(ambiguous.items())
        message = f"{split.name}: {len(ambiguous)} names fit several cases, as {name!r} fits "
        remedy = "Name them with the folders of the release, or by case id."
        raise BusbenchError(Code.SPLIT_INVALID, message + " and ".join(cases[:3]) + ".", remedy)
    allowed = partial and bool(split.named)
    if split.unmatched and not allowed:
        what = f"names {_some(split.unmatched)} that are not in {store.path}"
        raise _misfit(split, what)
    lacking = sorted(set(wanted) - split.named)
    if lacking and not allowed:
        raise _misfit(split, f"lacks {_some(lacking)} of {store.path}")
    if not any(True for _ in split.comparisons()):
        message = f"{split.name} has no cases to train on beside cases held out."
        raise BusbenchError(Code.SPLIT_INVALID, message, REMEDY)


def _some(names: Sequence[str]) -> str:
    """How many, and the first of them."""
    shown = ", ".join(map(repr, names[:EXAMPLES])) + (", ..." if names[EXAMPLES:] else "")
    return f"{len(names)} cases ({shown})"


def _misfit(split: Published, what: str) -> BusbenchError:
    remedy = "Name the split of this very store"
    remedy += ", or judge what both share with --partial." if split.named else "."
    return BusbenchError(Code.SPLIT_INVALID, f"{split.name} {what}.", remedy)

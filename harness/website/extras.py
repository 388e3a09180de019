"""Extras of a site, beyond what its ledger says, and the folders that they are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.documents.base import Digest, Name
from harness.audit.report import Pair

if TYPE_CHECKING:  # these import OpenCV, for which other verbs would wait
    from harness.website.images.examples import Example, ShownPair, Transformed
    from harness.website.images.logo import Logo
    from harness.website.images.sheets import Sheet
    from harness.website.images.thumbnails import Credit
    from harness.website.leaks import Leak
    from harness.website.plots.curves import Validation


@dataclass(frozen=True)
class Sources:
    """The folders that extras are made from, and what may be shown of them."""

    stores: Sequence[Path] = ()  # case stores that the splits were frozen from
    may_show: Sequence[Name] = ()  # datasets whose images may be shown, as the organiser states
    cases: Sequence[Path] = ()  # runs to make sheets from
    cases_of: Sequence[Name] = ()  # tracks to make sheets of; none: of all
    trained: Sequence[Path] = ()  # trainings, with their logs


@dataclass(frozen=True)
class SplitExtras:
    """What the page of a split shows of its audit and its store, as far as they are at hand."""

    pairs: tuple[Pair, ...] = ()  # twins that the audit found, those that contradict first
    pictured: tuple[ShownPair, ...] = ()  # some of them, both of the training part
    devices: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    # ^ scanner -> part -> images; none where the release names no scanner
    leaks: tuple[Leak, ...] = ()
    has_store: bool = False
    credit: Credit | None = None  # null: no image is shown
    examples: tuple[Example, ...] = ()
    transformed: Transformed | None = None


@dataclass(frozen=True)
class Extras:
    """What a site shows beyond its ledger."""

    splits: Mapping[Digest, SplitExtras] = field(default_factory=dict)
    sheets: tuple[Sheet, ...] = ()
    curves: Mapping[int, tuple[Validation, ...]] = field(default_factory=dict)  # by entry
    logo: Logo | None = None  # of the challenge

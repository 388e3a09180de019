"""Published numbers of the Awesome-BUS benchmark: shown apart from what was measured here."""

from __future__ import annotations

from functools import cache
from importlib import resources

from evaluator.documents.base import Contract
from evaluator.documents.reading import load_yaml


class PublishedNetwork(Contract):
    """A network's size in the published table."""

    title: str
    parameters: float  # millions
    gflops: float  # multiply-accumulates / 1e9
    flaw: str | None = None  # why the counts are not the network's


class PublishedTrack(Contract):
    """The best published value of each metric on one dataset, and the network that reached it.

    HD95 is in pixels of a 224 x 224 grid.
    """

    title: str
    dice: tuple[float, str]
    iou: tuple[float, str]
    hd95: tuple[float, str]
    leak: str | None = None  # None where nobody has counted


class PublishedTable(Contract):
    """The published numbers, and when they were read."""

    read: str
    networks: dict[str, PublishedNetwork]
    tracks: dict[str, PublishedTrack]


@cache
def published_table() -> PublishedTable:
    """The published numbers, from `awesome-bus-2025.yaml`."""
    text = (resources.files("harness.ranking") / "awesome-bus-2025.yaml").read_bytes()
    return PublishedTable.model_validate(load_yaml(text))

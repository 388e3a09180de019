"""Sealing draws the consistency pass's secret once, and the switch turns it off everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluator.errors import BusbenchError
from evaluator.sealed import open_sealed
from harness.audit import audit
from harness.sealing.bundle import Bundles, Recipients, seal
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit, freeze
from harness.store import CaseStore, write_store
from tests.support.samples import SECRET, samples


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[CaseStore, FrozenSplit]:
    root = tmp_path_factory.mktemp("frozen")
    store = write_store(root / "store", "phantom", samples())
    return store, freeze(store, audit(store, near=False), root / "v1", version="v1", secret=SECRET)


def sealed(
    frozen: tuple[CaseStore, FrozenSplit], keys: Keys, out: Path, on: bool = True
) -> Bundles:
    recipients = Recipients(keys.images.recipient, keys.labels.recipient)
    return seal(*frozen, recipients, out=out, consistency=on)


def seeds(bundles: Bundles, keys: Keys) -> list[str | None]:
    archives = (bundles.images, keys.images.secret), (bundles.labels, keys.labels.secret)
    found = []
    for path, key in archives:
        with open_sealed(path, key) as (index, _):
            found.append(index.consistency_seed)
    return found


def test_both_archives_hold_one_seed_and_the_next_sealing_another(
    frozen: tuple[CaseStore, FrozenSplit], keys: Keys, tmp_path: Path
) -> None:
    first, again = (seeds(sealed(frozen, keys, tmp_path / name), keys) for name in "ab")
    assert first[0] is not None and first[0] == first[1]
    assert again[0] == again[1] != first[0]


def test_sealing_again_keeps_the_seed(
    frozen: tuple[CaseStore, FrozenSplit], keys: Keys, tmp_path: Path
) -> None:
    first = seeds(sealed(frozen, keys, tmp_path / "a"), keys)
    assert seeds(sealed(frozen, keys, tmp_path / "a"), keys) == first


def test_a_bundle_with_the_pass_is_not_taken_for_one_without(
    frozen: tuple[CaseStore, FrozenSplit], keys: Keys, tmp_path: Path
) -> None:
    off = sealed(frozen, keys, tmp_path / "a", on=False)
    assert seeds(off, keys) == [None, None] and not off.sealed.consistency
    with pytest.raises(BusbenchError) as refused:
        sealed(frozen, keys, tmp_path / "a")
    assert refused.value.code == "output-exists"

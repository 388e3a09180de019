"""Sealing draws the consistency pass's secret once, and the switch turns it off everywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from evaluator.errors import BusbenchError
from evaluator.png import decode_png
from evaluator.scoring.score import numbered
from evaluator.sealed import open_sealed
from harness.audit import audit
from harness.challenge import Limits, StageLimits
from harness.export.citation import LICENCES, citation
from harness.sealing.bundle import WINDOWS, Bundles, Recipients, seal
from harness.sealing.keys import Keys
from harness.sealing.training import TrainingSet
from harness.splits import FrozenSplit, freeze
from harness.store import CaseStore, Sample, write_store
from harness.template import HELPER
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
    return seal(*frozen, recipients, out=out, windows=2 if on else 0)


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


def orders(bundles: Bundles, keys: Keys) -> tuple[list[str], str]:
    """The cases in the order in which models see them, and the seed of those that are repeated."""
    with open_sealed(bundles.images, keys.images.secret) as (index, cases):
        assert index.repeat_seed is not None
        return [case.case_id for case, _ in cases], index.repeat_seed


def test_no_order_of_cases_can_be_known(
    frozen: tuple[CaseStore, FrozenSplit], keys: Keys, tmp_path: Path
) -> None:
    found = [orders(sealed(frozen, keys, tmp_path / str(n)), keys) for n in range(4)]
    names = sorted(found[0][0])
    assert len(names) > 3 and all(sorted(order) == names for order, _ in found)
    assert any(order != names for order, _ in found)  # one in some thousand is sorted by chance
    assert len({tuple(order) for order, _ in found}) > 1
    assert len({seed for _, seed in found}) == 4
    assert orders(sealed(frozen, keys, tmp_path / "0"), keys) == found[0]


def test_the_seed_of_repeated_cases_is_in_no_other_file(
    frozen: tuple[CaseStore, FrozenSplit], keys: Keys, tmp_path: Path
) -> None:
    bundles = sealed(frozen, keys, tmp_path / "a")
    _, seed = orders(bundles, keys)
    with open_sealed(bundles.labels, keys.labels.secret) as (index, _):
        assert index.repeat_seed is None
    assert not [p for p in tmp_path.rglob("*.*") if p.is_file() and seed.encode() in p.read_bytes()]


@pytest.mark.parametrize("act", ["open", "seal"])
def test_an_older_bundle_is_refused_by_name(
    frozen: tuple[CaseStore, FrozenSplit], keys: Keys, tmp_path: Path, act: str
) -> None:
    bundles = sealed(frozen, keys, tmp_path / "a")
    path = bundles.path / "sealed" / "bundle.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace("sealed-bundle/v4", "sealed-bundle/v2"))
    with pytest.raises(BusbenchError) as refused:
        Bundles.open(bundles.path) if act == "open" else sealed(frozen, keys, bundles.path)
    assert refused.value.code == "bundle-invalid"
    assert "busbench/sealed-bundle/v2" in refused.value.message
    assert "busbench seal" in refused.value.remedy


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


def test_no_training_bundle_lacks_what_its_publishers_ask(
    frozen: tuple[CaseStore, FrozenSplit], keys: Keys, tmp_path: Path
) -> None:
    """BUS-BRA's licence has to be in every copy of its images."""
    sealed(frozen, keys, tmp_path / "a")
    text = (tmp_path / "a" / "training" / "CITATION").read_text()
    source = Bundles.open(tmp_path / "a").training.source
    for stated in (source.cite, source.terms, source.release, frozen[1].lock.digest):
        assert stated in text
    licence = (LICENCES / "busbra.txt").read_text("utf-8").strip()
    lock = frozen[1].lock.model_copy(update={"dataset": "busbra"})
    assert licence in citation(lock, frozen[0].cases) and "10.1002/mp.16812" in citation(lock, [])
    helper = tmp_path / "a" / "training" / "dataset.py"
    assert helper.read_bytes() == HELPER.read_bytes() and helper.stat().st_mode & 0o044


def test_no_bundle_states_limits_that_were_changed_since(
    frozen: tuple[CaseStore, FrozenSplit], keys: Keys, tmp_path: Path
) -> None:
    recipients = Recipients(keys.images.recipient, keys.labels.recipient)
    first = sealed(frozen, keys, tmp_path / "a")
    assert first.training.test_cases == first.sealed.cases
    hurried = Limits(seconds=60)
    again = seal(*frozen, recipients, out=tmp_path / "a", limits=StageLimits(infer=hurried))
    assert again.training.infer == hurried != first.training.infer
    assert again.training.model_copy(update={"infer": first.training.infer}) == first.training
    assert again.sealed == first.sealed


@pytest.mark.parametrize("windows", [0, 2, None])
def test_no_training_bundle_states_other_windows_than_were_drawn(
    frozen: tuple[CaseStore, FrozenSplit], keys: Keys, tmp_path: Path, windows: int | None
) -> None:
    recipients = Recipients(keys.images.recipient, keys.labels.recipient)
    again = partial(seal, *frozen, recipients, out=tmp_path, windows=windows)
    drawn = WINDOWS if windows is None else windows
    assert again().training.windows == drawn
    path = tmp_path / "training" / "bundle.json"
    path.chmod(0o644)
    older = json.loads(path.read_text()) | {"schema": "busbench/training-bundle/v2"}
    path.write_text(json.dumps(older))
    with pytest.raises(BusbenchError, match="v2 does not know them"):
        Bundles.open(tmp_path)
    path.write_text(json.dumps({k: v for k, v in older.items() if k != "windows"}))
    assert TrainingSet.open(tmp_path).bundle.windows is None
    found = again()
    assert (found.training.windows, found.training.schema_[-2:]) == (drawn, "v3")
    assert found.sealed.consistency == (drawn > 0)


def test_no_lesion_is_merged_with_another_in_the_sealed_labels(keys: Keys, tmp_path: Path) -> None:
    def apart(sample: Sample) -> Sample:
        lesions = np.zeros(sample.mask.shape, np.uint8)
        lesions[2:12, 2:8], lesions[2:12, 8:14] = 1, 2  # they touch
        return replace(sample, mask=lesions > 0, lesions=lesions)

    store = write_store(tmp_path / "store", "phantom", map(apart, samples()))
    split = freeze(store, audit(store, near=False), tmp_path / "v1", version="v1", secret=SECRET)
    labels = sealed((store, split), keys, tmp_path / "out").labels
    with open_sealed(labels, keys.labels.secret) as (_, cases):
        for case, data in cases:
            found = numbered(decode_png(data, case, labels))
            assert np.array_equal(found, store.lesions(case.case_id))
            assert found.max() == 2

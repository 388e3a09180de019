"""A final part shares no patient and no twin with the others, and no key opens both."""

from __future__ import annotations

import json
import shutil
from datetime import date
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.errors import BusbenchError
from evaluator.sealed import open_sealed
from harness.audit import audit
from harness.audit.certificate import certify
from harness.audit.published import read_published
from harness.challenge import Challenge, Phase
from harness.export import Format, export_split
from harness.sealing.bundle import Bundles, Recipients, seal
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit, Subject, draw, freeze, reveal, verify
from harness.splits.lock import SplitLock
from harness.store import CaseStore, write_store
from tests.support.cohort import cohort_of
from tests.support.final_challenge import FinalChallenge
from tests.support.samples import SECRET, samples

LABELS = ("benign", "malignant", "normal")


@st.composite
def cohorts(drawn: Any) -> tuple[list[Subject], list[tuple[str, ...]]]:
    """Patients of one to four cases; some share an image, so that twins join patients."""
    sizes = drawn(st.lists(st.integers(1, 4), min_size=24, max_size=40))
    subjects, groups = [], []
    for number, size in enumerate(sizes):
        ids = tuple(f"p{number:02d}-{view}" for view in range(size))
        label = drawn(st.sampled_from(LABELS))
        area = 0 if label == "normal" else drawn(st.integers(1, 500))
        subjects += [Subject(case_id, label, area) for case_id in ids]
        groups.append(ids)
    for first in drawn(st.sets(st.integers(0, 11), max_size=6)):
        groups[2 * first], groups[2 * first + 1] = groups[2 * first] + groups[2 * first + 1], ()
    return subjects, groups


@settings(max_examples=6, deadline=None)
@given(cohort=cohorts(), seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.3, 0.5, 0.7]))
def test_no_patient_and_no_twin_is_in_two_of_three_parts(
    cohort: Any, seed: int, share: float
) -> None:
    subjects, groups = cohort
    rule: dict[str, Any] = {"test_fraction": 0.4, "seed": seed, "folds": 3}
    places = draw(subjects, groups, final_fraction=share, **rule)
    assert {place.part for place in places.values()} == {"train", "test", "final"}
    for group in groups:
        for one, other in combinations(group, 2):
            assert places[one] == places[other]
    without = draw(subjects, groups, **rule)
    hidden = {case_id for case_id, place in places.items() if place.part != "train"}
    assert hidden == {case_id for case_id, place in without.items() if place.part == "test"}
    trained = [case_id for case_id, place in places.items() if place.part == "train"]
    assert all(places[case_id] == without[case_id] for case_id in trained)


def test_no_class_is_in_one_hidden_part_alone() -> None:
    subjects, groups = cohort_of(80)
    places = draw(subjects, groups, test_fraction=0.4, final_fraction=0.5)
    for label in LABELS:
        parts = [places[s.case_id].part for s in subjects if s.label == label]
        assert abs(parts.count("test") - parts.count("final")) <= 4  # the largest group


def test_the_awesome_bus_rule_never_draws_a_final_part() -> None:
    subjects, groups = cohort_of(60)
    with pytest.raises(BusbenchError, match="knows no final part") as refused:
        draw(subjects, groups, policy="image", final_fraction=0.5)
    assert refused.value.code == "split-impossible"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    return write_store(tmp_path_factory.mktemp("store") / "store", "phantom", samples())


def frozen(store: CaseStore, out: Path, **rule: Any) -> FrozenSplit:
    rule = {"test_fraction": 0.5, "final_fraction": 0.5, **rule}
    return freeze(store, audit(store, near=False), out, version="v1", secret=SECRET, **rule)


@pytest.fixture(scope="module")
def split(store: CaseStore) -> FrozenSplit:
    return frozen(store, store.path.with_name("split"))


def test_a_final_part_withholds_and_commits_to_its_labels(
    store: CaseStore, split: FrozenSplit
) -> None:
    test, final = split.hidden("test"), split.hidden("final")
    assert final and test and not final & test and split.hidden() == test | final
    assert split.lock.commitments.keys() == test | final
    assert not (test | final) & split.lock.masks.keys()
    assert all(row.label is None for row in split.rows if row.case_id in final)
    table = (split.path / "split.csv").read_text()
    assert table.count(",final,") == len(final)
    document = reveal(split, store, SECRET)
    assert verify(split.path, store, document, secret=SECRET) == []
    croissant = json.loads((split.path / "croissant.json").read_text())
    named = [part["parts/name"] for part in croissant["recordSet"][0]["data"]]
    assert named == ["train", "test", "final"]


def test_a_case_that_changed_its_hidden_part_never_passes(
    store: CaseStore, split: FrozenSplit, tmp_path: Path
) -> None:
    """Digests that fit do not help: what is drawn again tells."""
    copy = Path(shutil.copytree(split.path, tmp_path / "split"))
    case_id = min(split.hidden("final"))
    table = copy / "split.csv"
    table.write_text(table.read_text().replace(f"{case_id},final", f"{case_id},test"))
    found = verify(copy, store)
    assert f"split.csv: the row of {case_id} was changed" in found
    assert any("counts of final" in line for line in found)


def test_a_split_without_a_final_part_keeps_its_bytes_and_its_version(
    store: CaseStore, tmp_path: Path
) -> None:
    plain = frozen(store, tmp_path / "plain", final_fraction=None)
    lock = (tmp_path / "plain" / "lock.json").read_text()
    assert plain.lock.schema_ == "busbench/split-lock/v3" and "final" not in lock
    with pytest.raises(BusbenchError, match="final_fraction"):
        frozen(store, tmp_path / "plain")


@pytest.mark.parametrize("schema, share", [("v3", 0.5), ("v4", None)])
def test_only_a_lock_of_version_4_has_a_final_part(
    split: FrozenSplit, schema: str, share: float | None
) -> None:
    fields = {**split.lock.document(), "schema": f"busbench/split-lock/{schema}"}
    fields["final_fraction"] = share
    with pytest.raises(ValueError, match="v4 has one"):
        SplitLock.model_validate(fields)


def recipients(keys: Keys) -> Recipients:
    return Recipients(keys.images.recipient, keys.labels.recipient)


@pytest.fixture(scope="module")
def final_keys(keys: Keys) -> Keys:
    return keys.with_other_seals(keys.path.with_name("final-keys"))


@pytest.fixture(scope="module")
def sealed(store: CaseStore, split: FrozenSplit, keys: Keys, final_keys: Keys) -> Path:
    out = store.path.with_name("bundles")
    seal(store, split, recipients(keys), out=out, final=recipients(final_keys))
    return out


def cases(archive: Path, key: Path) -> set[str]:
    with open_sealed(archive, key) as (index, _):
        return {case.case_id for case in index.cases}


def test_no_key_of_the_test_part_opens_the_final_part(
    split: FrozenSplit, sealed: Path, keys: Keys, final_keys: Keys
) -> None:
    test, final = (Bundles.open(sealed, part) for part in split.lock.hidden_parts)
    own = ((test, keys), (final, final_keys))
    for bundles, its in own:
        for archive, key in (
            (bundles.images, its.images.secret),
            (bundles.labels, its.labels.secret),
        ):
            assert cases(archive, key) == split.hidden(bundles.sealed.part)
            for other in {k.secret for ks in (keys, final_keys) for k in (ks.images, ks.labels)}:
                if other != key:
                    with pytest.raises(BusbenchError, match="cannot be decrypted"):
                        cases(archive, other)
    assert keys.report.keyid == final_keys.report.keyid


def test_final_keys_outlive_a_change_of_the_signing_key(
    keys: Keys, final_keys: Keys, tmp_path: Path
) -> None:
    rotated = keys.renewed(tmp_path / "keys-2")
    again = rotated.with_other_seals(tmp_path / "final-2", final_keys)
    assert recipients(again) == recipients(final_keys)
    assert again.report.keyid == rotated.report.keyid != final_keys.report.keyid


def test_a_final_part_is_never_sealed_to_the_keys_of_the_test_part(
    store: CaseStore, split: FrozenSplit, keys: Keys, tmp_path: Path
) -> None:
    with pytest.raises(BusbenchError) as shared:
        seal(store, split, recipients(keys), out=tmp_path, final=recipients(keys))
    with pytest.raises(BusbenchError, match="keys of its own") as forgotten:
        seal(store, split, recipients(keys), out=tmp_path)
    assert (shared.value.code, forgotten.value.code) == ("keys-invalid", "usage")
    assert not any(tmp_path.iterdir())


def test_final_keys_without_a_final_part_are_refused(
    store: CaseStore, keys: Keys, final_keys: Keys, tmp_path: Path
) -> None:
    plain = frozen(store, tmp_path / "plain", final_fraction=None)
    with pytest.raises(BusbenchError, match="has no final part"):
        seal(store, plain, recipients(keys), out=tmp_path / "out", final=recipients(final_keys))
    made = seal(store, plain, recipients(keys), out=tmp_path / "out")
    with pytest.raises(BusbenchError, match="has no final part") as missing:
        Bundles.open(made.path, "final")
    assert missing.value.code == "bundle-invalid"


def test_sealing_again_keeps_both_parts_and_refuses_other_final_keys(
    store: CaseStore, split: FrozenSplit, sealed: Path, keys: Keys, final_keys: Keys
) -> None:
    before = {path: path.read_bytes() for path in sealed.rglob("*.age")}
    seal(store, split, recipients(keys), out=sealed, final=recipients(final_keys))
    assert before == {path: path.read_bytes() for path in sealed.rglob("*.age")}
    other = keys.with_other_seals(sealed.with_name("other-keys"))
    with pytest.raises(BusbenchError, match="--final-keys") as refused:
        seal(store, split, recipients(keys), out=sealed, final=recipients(other))
    assert refused.value.code == "output-exists"


def test_no_part_is_sealed_with_other_windows_than_the_one_that_is_there(
    store: CaseStore, split: FrozenSplit, keys: Keys, final_keys: Keys, tmp_path: Path
) -> None:
    again = partial(seal, store, split, recipients(keys), out=tmp_path)
    again(final=recipients(final_keys), windows=1)
    shutil.rmtree(tmp_path / "final")  # as after a kill between the two
    again(final=recipients(final_keys))
    assert [Bundles.open(tmp_path, part).sealed.windows for part in ("test", "final")] == [1, 1]


def test_a_bundle_of_version_3_is_read_and_has_no_final_part(sealed: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(sealed, tmp_path / "bundles"))
    for folder, fits in (("sealed", True), ("final", False)):
        path = copy / folder / "bundle.json"
        document = json.loads(path.read_text()) | {"schema": "busbench/sealed-bundle/v3"}
        if fits:
            del document["part"]
        path.write_text(json.dumps(document))
    assert Bundles.open(copy).sealed.part == "test"
    with pytest.raises(BusbenchError, match="v3 has the test part alone"):
        Bundles.open(copy, "final")


def test_one_parts_bundle_never_passes_for_the_others(sealed: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(sealed, tmp_path / "bundles"))
    shutil.rmtree(copy / "final")
    shutil.copytree(copy / "sealed", copy / "final")
    with pytest.raises(BusbenchError, match="contains the part test"):
        Bundles.open(copy, "final")


def test_an_export_has_nothing_of_the_final_part(
    store: CaseStore, split: FrozenSplit, tmp_path: Path
) -> None:
    export_split(store, split, tmp_path / "out", layout=Format.CSV, test="images and labels")
    names = {path.stem for path in (tmp_path / "out").rglob("*.png")}
    assert split.hidden("test") <= names and not split.hidden("final") & names
    table = (tmp_path / "out" / "cases.csv").read_text()
    assert not any(case_id in table for case_id in split.hidden("final"))


def test_the_audit_of_a_split_with_a_final_part_sees_twins_in_all_three(
    store: CaseStore, split: FrozenSplit, tmp_path: Path
) -> None:
    table, report = (split.path / "split.csv").read_text(), audit(store, near=False)

    def leaking(path: Path) -> int:
        return certify(report, read_published([str(path)], store)).verdicts["final"].leaking

    assert leaking(split.path / "split.csv") == 0
    moved = min(c for c in split.hidden("final") if f"{c[:-1]}l" in table and c.endswith("r"))
    (tmp_path / "torn.csv").write_text(table.replace(f"{moved},final", f"{moved},test"))
    assert leaking(tmp_path / "torn.csv") >= 1


# --- challenge.yaml ------------------------------------------------------------------------------


def final_phase(**changes: Any) -> dict[str, Any]:
    last = date(2026, 4, 20)
    return {"name": "final", "opens": last, "closes": last, "steps": {}, "part": "final", **changes}


WRONG = [
    pytest.param([final_phase(steps={"dice": 0.01})], "shows no number", id="steps"),
    pytest.param([final_phase(steps=None)], "shows no number", id="everything"),
    pytest.param([final_phase(closes=None)], "closes", id="for ever"),
    pytest.param(
        [final_phase(), {"name": "after", "opens": date(2026, 5, 1)}], "only the last", id="last"
    ),
]


@pytest.mark.parametrize("phases, why", WRONG)
def test_a_final_phase_never_shows_a_number_and_ends_the_challenge(
    phases: list[dict[str, Any]], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Challenge.model_validate({"phases": phases})


def test_a_phase_scores_the_test_part_unless_it_says_otherwise() -> None:
    assert Phase(name="development").part == "test"
    assert Challenge().final_phase is None
    declared = Challenge.model_validate({"phases": [final_phase()]})
    assert declared.final_phase is not None and declared.final_phase.name == "final"


def test_no_split_without_a_final_part_is_sealed_for_a_phase_that_scores_one(
    store: CaseStore, keys: Keys, tmp_path: Path
) -> None:
    challenge = FinalChallenge(tmp_path)
    challenge.declare(challenge.declared)
    frozen(store, tmp_path / "plain", final_fraction=None)
    words = ("seal", store.path, "--split", "plain", "--keys", keys.path, "--out", "bundles")
    ended = challenge.run(*words)
    assert ended.code == "challenge-invalid" and "the phase final scores one" in ended.said
    assert not (tmp_path / "bundles").exists()

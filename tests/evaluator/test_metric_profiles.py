"""Versions of metric profiles: no number of one ever changes, and no two pass for each other."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.files import canonical_json, sha256_bytes
from evaluator.metrics import (
    METRICS,
    PROFILES,
    VERSIONS,
    Edge,
    ProfileVersion,
    case_metrics,
    profile_version,
    profiles,
    ranking_profile,
)
from evaluator.metrics.lesions import count_lesions

SHAPE = (40, 52)
FROZEN = json.loads((Path(__file__).parent / "frozen_profiles.json").read_text("utf-8"))
Mask = NDArray[np.bool_]


def box(top: int, left: int, height: int, width: int) -> Mask:
    mask = np.zeros(SHAPE, np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


NOTHING, WHOLE = box(0, 0, 0, 0), box(0, 0, *SHAPE)
RING = box(5, 5, 20, 20) & ~box(9, 9, 12, 12)
STEPS = box(3, 4, 9, 13) | box(9, 11, 14, 8) | box(30, 40, 2, 2)
CORPUS: tuple[tuple[Mask, Mask, tuple[float, float] | None], ...] = (
    (NOTHING, NOTHING, None),
    (NOTHING, RING, None),
    (box(0, 0, 1, 1), NOTHING, None),
    (WHOLE, NOTHING, (0.2, 0.3)),
    (WHOLE, STEPS, None),
    (STEPS, WHOLE, None),
    (RING, RING, (0.1, 0.1)),
    (box(5, 5, 20, 20), RING, None),
    (STEPS, RING, (0.2, 0.1)),
    (RING, STEPS, (0.2, 0.1)),
    (box(10, 10, 12, 9), box(11, 12, 12, 9), None),
    (box(0, 0, 12, 9), box(28, 43, 12, 9), None),
    (box(20, 20, 1, 1), box(20, 23, 1, 1), None),
)


def measured(version: ProfileVersion) -> dict[str, list[float | None]]:
    """Each metric of the version on each pair; null where it leaves the pair out."""
    rows = [version.values(*pair) for pair in CORPUS]
    return {
        name: [None if math.isnan(row[name]) else row[name] for row in rows]
        for name in version.metrics
    }


@pytest.mark.parametrize("label", FROZEN["profiles"])
def test_no_number_of_a_version_ever_changes(label: str) -> None:
    """If this fails, the change is a new version, in the table of `evaluator.metrics.profiles`."""
    frozen, found = FROZEN["profiles"][label], measured(VERSIONS[label])
    assert VERSIONS[label].identity.digest == frozen["digest"]
    assert found.keys() == frozen["values"].keys()
    for name, values in frozen["values"].items():
        assert found[name] == [None if one is None else pytest.approx(one, 1e-12) for one in values]


def test_no_count_of_lesions_ever_changes() -> None:
    found = [
        list(vars(count_lesions(predicted, reference.astype(np.uint8))).values())
        for predicted, reference, _ in CORPUS
    ]
    assert found == FROZEN["lesions"]


def test_every_version_is_frozen_and_none_is_dropped() -> None:
    assert VERSIONS.keys() == FROZEN["profiles"].keys()
    for name in PROFILES:
        versions = [row.version for row in VERSIONS.values() if row.name == name]
        assert versions == [*range(1, len(versions) + 1)]
    digests = {row.identity.digest for row in VERSIONS.values()}
    assert len(digests) == len(VERSIONS)


@pytest.mark.parametrize("label", VERSIONS)
def test_the_digest_is_of_the_definition_in_its_canonical_form(label: str) -> None:
    version = VERSIONS[label]
    assert version.identity.digest == sha256_bytes(canonical_json(version.definition()))
    assert version.identity.label == label


def test_a_tolerance_or_an_edge_that_changes_is_in_the_digest() -> None:
    version = VERSIONS["native@1"]
    other = ProfileVersion(version.name, 1, version.metrics, {**profiles.NATIVE, "grid": "another"})
    assert other.identity.digest != version.identity.digest
    rule = METRICS["dice"].rules["native"]
    edges = {**rule.edges, profiles.EMPTY: Edge.FORMULA}
    changed = {"dice": type(rule)(rule.formula, edges)}
    again = ProfileVersion(version.name, 1, version.metrics, profiles.NATIVE, changed)
    assert again.identity.digest != version.identity.digest


def test_version_1_is_what_the_table_of_metrics_says() -> None:
    for name in PROFILES:
        version = profile_version(name)
        assert version.version == 1
        for prediction, reference, spacing in CORPUS:
            expected = case_metrics(prediction, reference, spacing, profile=name)
            assert version.values(prediction, reference, spacing) == pytest.approx(
                expected, nan_ok=True, abs=0, rel=0
            )


def test_recall_of_native_2_is_of_lesions_alone_and_all_else_is_native_1() -> None:
    one, two = (VERSIONS[f"native@{n}"] for n in (1, 2))
    for prediction, reference, spacing in CORPUS:
        old, new = (version.values(prediction, reference, spacing) for version in (one, two))
        worst = two.worst(SHAPE, spacing, lesion=bool(reference.any()))
        if reference.any():
            assert new == old and worst["recall"] == 0
        else:
            assert math.isnan(new.pop("recall")) and math.isnan(worst["recall"])
            del old["recall"]
            assert new == old


def test_what_leaves_cases_out_of_a_ranked_metric_ranks_nothing() -> None:
    assert [row.label for row in VERSIONS.values() if row.ranks] == ["native@1", "native@2"]
    with pytest.raises(ValueError, match="awesome-bus-2025@1 leaves cases out"):
        ranking_profile("awesome-bus-2025")
    with pytest.raises(ValueError, match="no metric profile 'native@9', only native@1, native@2"):
        ranking_profile("native@9")


def write() -> None:
    """Freeze new versions, and no other: `python -m tests.evaluator.test_metric_profiles`."""
    found = {
        label: {"digest": row.identity.digest, "values": measured(row)}
        for label, row in VERSIONS.items()
    }
    document = {**FROZEN, "profiles": found | FROZEN["profiles"]}
    path = Path(__file__).parent / "frozen_profiles.json"
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    write()

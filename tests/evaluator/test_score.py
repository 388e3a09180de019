"""The score stage: nothing is dropped or invented, and the same input gives the same bytes."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluator.consistency import draw, transform_pixels
from evaluator.documents.base import read, write
from evaluator.documents.predictions import PredictedCase, Predictions
from evaluator.documents.scores import RANKED, GroupScores, Scores
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file
from evaluator.metrics import METRICS, ProfileVersion, hd95, worst
from evaluator.predictions import bits_file, pack
from evaluator.scoring import cases as cases_of
from evaluator.scoring import score as stage
from evaluator.scoring.groups import groups_of, size_quartiles
from evaluator.sealed import seal_archive
from harness.store import png_bytes

Mask = NDArray[np.bool_]
SPLIT, SEED, SHAPE = "0" * 64, "ab" * 32, (40, 50)


@dataclass
class Bench:
    """Sealed labels and a folder of predictions, all of them right until a test spoils them."""

    root: Path
    truths: dict[str, tuple[SealedCase, Mask]]
    seed: str | None = SEED
    folds: tuple[int | None, ...] = (0, 1)
    plain: dict[str, Mask] = field(default_factory=dict)
    transformed: dict[str, Mask] = field(default_factory=dict)
    split: str = SPLIT

    def __post_init__(self) -> None:
        self.plain = {name: mask for name, (_, mask) in self.truths.items()}
        if self.seed:
            self.transformed = {
                name: self.as_transformed(name, mask) for name, mask in self.plain.items()
            }

    def as_transformed(self, name: str, mask: Mask) -> Mask:
        return transform_pixels(mask, draw(self.seed or SEED, name, mask.shape))

    def seal(self) -> None:
        identity = pyrage.x25519.Identity.generate()
        (self.root / "labels.key").write_text(str(identity))
        index = SealedIndex(
            split_digest=SPLIT,
            consistency_seed=self.seed,
            cases=tuple(case for case, _ in self.truths.values()),
        )
        files = [png_bytes(mask) for _, mask in self.truths.values()]
        archive = seal_archive(index, files, str(identity.to_public()))
        (self.root / "labels.age").write_bytes(archive)

    def predict(self) -> Path:
        folder = self.root / "predictions"
        folder.mkdir(exist_ok=True)
        for is_transformed, masks in ((False, self.plain), (True, self.transformed)):
            data = b"".join(pack(mask) for mask in masks.values())
            for fold in self.folds if masks or not is_transformed else ():
                (folder / bits_file(fold, is_transformed)).write_bytes(data)
        document = Predictions(
            submission_sha256=SPLIT,
            split_digest=self.split,
            folds=self.folds,
            cases=_declared(self.plain),
            transformed=(_declared(self.transformed),) if self.transformed else (),
            masks={path.name: sha256_file(path) for path in folder.glob("*.bits")},
        )
        write(document, folder / "predictions.json")
        return folder

    def score(self, out: str = "out", left_out: Collection[str] = ()) -> Scores:
        self.seal()
        labels, key = self.root / "labels.age", self.root / "labels.key"
        return stage.score(self.predict(), labels, key, out=self.root / out, left_out=left_out)

    def rows(self, out: str = "out") -> pd.DataFrame:
        return pd.read_parquet(self.root / out / stage.CASES)


def _declared(masks: Mapping[str, Mask]) -> tuple[PredictedCase, ...]:
    return tuple(
        PredictedCase(case_id=name, height=mask.shape[0], width=mask.shape[1])
        for name, mask in masks.items()
    )


def truth(name: str, label: Any, radius: int, **known: Any) -> tuple[SealedCase, Mask]:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    mask = (rows - 20) ** 2 + (columns - 25) ** 2 <= radius**2 if label != "normal" else None
    case: dict[str, Any] = {"case_id": name, "height": SHAPE[0], "width": SHAPE[1]}
    pixels = np.zeros(SHAPE, bool) if mask is None else mask
    return SealedCase(**case, file=f"{name}.png", label=label, **known), pixels


def mixed(**known: object) -> dict[str, tuple[SealedCase, Mask]]:
    labels = ["benign", "malignant"] * 6 + ["normal"] * 4
    return {
        f"c{n:02}": truth(f"c{n:02}", label, 4 + n, patient_group=f"p{n // 2}", **known)
        for n, label in enumerate(labels)
    }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, mixed())


def dice(scores: Scores, group: str = "all") -> float:
    return scores.groups[group].metrics["dice"].mean


def test_a_perfect_result_is_perfect_in_every_group(bench: Bench) -> None:
    scores = bench.score()
    assert set(scores.groups) == {
        *("all", "lesion", "normal", "benign", "malignant", "Q1", "Q2", "Q3", "Q4")
    }
    assert all(dice(scores, group) == 1.0 for group in scores.groups)
    assert (scores.invalid, scores.true_negatives) == (0, 8)


# --- cases that are not there, or not what they should be ----------------------------------------


@pytest.mark.parametrize("where", ["plain", "transformed"])
def test_a_missing_case_takes_the_worst_value_and_says_so(bench: Bench, where: str) -> None:
    del getattr(bench, where)["c03"]
    scores, rows = bench.score(), bench.rows()
    assert scores.invalid == len(bench.folds)  # the result is not complete
    prefix = "" if where == "plain" else "transformed_"
    lost = rows[rows.case_id == "c03"].iloc[0]
    assert lost[f"{prefix}status"] == "missing"
    shape = int(lost[f"{prefix}height"]), int(lost[f"{prefix}width"])
    assert all(lost[f"{prefix}{name}"] == worst(name, shape) for name in METRICS)
    assert set(rows[rows.case_id != "c03"][f"{prefix}status"]) == {"ok", "true-negative"}


def test_a_case_that_is_left_out_is_in_no_number_and_changes_no_other(bench: Bench) -> None:
    bench.plain["c04"] = np.zeros(SHAPE, bool)  # wrong, and so is one that stays
    bench.plain["c05"] = np.zeros(SHAPE, bool)
    whole, left_out = bench.score(), {"c04", "c13"}
    part, rows, all_rows = bench.score("part", left_out), bench.rows("part"), bench.rows()
    assert part.groups["all"].cases == whole.groups["all"].cases - 2
    assert part.labels_sha256 == whole.labels_sha256  # it is still the same test set
    stay = all_rows[~all_rows.case_id.isin(left_out)].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, stay)
    assert dice(part) == pytest.approx(stay.groupby("fold").dice.mean().mean())
    assert dice(part) > dice(whole)


def test_nothing_is_left_out_that_is_no_test_case_and_never_everything(bench: Bench) -> None:
    for left_out, words in (({"stranger"}, "stranger"), ({*bench.truths}, "every test case")):
        with pytest.raises(BusbenchError, match=words) as refused:
            bench.score(left_out=left_out)
        assert refused.value.code == Code.BUNDLE_INVALID


def test_a_mask_of_another_size_is_never_unpacked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.plain = {"c03": np.zeros((8192, 8192), bool)}  # claims the most that may be claimed
    bench.transformed = {}
    monkeypatch.setattr(cases_of, "unpack", lambda *_: pytest.fail("it was unpacked"))
    bench.score()
    assert set(bench.rows().query("case_id == 'c03'").status) == {"wrong-size"}


@pytest.mark.parametrize("where", ["plain", "transformed"])
def test_a_case_that_is_none_of_the_test_set_is_refused(bench: Bench, where: str) -> None:
    getattr(bench, where)["stranger"] = np.ones((3, 3), bool)
    with pytest.raises(BusbenchError, match="no test case") as refused:
        bench.score()
    assert refused.value.code == "predictions-invalid"


def test_transformed_masks_are_refused_where_the_pass_is_off(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mixed(), seed=None)
    bench.transformed = {"c03": bench.plain["c03"]}
    with pytest.raises(BusbenchError) as refused:
        bench.score()
    assert refused.value.code == "predictions-invalid"


def test_predictions_of_another_split_are_refused(bench: Bench) -> None:
    bench.split = "1" * 64
    with pytest.raises(BusbenchError, match="another split"):
        bench.score()


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_never_reach_an_aggregate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, poison: float
) -> None:
    poisoned = dict.fromkeys(METRICS, poison)
    monkeypatch.setattr(ProfileVersion, "values", lambda *_, **__: poisoned)
    with pytest.raises(ValueError, match="NaN or infinity"):
        bench.score()
    assert not (bench.root / "out" / "scores.json").exists()


def test_means_and_deviations_are_those_that_pandas_finds(bench: Bench) -> None:
    rng = np.random.default_rng(1)
    folder = bench.predict()
    for fold in bench.folds:
        noisy = [
            mask ^ (rng.random(SHAPE) < 0.1 * (fold or 0) + 0.1) for mask in bench.plain.values()
        ]
        (folder / bits_file(fold)).write_bytes(b"".join(map(pack, noisy)))
    document = read(Predictions, folder / "predictions.json", Code.PREDICTIONS_INVALID, remedy="")
    masks = {path.name: sha256_file(path) for path in folder.glob("*.bits")}
    write(document.model_copy(update={"masks": masks}), folder / "predictions.json")
    bench.predict = lambda: folder  # type: ignore[method-assign]
    scores, rows = bench.score(), bench.rows()
    groups = {"all": rows, "normal": rows[rows["class"] == "normal"]}
    for name, members in groups.items():
        by_fold = members.groupby("fold")[list(METRICS)].mean()
        for metric in METRICS:
            summary = scores.groups[name].metrics[metric]
            assert summary.mean == pytest.approx(by_fold[metric].mean(), rel=1e-12)
            assert summary.std == pytest.approx(by_fold[metric].std(), rel=1e-9, abs=1e-12)


# --- the consistency gap -------------------------------------------------------------------------


def held(group: GroupScores) -> tuple[int, float, float]:
    assert group.consistency is not None
    found = group.consistency
    assert set(found.gap) == set(found.transformed) == set(RANKED)
    return found.cases, found.transformed["dice"].mean, found.gap["dice"].mean


def test_the_gap_is_what_is_lost_and_normal_images_have_none(bench: Bench) -> None:
    groups = bench.score().groups
    assert held(groups["all"]) == (12, 1.0, 0.0)
    assert groups["normal"].consistency is None
    bench.transformed = {name: np.zeros_like(mask) for name, mask in bench.transformed.items()}
    groups = bench.score("again").groups
    assert held(groups["all"]) == held(groups["lesion"]) == (12, 0.0, 1.0)
    assert groups["all"].metrics["dice"].mean == 1.0  # the plain scores stay as they are


def test_predictions_without_the_transformed_masks_are_not_complete(bench: Bench) -> None:
    bench.transformed = {}
    scores = bench.score()
    assert scores.invalid == len(bench.folds) * len(bench.truths)
    assert held(scores.groups["all"])[2] == 1.0


def test_without_a_seed_there_is_no_gap(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mixed(), seed=None)
    scores = bench.score()
    assert all(group.consistency is None for group in scores.groups.values())
    assert scores.invalid == 0 and not [c for c in bench.rows().columns if "transformed" in c]


def test_a_lesion_that_is_cut_away_says_nothing_of_the_network(tmp_path: Path) -> None:
    truths = mixed()
    window = draw(SEED, "c03", SHAPE)
    edge = np.zeros(SHAPE, bool)  # all that the window leaves out
    edge[:] = True
    edge[window.top : window.top + window.height, window.left : window.left + window.width] = False
    truths["c03"] = (truths["c03"][0], edge)
    bench = Bench(tmp_path, truths)
    bench.transformed["c03"] = ~bench.transformed["c03"]
    assert held(bench.score().groups["all"]) == (11, 1.0, 0.0)
    assert not bench.rows().query("case_id == 'c03'").transformed_lesion_px.any()


# --- the same input, the same bytes --------------------------------------------------------------


def test_the_same_input_gives_the_same_bytes(bench: Bench) -> None:
    bench.score("one")
    bench.score("two")  # sealed again, so even the archive's bytes differ
    for name in (stage.CASES, "scores.json"):
        one, two = ((bench.root / out / name).read_bytes() for out in ("one", "two"))
        assert one == two
    frame = bench.rows("one")
    assert len(frame) == len(bench.truths) * len(bench.folds)
    assert not frame[[c for c in frame if c in METRICS]].isna().any().any()


def test_the_order_of_predictions_changes_no_score(bench: Bench) -> None:
    bench.plain["c05"] = ~bench.plain["c05"]
    one = bench.score("one")
    bench.plain = dict(reversed(bench.plain.items()))
    bench.transformed = dict(sorted(bench.transformed.items(), key=lambda item: item[0][::-1]))
    two = bench.score("two")
    assert one.groups == two.groups
    assert bench.rows("one").equals(bench.rows("two"))


def test_one_model_for_all_folds_has_no_deviation(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mixed(), folds=(None,))
    scores = bench.score()
    assert scores.groups["all"].metrics["dice"].std is None
    assert bench.rows().fold.isna().all()
    json.loads((tmp_path / "out" / "scores.json").read_text(), parse_constant=pytest.fail)


# --- groups --------------------------------------------------------------------------------------

areas = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 12), max_size=30)


@given(areas)
def test_equal_lesions_share_a_quartile_and_larger_ones_never_a_smaller(of: dict[str, int]) -> None:
    quartile = size_quartiles(of)
    assert quartile == size_quartiles(dict(reversed(of.items())))
    ordered = sorted(of, key=lambda name: of[name])
    for one, other in pairwise(ordered):
        assert quartile[one] <= quartile[other]
        assert of[one] != of[other] or quartile[one] == quartile[other]
    assert all((quartile[name] == 0) == (of[name] == 0) for name in of)


def test_quartiles_of_distinct_sizes_are_equally_large(bench: Bench) -> None:
    groups = bench.score().groups
    assert [groups[f"Q{q}"].cases for q in range(1, 5)] == [3, 3, 3, 3]


def test_a_scanner_of_few_patients_is_no_group() -> None:
    def cases(**patients: int) -> list[SealedCase]:
        return [
            truth(f"{name}-{n}", "benign", 5, device=name, patient_group=f"{name}{n}")[0]
            for name, count in patients.items()
            for n in range(count)
        ]

    def devices(found: list[SealedCase]) -> list[str]:
        groups = groups_of(found, {case.case_id: 1 for case in found})
        return [name for name in groups if name.startswith("device ")]

    assert devices(cases(logiq=6, toshiba=5, rare=4)) == ["device logiq", "device toshiba"]
    assert devices(cases(logiq=9)) == []  # the only one is the whole test set


def test_each_scanner_is_scored_on_its_own_images(tmp_path: Path) -> None:
    truths = {
        name: (
            replace(case, device="A" if n % 2 else "B", patient_group=name),
            mask,
        )
        for n, (name, (case, mask)) in enumerate(mixed().items())
    }
    bench = Bench(tmp_path, truths)
    spoiled = [name for n, name in enumerate(truths) if n % 2]
    bench.plain |= {name: ~bench.plain[name] for name in spoiled}
    scores = bench.score()
    assert (dice(scores, "device A"), dice(scores, "device B")) == (0.0, 1.0)
    assert set(bench.rows().device) == {"A", "B"}


def test_the_table_of_cases_reads_back_as_it_was(bench: Bench) -> None:
    bench.score()
    data = (bench.root / "out" / stage.CASES).read_bytes()
    frame = pd.read_parquet(io.BytesIO(data))
    assert list(frame.case_id) == sorted(bench.truths) * 2
    assert list(frame.fold.unique()) == list(bench.folds)
    assert (frame.transformed_dice[frame["class"] != "normal"] == 1.0).all()


# --- millimetres ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spaced", [0, 1, 7, 15, 16])
def test_no_mean_mixes_pixels_and_millimetres(tmp_path: Path, spaced: int) -> None:
    truths = mixed()
    for number, (name, (case, mask)) in enumerate(truths.items()):
        side = 0.05 + number / 100  # a mean of both units would equal neither
        known = (side, side) if number < spaced else None
        truths[name] = (replace(case, spacing_mm=known), mask)
    bench = Bench(tmp_path, truths)
    bench.plain = {name: np.roll(mask, 3, axis=1) for name, mask in bench.plain.items()}
    scores, rows = bench.score(), bench.rows()
    assert scores.spaced == spaced
    in_mm = spaced == len(truths)
    assert scores.units["hd95"] == ("mm" if in_mm else "px")
    for row in rows.to_dict("records"):
        case, mask = truths[row["case_id"]]
        side = case.spacing_mm[0] if in_mm and case.spacing_mm else 1.0
        shifted = np.roll(mask, 3, axis=1)
        if mask.any():
            assert row["hd95"] == pytest.approx(side * hd95(shifted, mask))


def test_detection_counts_the_lesions_of_a_label_and_not_their_union(tmp_path: Path) -> None:
    truths: dict[str, Any] = mixed()
    case, _ = truths["c00"]
    lesions = np.zeros(SHAPE, np.uint8)
    lesions[8:16, 8:16], lesions[8:16, 16:24] = 1, 2
    truths["c00"] = case, lesions
    bench = Bench(tmp_path, truths)
    bench.plain["c00"], bench.transformed["c00"] = lesions > 0, lesions > 0
    scores, row = bench.score(), bench.rows().iloc[0]
    found = scores.groups["all"].metrics
    assert found["dice"].mean == 1.0  # of the union
    assert found["lesion_sensitivity"].mean == pytest.approx(11 / 13)  # one area over both is none
    assert found["false_lesions"].mean == pytest.approx(1 / 16)
    assert found["lesion_f1"].mean == pytest.approx(22 / 25)
    assert (row["lesions_marked"], row["lesions_found"], row["lesions_false"]) == (2, 0, 1)
    assert "lesion_sensitivity" not in scores.groups["normal"].metrics
    assert scores.groups["normal"].metrics["false_lesions"].mean == 0


def test_a_missing_output_finds_no_lesion(bench: Bench) -> None:
    del bench.plain["c00"], bench.transformed["c00"]
    found = bench.score().groups["all"].metrics
    assert found["lesion_sensitivity"].mean == pytest.approx(11 / 12)
    assert found["false_lesions"].mean == pytest.approx(1 / 16)


# --- the Awesome-BUS benchmark's numbers beside them ---------------------------------------------


def test_numbers_as_awesome_bus_never_move_those_that_rank(bench: Bench) -> None:
    before = bench.score().groups
    bench.plain["c12"] = np.ones(SHAPE, bool)  # a normal image, whose HD95 that profile drops
    scores, rows = bench.score("again"), bench.rows("again")
    published = scores.awesome_bus_2025
    assert published.dropped == len(bench.folds)
    dropped = rows[rows.awesome_bus_2025_hd95.isna()]
    assert set(dropped.case_id) == {"c12"} and len(dropped) == published.dropped
    for name in RANKED:
        column = rows.groupby("fold")[f"awesome_bus_2025_{name}"].mean()  # without what is null
        assert published.metrics[name].folds == pytest.approx(list(column))
    assert published.metrics["hd95"].mean == 0  # all others are perfect
    assert scores.groups["lesion"] == before["lesion"]
    assert scores.groups["normal"].metrics["hd95"].mean > 0  # nothing is dropped where it ranks


def test_a_missing_case_takes_the_worst_value_as_awesome_bus_too(bench: Bench) -> None:
    del bench.plain["c12"]
    bench.score()
    lost = bench.rows().query("case_id == 'c12'")
    assert set(lost.awesome_bus_2025_dice) == {0} and set(lost.awesome_bus_2025_iou) == {0}
    assert list(lost.awesome_bus_2025_hd95) == pytest.approx([316.783838] * 2)

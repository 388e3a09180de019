"""Images on the site: small, the same on each run, and of the training part alone."""

from __future__ import annotations

import io
import json
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from evaluator.consistency import draw
from evaluator.errors import BusbenchError
from evaluator.files import sha256_bytes, sha256_file
from harness.audit import audit
from harness.datasets import ADAPTERS
from harness.ledger.report import Report
from harness.prepare import prepare
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit, freeze
from harness.store import CaseStore, Sample, write_store
from harness.website import Sources
from harness.website.collecting import collect
from harness.website.edition import Edition
from harness.website.images.examples import EXAMPLE_SEED
from harness.website.images.thumbnails import LONGEST, MOST_BYTES, SIDE, Thumbnail, outline
from harness.website.pages.illustrating import split_figures
from harness.website.pages.site import render
from harness.website.plots.curves import find_curves
from tests.support.command_line import Busbench, busbench_in
from tests.support.factories import make_report
from tests.support.samples import SECRET, samples
from tests.support.small_challenge import make_submission
from tests.support.website import Page, edition_of

STEP = re.compile(r"-?\d+(?:\.\d+)?")


def points_of(path: str) -> list[list[tuple[float, float]]]:
    """The corners of each closed outline of a path, from its start and its steps."""
    found = []
    for part in path.split("M")[1:]:
        x, y, *steps = map(float, STEP.findall(part))
        corners = [(x, y)]
        for dx, dy in zip(steps[::2], steps[1::2], strict=True):
            corners.append((corners[-1][0] + dx, corners[-1][1] + dy))
        found.append(corners)
    return found


# --- one thumbnail -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(24, 32), (900, 1400), (3000, 40)])
def test_no_thumbnail_is_large_or_says_more_than_its_pixels(size: tuple[int, int]) -> None:
    noise = np.random.RandomState(0).randint(0, 256, size).astype(np.uint8)
    first, again = (Thumbnail.of("x.webp", noise) for _ in range(2))
    assert first.data == again.data
    assert len(first.data) <= MOST_BYTES
    with Image.open(io.BytesIO(first.data)) as found:
        assert found.format == "WEBP"
        assert max(found.size) <= max(SIDE, 1)
        assert not {"exif", "icc_profile", "xmp"} & found.info.keys()
    assert (first.height, first.width) == size


def test_an_outline_encloses_its_mask_and_nothing_else() -> None:
    for seed in range(20):
        random = np.random.RandomState(seed)
        rows, columns = np.mgrid[:200, :300]
        mask = np.zeros((200, 300), np.bool_)
        for _ in range(2):
            (y, x), (h, w) = random.randint(30, 170, 2), random.randint(8, 30, 2)
            mask |= ((rows - y) / h) ** 2 + ((columns - x) / w) ** 2 < 1
        image = Image.new("1", (300, 200))
        for corners in points_of(outline(mask)):
            ImageDraw.Draw(image).polygon([(x - 0.5, y - 0.5) for x, y in corners], fill=1)
        filled = np.asarray(image)
        assert (filled & mask).sum() / (filled | mask).sum() > 0.96


def test_no_lesion_has_no_outline_and_one_pixel_has_one() -> None:
    mask = np.zeros((9, 9), np.bool_)
    assert outline(mask) == ""
    mask[4, 5] = True
    assert points_of(outline(mask)) == [[(5.5, 4.5), (5.5, 4.5)]]


def test_no_noise_makes_a_page_large_or_hides_what_is_large() -> None:
    noise = np.random.RandomState(0).rand(1024, 1024) < 0.3
    comb = np.zeros((1024, 1024), np.bool_)
    comb[:, ::2] = comb[0] = True
    for mask in (noise, comb):
        assert 0 < len(outline(mask)) <= LONGEST
    noise[:600] = False
    noise[100:500, 200:700] = True
    corners = points_of(outline(noise))[0]
    assert (min(corners), max(corners)) == ((200.5, 100.5), (699.5, 499.5))


# --- a split -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A frozen split with its store, and the site of one result on it."""

    store: CaseStore
    split: FrozenSplit
    edition: Edition

    def site(self, sources: Sources | None = None) -> dict[str, bytes]:
        given = sources or Sources(stores=(self.store.path,))
        extras = collect(self.edition, {self.split.lock.digest: self.split}, given)
        return render(replace(self.edition, extras=extras))


def shown(
    keys: Keys, root: Path, cases: list[Sample], *, dataset: str = "phantom", **how: Any
) -> Shown:
    store = write_store(root / "store", dataset, cases)
    split = freeze(
        store, audit(store, near=False), root / "split", version="v1", secret=SECRET, **how
    )
    report = make_report(track=dataset, dataset=dataset, split_digest=split.lock.digest)
    return Shown(store, split, edition_of(keys, root, report, lock=split.lock))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plots of tracks, which take a second each."""
    monkeypatch.setattr("harness.website.pages.site.plots", lambda track: iter(()))


@pytest.fixture(scope="module")
def scanned(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Cases of two scanners, one of them with a name that is markup."""
    names = ("Toshiba", "<i>\u202eGE\u2028</i>\u2066 & Co")
    cases = [replace(one, device=names[n % 2]) for n, one in enumerate(samples())]
    return shown(keys, tmp_path_factory.mktemp("scanned"), cases)


@pytest.fixture(scope="module")
def site(scanned: Shown) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.website.pages.site.plots", lambda track: iter(()))
        return scanned.site()


def page_of(files: dict[str, bytes], start: str) -> Page:
    return Page.of(next(data for name, data in files.items() if name.startswith(start)))


def test_no_thumbnail_shows_a_case_that_is_held_out(scanned: Shown, site: dict[str, bytes]) -> None:
    pictured = {Path(name).stem for name in site if name.startswith("cases/phantom")}
    training = {row.case_id for row in scanned.split.rows if row.part == "train"}
    assert len(pictured) >= 6
    assert pictured <= training
    hidden = scanned.split.hidden()
    for name in (name for name in site if name.startswith(("splits/phantom", "method"))):
        assert not hidden & set(re.findall(r"case_\d+-[lr]", site[name].decode())), name


def test_no_thumbnail_shows_a_case_that_another_split_holds_out(
    scanned: Shown, keys: Keys, tmp_path: Path
) -> None:
    """Its labels may be private, and its images are the same."""
    store, first = scanned.store, scanned.split
    second = freeze(
        store, audit(store, near=False), tmp_path / "v2", version="v2", secret=SECRET, seed=7
    )
    assert second.hidden() - first.hidden()
    how: dict[str, Any] = {"track": "phantom", "dataset": "phantom"}
    reports = (
        make_report(split_version=one.lock.version, split_digest=one.lock.digest, **how)
        for one in (first, second)
    )
    edition = edition_of(keys, tmp_path, *reports)
    splits = {one.lock.digest: one for one in (first, second)}
    extras = collect(edition, splits, Sources(stores=(store.path,)))
    locks = {digest: one.lock for digest, one in splits.items()}
    files = render(replace(edition, extras=extras, locks=locks))
    pictured = {Path(name).stem for name in files if name.startswith("cases/phantom")}
    assert pictured and not pictured & (first.hidden() | second.hidden())


def test_each_class_and_scanner_has_an_example(site: dict[str, bytes]) -> None:
    page = page_of(site, "splits/phantom")
    labels = [a["alt"] for tag, a in page.elements if tag == "img" and "image" in str(a["alt"])]
    for label in ("benign", "malignant", "normal"):
        for device in ("Toshiba", "<i>GE </i> & Co"):
            assert any(str(alt).startswith(f"{label}, {device} image") for alt in labels)
    assert "i" not in [tag for tag, _ in page.elements]


def test_no_scanners_name_steers_a_display(site: dict[str, bytes]) -> None:
    for name in (name for name in site if name.endswith((".html", ".svg"))):
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028]", site[name].decode()), name


def test_no_alternative_text_has_two_marks_at_an_end(site: dict[str, bytes]) -> None:
    alts = [str(a["alt"]) for tag, a in page_of(site, "splits/phantom").elements if tag == "img"]
    assert any("What does each part contain? benign: " in alt for alt in alts)
    assert not any("?." in alt for alt in alts)


def test_every_address_on_the_pages_is_a_file(site: dict[str, bytes]) -> None:
    for name in (name for name in site if name.endswith(".html")):
        for _, attributes in Page.of(site[name]).elements:
            for key in ("src", "srcset", "href"):
                link = str(attributes.get(key) or "#").partition("#")[0]
                if link and "nofollow" not in str(attributes.get("rel")):
                    assert posixpath.normpath(posixpath.join(posixpath.dirname(name), link)) in site


def test_the_same_folders_give_the_same_bytes(scanned: Shown, site: dict[str, bytes]) -> None:
    assert scanned.site() == site


def test_the_windows_on_the_method_page_are_drawn_from_no_secret(
    site: dict[str, bytes],
) -> None:
    text = page_of(site, "method").all_text
    (case_id,) = set(re.findall(r"case_\d+-[lr]", text))
    for number in (1, 2):
        drawn = draw(sha256_bytes(f"{EXAMPLE_SEED} {number}".encode()), case_id, (24, 32))
        assert f"{drawn.width} × {drawn.height} of 32 × 24 pixels" in text
        with Image.open(io.BytesIO(site[f"cases/window-{number}.webp"])) as found:
            assert found.size == (drawn.width, drawn.height)


@pytest.fixture
def busbench(capsys: pytest.CaptureFixture[str]) -> Busbench:
    """The command line."""
    return partial(busbench_in, capsys)


def test_what_leaks_by_image_is_what_the_audit_verb_says(
    busbench: Busbench, scanned: Shown, site: dict[str, bytes]
) -> None:
    ended = busbench("audit", scanned.store.path, "--no-near", "--policy", "image", "--json")
    (verdict,) = json.loads(ended.out)["verdicts"].values()
    assert verdict["leaking"] > 0
    page = page_of(site, "splits/phantom")
    (alt,) = (str(a["alt"]) for _, a in page.elements if "leak?" in str(a.get("alt")))
    said = f"{100 * verdict['share']:.1f} %, {verdict['leaking']} of {verdict['test']}"
    assert f"drawn by image: {said}; drawn by patient: 0.0 %, 0 of" in alt
    assert "Near-duplicates were not looked for." in page.all_text


def test_the_bars_count_each_case_once(scanned: Shown) -> None:
    extras = collect(
        scanned.edition,
        {scanned.split.lock.digest: scanned.split},
        Sources(stores=(scanned.store.path,)),
    )
    counts = next(iter(extras.splits.values())).devices
    assert sum(sum(parts.values()) for parts in counts.values()) == len(scanned.store.cases)
    assert sum(parts["test"] for parts in counts.values()) == len(scanned.split.hidden("test"))


def test_a_store_of_no_shown_split_is_refused(scanned: Shown, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other", "phantom", samples(patients=3))
    with pytest.raises(BusbenchError, match="No split that this site shows was frozen from"):
        scanned.site(Sources(stores=(other.path,)))


def test_a_changed_image_is_not_shown(keys: Keys, tmp_path: Path) -> None:
    made = shown(keys, tmp_path, samples())
    for path in (made.store.path / "images").iterdir():
        path.write_bytes(made.store.image_path(made.store.cases[0].case_id).read_bytes())
    with pytest.raises(BusbenchError, match="was changed"):
        made.site()


# --- terms of a dataset ------------------------------------------------------------------------


def test_no_image_is_shown_whose_terms_do_not_let(keys: Keys, tmp_path: Path) -> None:
    assert not ADAPTERS["yap2018"].release.may_show
    made = shown(keys, tmp_path, samples(), dataset="yap2018")
    without = made.site()
    assert not any(name.startswith("cases/") for name in without)
    stated = Sources(stores=(made.store.path,), may_show=("yap2018",))
    assert any(name.startswith("cases/yap2018") for name in made.site(stated))


@pytest.mark.parametrize("name", ["phantom", "busi"])
def test_a_statement_that_changes_nothing_is_refused(scanned: Shown, name: str) -> None:
    with pytest.raises(BusbenchError, match="--may-show"):
        scanned.site(Sources(stores=(scanned.store.path,), may_show=(name,)))


def test_images_of_busbra_never_come_without_their_licence(
    real_data: Path, keys: Keys, tmp_path: Path
) -> None:
    raw = tmp_path / "BUSBRA"
    table = (real_data / "BUSBRA" / "bus_data.csv").read_text().splitlines()
    kept = [table[0], *table[1:41]]
    for kind, prefix in (("Images", "bus"), ("Masks", "mask")):
        (raw / kind).mkdir(parents=True)
        for line in kept[1:]:
            name = line.split(",")[0].replace("bus", prefix, 1) + ".png"
            (raw / kind / name).symlink_to(real_data / "BUSBRA" / kind / name)
    (raw / "bus_data.csv").write_text("\n".join(kept) + "\n")
    store = prepare("busbra", raw, tmp_path / "store").store
    split = freeze(
        store, audit(store, near=False), tmp_path / "split", version="v1", secret=SECRET, folds=2
    )
    report = make_report(split_digest=split.lock.digest)
    made = Shown(store, split, edition_of(keys, tmp_path, report, lock=split.lock))
    files = made.site()
    assert "Permission is hereby granted" in files["licences/busbra.txt"].decode()
    page = page_of(files, "splits/busbra")
    assert ADAPTERS["busbra"].release.terms in page.all_text
    assert any(a.get("href") == "../licences/busbra.txt" for _, a in page.elements)
    assert max(len(data) for name, data in files.items() if name.endswith("webp")) <= MOST_BYTES


# --- twins that the audit found ----------------------------------------------------------------


def test_twins_are_listed_and_only_those_of_the_training_part_are_shown(
    keys: Keys, tmp_path: Path
) -> None:
    made = shown(keys, tmp_path, samples())  # the first image of patient 0 is patient 1's, too
    page = page_of(made.site(), "splits/pairs-phantom")
    assert {"case_000-l", "case_001-l", "identical"} <= set(page.text)
    training = {row.case_id for row in made.split.rows if row.part == "train"}
    images = [str(a["src"]) for tag, a in page.elements if tag == "img"]
    assert {Path(image).stem for image in images} == {"case_000-l", "case_001-l"} & training


@pytest.mark.parametrize("by", ["image", "patient"])
def test_twins_on_one_side_are_not_said_to_be_on_both_where_patients_leak(
    keys: Keys, tmp_path: Path, by: Any
) -> None:
    made = shown(keys, tmp_path, samples(), policy=by)
    counts = made.split.lock.audit.by_kind
    apart = counts["identical"] + counts["near-duplicate"] > 0
    assert made.split.lock.leaks == (by == "image") and not apart
    text = page_of(made.site(), "splits/pairs-phantom").all_text
    assert "Each pair is on one side of the split." in text


def test_an_audit_that_contradicts_its_split_is_refused(keys: Keys, tmp_path: Path) -> None:
    made = shown(keys, tmp_path, samples())
    file = made.split.path / "audit.json"
    file.write_text(file.read_text().replace("case_000-r", "case_002-r"))
    with pytest.raises(BusbenchError, match=r"audit\.json"):
        made.site()


# --- learning curves ---------------------------------------------------------------------------


HUGE = "9" * 400  # more than a number of a computer can be
LOG = f"""busbench trains
fold 0 epoch 1, step 10: loss 0.9000, validation loss 0.8000, Dice 0.5000; 1 s, at most 2 s left
progress 10/20 training fold 0
fold 0 epoch 2, step 20: loss 0.4000, validation loss 0.5000, Dice 0.7500; 2 s, at most 0 s left
fold 0 goes on after step 10 of 20
fold 0 epoch 2, step 20: loss 0.3000, validation loss 0.4000, Dice 0.7600; 2 s, at most 0 s left
fold 0 epoch 3, step 30: loss 0.1, validation loss 0.1, Dice {HUGE}.0
fold 0 epoch 3, step 30: loss nan, validation loss nan, Dice <script>alert(1)</script>
"""


def trained(folder: Path, keys: Keys, log: str = LOG) -> tuple[Path, Callable[..., Report]]:
    """What a training left, and the reports of its submission."""
    submission = make_submission(folder / "out")
    (folder / "out.train.log").write_text(log)
    digest = sha256_file(submission / "all.onnx")

    def report(**how: Any) -> Report:
        made = make_report(folds=1, half_width=None, **how)
        model = made.models[0].model_copy(update={"sha256": digest})
        provenance = made.provenance.model_copy(update={"models_sha256": (digest,)})
        return made.model_copy(update={"models": (model,), "provenance": provenance})

    return submission, report


def test_a_curve_is_what_the_log_says_last_of_each_step(keys: Keys, tmp_path: Path) -> None:
    submission, report = trained(tmp_path, keys)
    edition = edition_of(keys, tmp_path, report(trained_here="sha256:x"))
    (points,) = find_curves([submission], edition.reports).values()
    assert [(p.epoch, p.loss, p.dice) for p in points] == [(1, 0.9, 0.5), (2, 0.3, 0.76)]
    extras = collect(edition, {}, Sources(trained=(submission,)))
    files = render(replace(edition, extras=extras))
    page = Page.of(files["submissions/1.html"])
    (alt,) = (str(a["alt"]) for _, a in page.elements if "training go" in str(a.get("alt")))
    assert "0.7600" in alt and "script" not in alt
    assert {"plots/entry-1-curves.svg", "plots/entry-1-curves-narrow.svg"} <= files.keys()


@pytest.mark.parametrize("origin", [None, "sha256:x"])
def test_no_curve_is_shown_of_what_was_not_trained_here(
    keys: Keys, tmp_path: Path, origin: str | None
) -> None:
    submission, report = trained(tmp_path, keys)
    other = make_report(trained_here=origin) if origin else report()
    edition = edition_of(keys, tmp_path, other)
    with pytest.raises(BusbenchError, match="no learning curve of a result that was trained here"):
        collect(edition, {}, Sources(trained=(submission,)))


def test_charts_of_a_split_need_no_store(scanned: Shown) -> None:
    (split,) = scanned.edition.splits
    extras = collect(scanned.edition, {scanned.split.lock.digest: scanned.split}, Sources())
    files, figures = split_figures(split, scanned.split.lock, extras.splits[split.digest])
    assert [one["figure"].name for one in figures] == ["classes"]
    assert len(files) == 2

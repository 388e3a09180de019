"""Sheets of test cases: on public labels alone, true to the runs, and harmless."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge, Phase, Track
from harness.ledger import Retraction, append, sign, verify_ledger
from harness.sealing.keys import Keys
from harness.store import CaseStore
from harness.website import Sources, publish
from harness.website.edition import Edition
from harness.website.images.sheets import SIDE_BY_SIDE, choose, require_open
from harness.website.images.thumbnails import outline
from tests.support.command_line import Busbench, busbench_in
from tests.support.factories import make_report
from tests.support.small_challenge import Evaluated, make_submission
from tests.support.website import Page, edition_of

HOSTILE = '"><img src=//evil.example onerror=alert(1)>'


@dataclass(frozen=True)
class Organiser:
    """A ledger with two results, their runs, and where the rest is."""

    ledger: Path
    runs: Path
    root: Path  # with splits/v1 and store

    def publish(self, site: Path, **changes: Any) -> Edition:
        """Publish with a sheet of all that is there."""
        sources = {"stores": (self.root / "store",), "cases": (self.runs,)} | changes
        return publish(self.ledger, site, [self.root / "splits"], sources=Sources(**sources))

    def words(self, site: Path, **changes: object) -> list[object]:
        """The same as a command line."""
        options = {
            "--out": site,
            "--splits": self.root / "splits",
            "--store": self.root / "store",
            "--cases": self.runs,
        } | changes
        given = [word for pair in options.items() if pair[1] is not None for word in pair]
        return ["publish", self.ledger, *given]


@pytest.fixture(scope="module")
def organiser(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Organiser:
    folder = tmp_path_factory.mktemp("sheet")
    ledger, runs = evaluated.copied_ledger(folder), folder / "runs"
    shutil.copytree(evaluated.runs, runs)
    submission = make_submission(folder / "submission", "other", HOSTILE, bias=-1.0)
    result = evaluated.challenge.evaluate(submission, runs)
    append(ledger, result.signed, evaluated.challenge.keys)
    return Organiser(ledger, runs, evaluated.challenge.root)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plots of tracks, which take a second each."""
    monkeypatch.setattr("harness.website.pages.site.plots", lambda track: iter(()))


@pytest.fixture(scope="module")
def site(organiser: Organiser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.website.pages.site.plots", lambda track: iter(()))
        organiser.publish(folder)
    return folder


@pytest.fixture
def busbench(capsys: pytest.CaptureFixture[str]) -> Busbench:
    """The command line."""
    return partial(busbench_in, capsys)


def sheet_page(site: Path) -> Page:
    (path,) = site.glob("sheets/*.html")
    return Page.of(path.read_bytes())


# --- what is shown -----------------------------------------------------------------------------


def test_the_chosen_cases_are_those_of_the_run(organiser: Organiser, site: Path) -> None:
    """By the files of the run alone: the table that the scorer wrote, and the packed masks."""
    text = (next(site.glob("sheets/*.html"))).read_text()
    store = CaseStore.open(organiser.root / "store")
    labels = {case.case_id: case.label for case in store.cases}
    for run in organiser.runs.iterdir():
        table = pd.read_parquet(run / "score" / "cases.parquet")
        dice = table.groupby("case_id")["dice"].mean()
        lesions = dice[[labels[case] != "normal" for case in dice.index]]
        document = json.loads((run / "infer" / "predictions.json").read_text())
        data = (run / "infer" / "fold-all.bits").read_bytes()
        for value in (lesions.min(), lesions.max()):
            case_id = sorted(lesions[lesions == value].index)[0 if value == lesions.min() else -1]
            start = 0
            for case in document["cases"]:
                size = -(-case["height"] * case["width"] // 8)
                if case["case_id"] == case_id:
                    break
                start += size
            bits = np.unpackbits(np.frombuffer(data[start : start + size], np.uint8))
            mask = bits[: 24 * 32].reshape(24, 32).astype(np.bool_)
            reference = outline(store.mask(case_id))
            assert f"Dice {value:.3f}" in text
            assert f'class="outline-reference" d="{reference}"' in text
            assert not mask.any() or f'class="outline-prediction" d="{outline(mask)}"' in text


def test_cases_are_chosen_by_dice_and_a_marked_normal_image_is_one_of_them() -> None:
    @dataclass
    class Known:
        label: str

    known: Any = {name: Known("normal" if name < "c" else "benign") for name in "abcdefg"}
    values = pd.DataFrame({"dice": [1.0, 0.4, 0.9, 0.1, 0.5, 0.6, 0.9]}, index=[*"abcdefg"])
    found = choose(values, known)
    assert found == {"best": "g", "median": "f", "worst": "d", "normal, marked": "b"}
    assert choose(values.loc[["a"]], known) == {}


def test_no_window_of_the_consistency_pass_is_shown(organiser: Organiser, site: Path) -> None:
    """They are smaller than the images, and their sizes would tell of the secret seed."""
    page = sheet_page(site)
    sizes = {(a["width"], a["height"]) for tag, a in page.elements if tag == "img"}
    boxes = {a["viewbox"] for tag, a in page.elements if tag == "svg"}
    assert (sizes, boxes) == ({("32", "24")}, {"0 0 32 24"})


def test_two_methods_are_side_by_side_on_each_others_cases(site: Path) -> None:
    page = sheet_page(site)
    shown = [a.get("class") for tag, a in page.elements if tag == "div"]
    assert shown.count("shown-1") == shown.count("shown-2") >= 3
    style = (site / "style.css").read_text()
    hidden = re.findall(r"#show-(\d+):not\(:checked\)\) \.shown-(\d+)", style)
    assert hidden == [(str(n), str(n)) for n in range(1, SIDE_BY_SIDE + 1)]


def test_a_hostile_name_stays_text(site: Path) -> None:
    page = sheet_page(site)
    assert "//evil.example" not in [a.get("src") for _, a in page.elements]
    assert not any(key.startswith("on") for _, a in page.elements for key in a)
    assert any(HOSTILE in text for text in page.text)


def test_every_thumbnail_is_small_and_in_the_index(site: Path) -> None:
    files = json.loads((site / "site.json").read_text())["files"]
    images = list(site.rglob("*.webp"))
    assert {str(path.relative_to(site)) for path in images} <= files.keys()
    assert max(path.stat().st_size for path in images) <= 25_000
    links = {a.get("href") for _, a in Page.of((site / "submissions/1.html").read_bytes()).elements}
    assert any(str(link).endswith("#entry-1") for link in links)


def test_publishing_again_changes_nothing_and_without_cases_takes_the_sheet_away(
    organiser: Organiser, site: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    organiser.publish(copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    organiser.publish(copy, cases=())
    hidden = {one.case_id for one in CaseStore.open(organiser.root / "store").cases}
    assert not (copy / "sheets").exists()
    training = {path.stem for path in copy.glob("cases/phantom-*/*.webp")}
    assert training < hidden


# --- what is refused ---------------------------------------------------------------------------


def test_no_sheet_of_private_labels(keys: Keys, tmp_path: Path) -> None:
    private = edition_of(keys, tmp_path / "a", make_report(labels="private"))
    with pytest.raises(BusbenchError, match="whose labels are private") as refused:
        require_open(private.reports, ["busbra"], Challenge())
    assert refused.value.code == Code.USAGE


def test_no_sheet_of_a_dataset_whose_labels_another_track_keeps_private(
    keys: Keys, tmp_path: Path
) -> None:
    """Else the images of the public track would show the masks of the private one."""
    both = edition_of(
        keys, tmp_path / "a", make_report(), make_report(track="secret", labels="private")
    )
    with pytest.raises(BusbenchError, match="whose labels are private"):
        require_open(both.reports, ["busbra"], Challenge())
    public = edition_of(keys, tmp_path / "b", make_report())
    declared = Challenge.model_construct(
        tracks={"secret": Track(dataset="busbra", split_version="v2", labels="private")},
        phases=(),
    )
    with pytest.raises(BusbenchError, match="whose labels are private"):
        require_open(public.reports, ["busbra"], declared)
    require_open(public.reports, ["busbra"], Challenge())


def test_labels_stay_private_after_their_only_report_was_retracted(
    keys: Keys, tmp_path: Path
) -> None:
    edition_of(keys, tmp_path, make_report(), make_report(track="secret", labels="private"))
    ledger = tmp_path / "ledger.jsonl"
    (_, secret) = verify_ledger(ledger).reports
    append(ledger, Retraction(entry=secret.digest, reason="A wrong file."), keys)
    left = Edition.of(verify_ledger(ledger), ledger.read_bytes())
    assert [track.track for track in left.board.tracks] == ["busbra"]
    with pytest.raises(BusbenchError, match="whose labels are private"):
        require_open(left.reports, ["busbra"], Challenge())


def test_no_sheet_while_a_phase_hides_cases(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edition = edition_of(keys, tmp_path, make_report())
    phase = Phase(
        name="dev",
        closes=date(2026, 3, 1),
        steps={"dice": 0.01},
        results_open=date(2026, 4, 1),
    )
    challenge = Challenge(phases=(phase,))
    monkeypatch.setattr("harness.quotas.recording.today", lambda: date(2026, 3, 31))
    with pytest.raises(BusbenchError, match="phase dev") as refused:
        require_open(edition.reports, ["busbra"], challenge)
    assert refused.value.code == Code.RESULTS_CLOSED
    monkeypatch.setattr("harness.quotas.recording.today", lambda: date(2026, 4, 1))
    require_open(edition.reports, ["busbra"], challenge)


def test_a_private_track_is_refused_on_the_command_line_in_one_sentence(
    busbench: Busbench, organiser: Organiser, keys: Keys, tmp_path: Path
) -> None:
    hidden = {"dice": 0.05}
    phase = Phase(
        name="p", closes=date(2020, 1, 2), steps=hidden, results_open=date(2020, 1, 3)
    ).document()
    track = {"dataset": "busbra", "split_version": "v1", "labels": "private"}
    challenge = {"schema": "busbench/challenge/v1", "tracks": {"busbra": track}, "phases": [phase]}
    (tmp_path / "challenge.yaml").write_text(json.dumps(challenge))
    append(tmp_path / "ledger.jsonl", sign(make_report(labels="private"), keys), keys)
    shutil.copy(organiser.ledger.with_name("ledger.jsonl.log.json"), tmp_path)
    words = organiser.words(tmp_path / "site", **{"--challenge": tmp_path / "challenge.yaml"})
    words[1] = tmp_path / "ledger.jsonl"
    ended = busbench(*words)
    assert ended.status == 2
    assert "A sheet of busbra would show test masks of busbra, whose labels are private" in (
        " ".join(ended.err.split())
    )
    assert not (tmp_path / "site").exists()


def test_a_sheet_needs_the_images(busbench: Busbench, organiser: Organiser, tmp_path: Path) -> None:
    ended = busbench(*organiser.words(tmp_path / "site", **{"--store": None}))
    assert (ended.status, "Name --store, too" in ended.err) == (2, True)
    with pytest.raises(BusbenchError, match="needs the images of phantom v1"):
        organiser.publish(tmp_path / "site", stores=())


@pytest.mark.parametrize("name", ["nothing", "<b>"])
def test_a_track_that_is_not_there_is_refused(
    organiser: Organiser, tmp_path: Path, name: str
) -> None:
    with pytest.raises(BusbenchError, match="no track of that name has a complete result"):
        organiser.publish(tmp_path / "site", cases_of=(name,))


def test_a_deleted_run_is_said_and_the_others_are_shown(
    busbench: Busbench, organiser: Organiser, tmp_path: Path
) -> None:
    shutil.copytree(organiser.runs, tmp_path / "runs")
    run = next(path for path in (tmp_path / "runs").iterdir() if "other" in said_of(path))
    shutil.rmtree(run / "infer")
    ended = busbench(*organiser.words(tmp_path / "site", **{"--cases": tmp_path / "runs"}))
    assert ended.status == 0
    assert "No run contains cases and predictions of" in ended.err and "other" in ended.err
    page = sheet_page(tmp_path / "site")
    assert "No images of" in page.all_text
    assert [a["id"] for tag, a in page.elements if tag == "h3"] == ["entry-1"]


def said_of(run: Path) -> str:
    return (run / "submission" / "submission.yaml").read_text()


def test_runs_of_nothing_that_is_shown_are_refused(organiser: Organiser, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(BusbenchError, match="contains a result that is shown") as refused:
        organiser.publish(tmp_path / "site", cases=(tmp_path / "runs",))
    assert refused.value.code == Code.CASES_INVALID


def test_no_track_lacks_its_sheet_in_silence(organiser: Organiser, tmp_path: Path) -> None:
    """Also where another track on the same images has one."""
    shutil.copy(organiser.ledger, tmp_path / "ledger.jsonl")
    (one, _) = verify_ledger(organiser.ledger).reports
    other = one.report.model_copy(update={"track": "other", "method": "never run here"})
    append(
        tmp_path / "ledger.jsonl",
        sign(other, Keys.open(organiser.root / "keys")),
        Keys.open(organiser.root / "keys"),
    )
    both = replace(organiser, ledger=tmp_path / "ledger.jsonl")
    with pytest.raises(BusbenchError, match="contains a result that is shown on other"):
        both.publish(tmp_path / "site")
    assert not (tmp_path / "site").exists()
    both.publish(tmp_path / "site", cases_of=("phantom",))
    assert len([*(tmp_path / "site").glob("sheets/*")]) == 1


@pytest.mark.parametrize("file", ["infer/fold-all.bits", "score/cases.parquet"])
def test_a_changed_run_is_no_thumbnail(organiser: Organiser, tmp_path: Path, file: str) -> None:
    shutil.copytree(organiser.runs, tmp_path / "runs")
    path = next((tmp_path / "runs").iterdir()) / file
    if path.suffix == ".bits":
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    else:
        table = pd.read_parquet(path)
        table.loc[0, "dice"] = 0.123
        table.to_parquet(path, index=False)
    with pytest.raises(BusbenchError) as refused:
        organiser.publish(tmp_path / "site", cases=(tmp_path / "runs",))
    assert refused.value.code in (Code.PREDICTIONS_INVALID, Code.CASES_INVALID)
    assert not (tmp_path / "site").exists()


# --- in a browser ------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_with_images_work_in_a_browser(site: Path, browser: Browser, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    for path in (*site.glob("sheets/*"), *site.glob("splits/*"), site / "method.html"):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name
        found = Axe().run(page).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] != "minor"] == []
    said.clear()  # of axe, which asks for the style sheet by script
    page.goto(next(site.glob("sheets/*")).as_uri())
    assert page.locator(".shown-2").first.is_visible()
    page.locator("#show-2").uncheck()
    assert not page.locator(".shown-2").first.is_visible()
    assert page.locator(".shown-1").first.is_visible()
    eager = "[...document.images].filter((i) => i.loading !== 'lazy').map((i) => i.src)"
    assert (page.evaluate(eager), said) == ([], [])
    context.close()

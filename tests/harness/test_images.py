"""Container images that predict: who takes them, what has no effect on them, and what is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evaluator.documents.inference import EfficiencyLimits
from evaluator.documents.submission import ImageSubmission
from evaluator.errors import BusbenchError
from harness.challenge import Challenge, Kind, Limits, Track
from harness.cli.submissions import LOCAL, Named, folders
from harness.evaluation.evaluate import EvaluateSubmission
from harness.evaluation.settings import EvaluateSettings
from harness.execution import ExecutionEnvironment
from harness.ledger import sign, verify_report, write_report
from harness.ledger.report import Report
from harness.ranking import to_csv
from harness.sandbox.profile import container_settings
from harness.sandbox.stage import Stage
from harness.sandbox.usage import memory_in_use, usage_of
from harness.sealing.keys import Keys
from harness.submission import DOCUMENT, read_entry, read_submission, write_document
from harness.website.pages.site import render
from tests.support.factories import make_image_report
from tests.support.jobs import run
from tests.support.small_challenge import SmallChallenge, make_submission
from tests.support.website import edition_of

DIGEST = "sha256:" + "7" * 64
NAME = f"registry.example/team/net@{DIGEST}"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    return SmallChallenge.make(tmp_path_factory.mktemp("challenge"))


def image_folder(place: Path, **changes: str) -> Path:
    fields = {"team": "team", "method": "net", "track": "phantom", "image": NAME}
    write_document(ImageSubmission(**{**fields, **changes}), place / DOCUMENT)
    return place


def job(
    small: SmallChallenge, folder: Path, *accepts: Kind, runner: Any = "docker", **settings: Any
) -> EvaluateSubmission:
    track = Track(dataset="phantom", split_version="v1", accepts=accepts or ("onnx",))
    environment = ExecutionEnvironment(
        runner, Challenge(tracks={"phantom": track}), small.keys.path
    )
    how = EvaluateSettings(**settings)
    runs = folder.parent / "runs"
    return EvaluateSubmission.of(folder, small.bundles, runs, environment=environment, settings=how)


def test_no_track_takes_a_kind_that_it_does_not_accept(
    small: SmallChallenge, tmp_path: Path
) -> None:
    image, onnx = image_folder(tmp_path / "image"), make_submission(tmp_path / "onnx")
    with pytest.raises(BusbenchError, match="accepts ONNX files on track phantom"):
        job(small, image)
    with pytest.raises(BusbenchError, match="accepts a container image on track phantom"):
        job(small, onnx, "image", runner="process")
    assert (
        job(small, image, "image").facts.digest == job(small, image, "onnx", "image").facts.digest
    )
    job(small, onnx, "onnx", "image", runner="process")


def test_no_image_is_run_without_isolation(small: SmallChallenge, tmp_path: Path) -> None:
    with pytest.raises(BusbenchError, match="does not isolate") as refused:
        job(small, image_folder(tmp_path / "image"), "image", runner="process")
    assert refused.value.code == "usage"


@pytest.mark.parametrize(
    "setting", [{"backend": "triton"}, {"batch_size": 4}, {"device": "cuda", "precision": "fp16"}]
)
def test_no_setting_without_effect_on_an_image_is_taken(
    small: SmallChallenge, tmp_path: Path, setting: dict[str, Any]
) -> None:
    with pytest.raises(BusbenchError, match="no effect on a container image"):
        job(small, image_folder(tmp_path / "image"), "image", **setting)


def test_no_efficiency_is_limited_that_is_not_measured_of_images() -> None:
    limits = EfficiencyLimits(device_name="CPU", latency_ms=5)
    with pytest.raises(ValidationError, match="latency_ms is not measured of container images"):
        Track(dataset="d", split_version="v1", accepts=("image",), efficiency=limits)


@pytest.mark.parametrize("name", ["net", "net:latest", "registry.example/net@sha256:77"])
def test_no_image_is_named_by_what_can_move(tmp_path: Path, name: str) -> None:
    (tmp_path / DOCUMENT).write_text(f"team: t\nmethod: m\ntrack: phantom\nimage: {name}\n")
    with pytest.raises(BusbenchError, match="image"):
        read_entry(tmp_path)


def test_no_image_is_taken_where_onnx_files_are_needed(tmp_path: Path) -> None:
    with pytest.raises(BusbenchError, match="ONNX files are needed"):
        read_submission(image_folder(tmp_path / "image"))


def test_no_word_is_taken_for_an_image_that_is_none(tmp_path: Path) -> None:
    named = Named("phantom", "team", None, tmp_path)
    for word in ("no-such-folder", "net:latest"):
        with pytest.raises(BusbenchError, match="neither a folder nor a container image"):
            folders([word], named)
    (folder,) = folders([NAME], named)
    document = read_entry(folder)
    assert isinstance(document, ImageSubmission)
    assert (document.image, document.method, document.team) == (NAME, "net", "team")
    assert folders([NAME], named) == [folder]
    with pytest.raises(BusbenchError, match="of no team"):
        folders([NAME], Named("phantom", None, None, tmp_path))
    assert LOCAL == "local"


def test_no_team_is_said_of_a_folder_that_names_its_own(
    small: SmallChallenge, tmp_path: Path
) -> None:
    folder = make_submission(tmp_path / "onnx")
    done = run(
        "evaluate", folder, "--bundle", small.root / "bundles", "--part", "val", "--team", "us"
    )
    assert done.returncode == 2 and "--team would have no effect" in done.stderr


def test_no_participant_can_write_to_the_images() -> None:
    stage = Stage("predict", "infer", ("predict", "{volume}"), {}, Path("/tmp"), Limits())
    for fills, place in ((True, "/volume"), (False, "/in")):
        shared = Stage(**{**vars(stage), "volume": "v", "fills_volume": fills})
        settings = container_settings(shared, "sha256:1", "out")
        mount = next(m for m in settings["mounts"] if m["Source"] == "v")
        assert (mount["Target"], mount["ReadOnly"]) == (place, not fills)
        assert settings["command"] == ["predict", place]


@pytest.mark.parametrize("part", ["image", "backend"])
def test_no_report_is_of_models_and_an_image(part: str) -> None:
    document = make_image_report().document()
    if part == "image":
        document["provenance"]["image"] = None
    else:
        document["runtime"]["backend"] = "onnxruntime"
    with pytest.raises(ValidationError, match="of models or of a container image"):
        Report.model_validate(document)


def test_no_board_shows_a_count_of_an_image(tmp_path: Path) -> None:
    keys = Keys.new(tmp_path / "keys")
    report = make_image_report(image=NAME)
    write_report(sign(report, keys), tmp_path / "report.json")
    assert verify_report(tmp_path / "report.json", keys.report) == report
    edition = edition_of(keys, tmp_path, report)
    row = edition.board.tracks[0].rows[0]
    assert (row.kind, row.parameters, row.gmacs) == ("image", None, None)
    header, line = to_csv(edition.board).splitlines()[:2]
    cells = dict(zip(header.split(","), line.split(","), strict=True))
    assert (cells["kind"], cells["parameters"], cells["latency_ms"]) == ("image", "", "")
    files = render(edition)
    page = next(data for name, data in files.items() if name.startswith("submissions/1"))
    assert NAME.encode() in page and b"not counted" in page
    table = next(data for data in files.values() if b"data-kind" in data)
    assert b'data-kind="image"' in table and b"not counted" in table


def test_no_memory_is_stated_of_a_container_too_short_to_sample() -> None:
    state = {"StartedAt": "2026-11-27T16:00:00.123456789Z", "FinishedAt": "2026-11-27T16:00:02.5Z"}
    assert usage_of(state, [5 << 20]).host_memory_mb is None
    long = {**state, "FinishedAt": "2026-11-27T16:01:00.123456789Z"}
    assert usage_of(long, [5 << 20, 9 << 20]).model_dump() == {
        "seconds": 60.0,
        "host_memory_mb": 9,
    }
    assert usage_of(long, []).host_memory_mb is None


@pytest.mark.parametrize(
    ("stats", "found"),
    [
        ({}, None),
        ({"memory_stats": {}}, None),
        ({"memory_stats": {"usage": 9, "stats": {"total_inactive_file": 4}}}, 5),
        ({"memory_stats": {"usage": 9, "stats": {"inactive_file": 2}}}, 7),
    ],
)
def test_no_droppable_file_pages_count_as_memory(stats: dict[str, Any], found: int | None) -> None:
    assert memory_in_use(stats) == found

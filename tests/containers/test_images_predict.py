"""Images that predict, in real containers: an honest one scores, and what others can do wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker
import numpy as np
import pytest

from evaluator.consistency import transform_case
from evaluator.documents.base import write
from evaluator.documents.submission import ImageSubmission
from evaluator.errors import BusbenchError
from evaluator.predictions import open_predictions, read_packed, unpack
from evaluator.sealed import decode_image, open_sealed
from harness.challenge import Challenge, Limits, StageLimits, Track
from harness.evaluation.evaluate import EvaluateSubmission, Evaluation
from harness.execution import ExecutionEnvironment, run_job
from harness.sandbox.docker_runner import DockerRunner
from harness.submission import DOCUMENT, write_document
from tests.support.command_line import busbench_in
from tests.support.containers import compose_commands, compose_environment, composed
from tests.support.image_submissions import build_from, forget
from tests.support.jobs import run
from tests.support.predicting import BRIGHT, KINDS, SCRIPT, predicting_images
from tests.support.small_challenge import SmallChallenge

pytestmark = pytest.mark.docker
CHALLENGE = Challenge(
    tracks={"phantom": Track(dataset="phantom", split_version="v1", accepts=("image",))},
    limits=StageLimits(infer=Limits(seconds=60, memory_mb=512, output_mb=64, pids=32)),
)
# What each must end as, and words of the sentence that says so.
ENDS = {
    "network": ("model-failed", ""),
    "forks": ("limit-processes", "32 processes"),
    "writes-inputs": ("model-failed", "ead-only file system"),
    "misses-one": ("predictions-invalid", "is missing"),
    "symlink": ("output-refused", "a symbolic link"),
    "wrong-size": ("predictions-invalid", "another size than its image"),
    "grey": ("predictions-invalid", "other than 0 and 255"),
    "colour": ("predictions-invalid", "not one channel"),
    "random": ("model-nondeterministic", "another mask"),
    "giant": ("predictions-invalid", "too large"),
    "not-a-png": ("predictions-invalid", "no PNG"),
}


@dataclass(frozen=True)
class Ended:
    """How one evaluation ended, and where."""

    folder: Path
    result: Evaluation | None
    error: BusbenchError | None


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    return SmallChallenge.make(tmp_path_factory.mktemp("challenge"))


def job_of(challenge: SmallChallenge, image: str, place: Path) -> EvaluateSubmission:
    document = ImageSubmission(team="team", method="method", track="phantom", image=image)
    write_document(document, place / "submission" / DOCUMENT)
    return EvaluateSubmission.of(
        place / "submission",
        challenge.bundles,
        place / "runs",
        environment=ExecutionEnvironment("docker", CHALLENGE, challenge.keys.path),
    )


def evaluate(challenge: SmallChallenge, image: str, place: Path) -> Ended:
    job = job_of(challenge, image, place)
    try:
        run_job(job)
    except BusbenchError as error:
        return Ended(job.folder, None, error)
    return Ended(job.folder, job.finished(), None)


@pytest.fixture(scope="module")
def images(engine: docker.DockerClient) -> Iterator[dict[str, str]]:
    with predicting_images(engine, DockerRunner(CHALLENGE)) as made:
        yield made


@pytest.fixture(scope="module")
def ended(
    challenge: SmallChallenge, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Ended]:
    """Every kind, three at a time."""
    root = tmp_path_factory.mktemp("predicted")
    with ThreadPoolExecutor(3) as pool:
        runs = pool.map(lambda kind: evaluate(challenge, images[kind], root / kind), KINDS)
        return dict(zip(KINDS, runs, strict=True))


@pytest.mark.parametrize("kind", ["honest", "zero-one", "looks-around"])
def test_no_mask_of_an_image_is_scored_as_another_than_it_wrote(
    challenge: SmallChallenge, ended: dict[str, Ended], kind: str
) -> None:
    assert ended[kind].error is None
    folder = ended[kind].folder / "infer"
    document = open_predictions(folder)
    key = challenge.keys.images.identity()
    (challenge.root / "key").write_text(key)
    with open_sealed(challenge.bundles.images, challenge.root / "key") as (index, cases):
        seed = index.consistency_seed
        assert seed is not None
        shown = {c.case_id: (c, decode_image(d, c, challenge.bundles.images)) for c, d in cases}
    for name, listed in (("all", document.cases), ("all.transformed", document.transformed[0])):
        assert len(listed) == len(shown)
        for case, packed in read_packed(folder / f"fold-{name}.bits", listed):
            sealed, pixels = shown[case.case_id]
            if name != "all":
                _, pixels = transform_case(seed, sealed, pixels)
            mask = unpack(packed, case.height, case.width)
            assert np.array_equal(mask, pixels > BRIGHT)


def test_the_report_of_an_image_counts_nothing_that_cannot_be_counted(
    images: dict[str, str], ended: dict[str, Ended]
) -> None:
    result = ended["honest"].result
    assert result is not None
    report = result.report
    assert report.is_image and report.models == () and report.status == "complete"
    assert report.provenance.image == images["honest"]
    assert report.provenance.evaluator["predict"] == images["honest"]
    measured = report.runtime.measured
    assert (measured.latency_ms, report.runtime.precision) == (None, None)
    assert measured.seconds > 0 and measured.repeated_cases >= 16
    assert report.scores.groups["lesion"].metrics["dice"].mean > 0.05


def test_an_image_sees_test_images_alone_and_nothing_that_orders_them(
    ended: dict[str, Ended],
) -> None:
    run = ended["looks-around"].folder
    first, again = (
        json.loads((run / f"{place}.log").read_text().splitlines()[0])
        for place in ("predict", "predict-again")
    )
    for seen, times, sorted_alike in (first, again):
        others = {*seen} - {"/in/images", "/in/images.json"}
        assert all(path.startswith("/in/images/") and len(path) == 47 for path in others)
        assert times == [0.0] and sorted_alike
    assert not {*first[0]} & {*again[0]} - {"/in/images", "/in/images.json"}


@pytest.mark.parametrize("kind", ENDS)
def test_no_misbehaviour_of_an_image_passes(ended: dict[str, Ended], kind: str) -> None:
    code, words = ENDS[kind]
    error = ended[kind].error
    assert error is not None and error.code == code, error
    assert error.fault.name == "SUBMISSION" and words in f"{error.message} {error.remedy}"


def test_nothing_is_left_on_the_engine(
    engine: docker.DockerClient, ended: dict[str, Ended]
) -> None:
    assert not [v.name for v in engine.volumes.list() if v.name.startswith("busbench-shared-")]


def test_an_evaluation_that_is_run_again_keeps_its_stages(
    challenge: SmallChallenge, images: dict[str, str], ended: dict[str, Ended]
) -> None:
    folder = ended["honest"].folder
    before = (folder / "report.dsse.json").read_bytes()
    place = folder.parents[1]
    run_job(job_of(challenge, images["honest"], place))
    assert (folder / "report.dsse.json").read_bytes() == before


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("declared") / "challenge.yaml"
    write(CHALLENGE, path)  # JSON is YAML
    return path


def test_an_image_that_is_named_alone_has_the_result_of_its_folder(
    challenge: SmallChallenge,
    images: dict[str, str],
    ended: dict[str, Ended],
    declared: Path,
    tmp_path: Path,
) -> None:
    done = run(
        *("evaluate", images["honest"], "--team", "us", "--bundle", challenge.root / "bundles"),
        *("--keys", challenge.keys.path, "--out", tmp_path / "runs", "--challenge", declared),
        *("--ledger", tmp_path / "ledger.jsonl", "--json"),
    )
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)["reports"]
    result = ended["honest"].result
    assert result is not None
    assert report["scores"]["groups"] == result.report.document()["scores"]["groups"]
    assert report["team"] == "us" and report["provenance"]["image"] == images["honest"]
    shown = run("rank", tmp_path / "ledger.jsonl", "--challenge", declared)
    assert shown.returncode == 0 and "not counted" in shown.stdout, shown.stderr


def test_an_image_is_validated_on_a_cluster_without_any_key(
    challenge: SmallChallenge, images: dict[str, str], declared: Path, tmp_path: Path
) -> None:
    done = run(
        *("evaluate", images["honest"], "--part", "val", "--cluster", "local:1", "--json"),
        *("--bundle", challenge.root / "bundles", "--out", tmp_path / "runs"),
        *("--challenge", declared),
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["validations"]
    assert found["submission"]["image"] == images["honest"]
    assert 0 < found["scores"]["groups"]["lesion"]["metrics"]["dice"]["mean"] < 1


GRAND_CHALLENGE = """FROM {base}
USER root
RUN useradd -m -u 1000 user && install -d -o user /opt/app
ENV KIND=honest
USER user
WORKDIR /opt/app
COPY --chown=user:user predict.py /opt/app/process.py
RUN SITE=$(python3 -m site --user-site) && mkdir -p $SITE && echo X=1 > $SITE/mine.py && \\
    sed -i "1i import mine" process.py
ENTRYPOINT ["python3", "-m", "process"]
"""


def test_no_image_in_grand_challenges_manner_is_refused(
    engine: docker.DockerClient, challenge: SmallChallenge, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a user of its own, that user's packages, and a program in its working folder."""
    base = DockerRunner(CHALLENGE).identify("infer")
    files = {"Dockerfile": GRAND_CHALLENGE.format(base=base).encode()}
    files["predict.py"] = SCRIPT.encode()
    tag = "busbench-test/grand-challenge"
    image = build_from(engine, tag, files)
    try:
        bundle = challenge.root / "bundles"
        done = busbench_in(capsys, "check", image, "--bundle", bundle, "--json")
    finally:
        forget(engine, tag)
    assert done.status == 0, done.err
    trial = json.loads(done.out)["trial"]
    assert len(trial["images"]) == 8 and any(each["lesion_px"] for each in trial["images"])
    assert trial["seconds"] > 0 and trial["test_images"] > len(trial["images"])
    assert trial["host_memory_mb"] is None  # it ended too soon for a peak: not measured is not zero


@pytest.mark.parametrize("kind", ["looks-around", "misses-one", "random"])
def test_no_check_of_an_image_ends_otherwise_than_its_evaluation(
    images: dict[str, str], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "image.log"
    done = busbench_in(capsys, "check", images[kind], "--log", log)
    code, words = ENDS.get(kind, ("", "drawn-64x48"))
    assert done.status == (10 if code else 0), done.err
    assert code in done.err and words in done.out + done.err
    seen = "/in/images" if not code else ""  # what it printed; of one that failed, too
    assert log.read_text().count(seen) >= 1


def test_no_image_is_checked_without_a_sandbox_or_for_no_track(
    images: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = busbench_in(capsys, "check", images["honest"], "--runner", "process")
    assert done.status == 2 and "does not isolate" in done.err
    words = ("check", images["honest"], "--challenge", tmp_path / "challenge.yaml")
    tracks = {name: Track(dataset=name, split_version="v1") for name in ("busi", "phantom")}
    write(CHALLENGE.model_copy(update={"tracks": tracks}), tmp_path / "challenge.yaml")
    done = busbench_in(capsys, *words)
    assert done.status == 2 and "--bundle" in done.err
    del tracks["busi"]
    write(CHALLENGE.model_copy(update={"tracks": tracks}), tmp_path / "challenge.yaml")
    done = busbench_in(capsys, *words)
    assert done.status == 10 and "accepts ONNX files on track phantom" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("compose", compose_commands(), ids=" ".join)
def test_compose_gives_an_image_the_harness_scores(
    challenge: SmallChallenge,
    images: dict[str, str],
    ended: dict[str, Ended],
    tmp_path: Path,
    compose: list[str],
) -> None:
    runner, results = DockerRunner(CHALLENGE), tmp_path / "results"
    names = {"PREDICT_IMAGE": images["honest"], "INFER_IMAGE": runner.identify("infer")}
    names["SCORE_IMAGE"] = runner.identify("score")
    environment = compose_environment(challenge.root, results) | names
    with composed(compose, "image", environment, "--profile=image") as run_compose:
        run_compose("up", "-d", "score-image")
        run_compose("logs", "-f", "score-image")
    kept = ended["honest"].folder / "score" / "scores.json"
    ours, theirs = (
        json.loads(path.read_text()) for path in (kept, results / "score" / "scores.json")
    )
    for document in (ours, theirs):  # it names the submission, which compose does not know
        document.pop("predictions_sha256")
    assert theirs == ours
    assert not (results / "infer" / "runtime.json").exists()  # nothing of it was measured

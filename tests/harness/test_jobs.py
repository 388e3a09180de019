"""Jobs, chains and the table, without a single network."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest

from evaluator.documents.input_spec import InputSpec
from evaluator.errors import BusbenchError, Code
from evaluator.progress import quiet
from harness.benchmark.table import Line, TrackTable, to_markdown
from harness.challenge import Challenge
from harness.cli.run_view import summary
from harness.execution import Chain, ExecutionEnvironment, Serial, run_chains
from harness.execution.inputs import Input
from harness.execution.job import is_done, run_once
from harness.execution.scheduler import Finished, RunProgress
from harness.ranking.published import published_table
from harness.sandbox.failure import killed
from harness.sandbox.references import ImageRequest
from harness.sandbox.stage import StageName
from harness.training.train import TrainImage
from reference_models.networks import NETWORKS
from tests.support.factories import make_report, make_training_bundle
from tests.support.jobs import Heard, WriteWord, runs


def test_a_failed_job_holds_up_nothing_but_what_needs_it(tmp_path: Path) -> None:
    def chain(*words: str, code: Code | None = None) -> Chain:
        jobs = tuple(WriteWord(word, tmp_path, code) for word in words)
        return Chain(jobs, lambda: WriteWord(f"after-{words[0]}", tmp_path), "write")

    heard = Heard()
    chains = [chain("bad", code=Code.MODEL_FAILED), chain("good", "fine")]
    state = run_chains(chains, Serial(), heard)
    assert runs(tmp_path) == ["bad", "good", "fine", "after-good"]
    assert heard.ended == ["bad: model-failed", "good", "fine", "after-good"]
    assert [end.error and end.error.code for end in state.failed] == ["model-failed"]
    assert (state.total, state.skipped, state.left.total()) == (5, 1, 0)


def test_a_job_that_the_recorder_refuses_is_never_run(tmp_path: Path) -> None:
    chains = [Chain((WriteWord(word, tmp_path),)) for word in ("one", "two")]
    heard = Heard(refuses="one")
    state = run_chains(chains, Serial(), heard)
    assert runs(tmp_path) == ["two"] and heard.ended == ["one: quota-exceeded", "two"]
    assert state.status == 10
    kept = Heard(refuses="two")  # what is done needs no leave
    run_chains(chains[1:], Serial(), kept)
    assert kept.ended == ["two"]


def test_a_follower_that_cannot_be_made_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    def broken() -> WriteWord:
        raise BusbenchError(Code.SUBMISSION_INVALID, "The folds differ.", "Train again.")

    state = run_chains([Chain((WriteWord("one", tmp_path),), broken)], Serial())
    assert [end.error and end.error.code for end in state.failed] == ["submission-invalid"]


def test_a_result_with_a_changed_file_does_not_count_as_done(tmp_path: Path) -> None:
    job = WriteWord("word", tmp_path)
    run_once(job, lambda *_: None)
    run_once(job, lambda *_: None)
    assert is_done(job) and runs(tmp_path) == ["word"]
    (tmp_path / "word").write_text("changed")
    assert not is_done(job)
    run_once(job, lambda *_: None)
    assert is_done(job) and runs(tmp_path) == ["word", "word"]


def test_the_result_of_another_job_is_never_taken_for_ones_own(tmp_path: Path) -> None:
    run_once(WriteWord("word", tmp_path), lambda *_: None)
    (tmp_path / "word.json").rename(tmp_path / "other.json")
    with pytest.raises(BusbenchError, match="another recipe, image or bundle") as caught:
        is_done(WriteWord("other", tmp_path))
    assert caught.value.code == "output-exists"


@pytest.mark.parametrize(
    ("stage", "fault"),
    [("infer", "SUBMISSION"), ("train", "SUBMISSION"), (None, "INFRASTRUCTURE")],
)
def test_a_submission_is_never_blamed_for_a_worker_that_it_cannot_reach(
    stage: StageName | None, fault: str
) -> None:
    error = killed("evaluate unext", stage, 3)
    assert error.fault.name == fault and "died 3 times" in error.message


def test_the_view_tells_what_is_done_who_is_to_blame_and_how_long_is_left(tmp_path: Path) -> None:
    words = ("one", "two", "bad", "worse", "three", "four")
    jobs = [WriteWord(word, tmp_path) for word in words]
    state = RunProgress(Counter(write=len(jobs)), slots=2)
    state.take(Finished(jobs[0], 30.0))
    state.take(Finished(jobs[1], 0.0, kept=True))  # tells nothing of how long jobs take
    state.take(
        Finished(jobs[2], 10.0, BusbenchError(Code.MODEL_FAILED, "It failed.", "Repair it."))
    )
    state.take(Finished(jobs[3], 20.0, BusbenchError(Code.DISK_FULL, "It is full.", "Repair it.")))
    state.running = tuple(jobs[4:])
    assert summary(state) == (
        "2 of 6 done · running: write three; write four"
        " · failed: 1 by the submission, 1 by the machine · about 0:00:20 left"
    )
    assert state.status == 30


@pytest.mark.parametrize(("runner", "stage"), [("process", "train"), ("docker", None)])
def test_who_dies_in_a_container_never_took_the_worker_with_it(
    tmp_path: Path, runner: Literal["docker", "process"], stage: str | None
) -> None:
    job = TrainImage(
        name="net",
        image=ImageRequest("net@sha256:" + "a" * 64),
        command=(),
        bundle=Input(tmp_path),
        facts=make_training_bundle(),
        out=tmp_path / "out",
        environment=ExecutionEnvironment(runner, Challenge()),
    )
    assert job.stage is None  # nothing of the participant's was running
    (tmp_path / "out.work").mkdir()
    assert job.stage == stage
    code = killed(job.label, job.stage, 3).code
    assert code == ("training-failed" if stage else "stage-crashed")


def test_a_job_that_another_process_does_is_waited_for_and_never_done_twice(tmp_path: Path) -> None:
    job = WriteWord("word", tmp_path, seconds=0.5)
    said: list[str] = []
    with ProcessPoolExecutor(1) as other, ThreadPoolExecutor(1) as here:
        first = other.submit(run_once, job, quiet)
        while not (tmp_path / "runs").exists():
            time.sleep(0.01)
        here.submit(run_once, job, quiet, said.append).result()
        first.result()
    assert runs(tmp_path) == ["word"] and is_done(job)
    assert said == ["write word: another process does this now; waiting for its result"]
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "word", "word.json"}


def line(network: str, recipe: str | None = None, **how: Any) -> Line:
    report = make_report(method=network, **how)
    input_ = InputSpec(height=224, width=224, resize="letterbox")
    return Line(recipe=recipe or network, network=network, input=input_, report=report)


def test_published_numbers_never_stand_without_saying_that_they_leak() -> None:
    table = TrackTable(track="b-mode", lines=(line("unext", dice=0.86),), missing=("medt",))
    text = to_markdown([table])
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("|")}
    assert rows["UNeXt"].split("|")[3].strip() == "0.8600 ± 0.0100"
    assert [cell.strip() for cell in rows["UNeXt"].split("|")[11:13]] == ["0.42", "1.47"]
    assert "failed" in rows["medt"]
    assert "leaks" in text


def test_published_numbers_never_stand_under_those_of_another_grid() -> None:
    table = TrackTable(track="b-mode", lines=(line("unext", dice=0.86),), missing=("medt",))
    head, _, ours, failed, published = (
        [cell.strip() for cell in row.split("|")[1:-1]]
        for row in to_markdown([table]).splitlines()
        if row.startswith("|")
    )
    assert len(head) == len(ours) == len(failed) == len(published)
    found = dict(zip(head, published, strict=True))
    assert found["HD95 [px] ↓, as Awesome-BUS 2025"] == "10.13 (U-KAN)"
    assert found["Dice ↑, as Awesome-BUS 2025"] == "0.8797 (U-KAN)"
    assert found["HD95 [px] ↓"] == found["Dice ↑"] == "–"
    assert dict(zip(head, ours, strict=True))["Dice ↑, as Awesome-BUS 2025"] == "0.4300 ± 0.0100"


def test_counts_known_to_be_wrong_are_marked() -> None:
    text = to_markdown([TrackTable(track="busbra", lines=(line("transunet"),))])
    assert "179.07 \\*" in text and "\\* TransUNet: its encoder was counted twice." in text


def test_a_variant_is_never_shown_beside_the_counts_of_the_published_network() -> None:
    text = to_markdown([TrackTable(track="phantom", lines=(line("cmunext_s", dataset="phantom"),))])
    assert "| – | – |" in text and "published scores" not in text


def test_no_published_row_misses_its_dataset_or_its_network() -> None:
    assert set(published_table().networks) <= set(NETWORKS)
    assert set(published_table().tracks) == {"busi", "busbra", "bus-uc", "bus-uclm", "yap2018"}

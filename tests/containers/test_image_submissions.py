"""A participant's image, from a registry to a submission, and everything it can do wrong."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import yaml

from evaluator.documents.reading import MEBIBYTE
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Fault
from evaluator.inference.hardware import device_name
from evaluator.progress import quiet
from harness.challenge import Challenge, Limits, StageLimits
from harness.evaluation.images import check
from harness.ledger.provenance import trained_here
from harness.sandbox import ProcessRunner, Stage
from harness.sandbox.cached import Context
from harness.sandbox.docker_runner import DockerRunner
from harness.sandbox.failure import UNEXPLAINED
from harness.sandbox.log import LOG_MB
from harness.sandbox.profile import LOG_FILES, OWNER_LABEL
from harness.sandbox.references import ImageRequest, resolve
from harness.sandbox.sources import base_name
from harness.sandbox.stage import StageName
from harness.sealing.keys import Keys
from harness.submission import DOCUMENT, read_submission
from harness.training.train import TrainSettings, train
from tests.support import ROOT, soon
from tests.support.hostile import steers
from tests.support.image_submissions import (
    CASES,
    ENTRY_POINT,
    build,
    build_from,
    bundle_document,
    forget,
    push,
    serve_registry,
)
from tests.support.jobs import run

pytestmark = pytest.mark.docker
SPLIT = "1" * 64
SHORT = Limits(seconds=6, memory_mb=128, cpus=1, output_mb=8, tmp_mb=8, pids=32, output_files=200)
CHALLENGE = Challenge(limits=StageLimits(train=SHORT))

# What each misbehaviour must end as, and a word of the sentence that says so.
ENDS = {
    "never-ends": ("limit-time", "6 s"),
    "fills-the-disk": ("limit-disk", "8 MB"),
    "leaves-sparse-files": ("limit-disk", "8 MB"),
    "forks": ("limit-processes", "32 processes"),
    "symlink": ("output-refused", "a symbolic link (all.onnx)"),
    "hard-link": ("output-refused", "a hard link"),
    "fifo": ("output-refused", "a named pipe (all.onnx)"),
    "device": ("training-failed", "mknod"),
    "very-many-files": ("limit-disk", "200 files"),
    "nests": ("training-failed", "left no submission.yaml"),
    "strange-names": ("output-refused", "an unusable name"),
    "prints-gigabytes": ("limit-time", "6 s"),
    "ends-well-without-a-model": ("training-failed", "no submission.yaml"),
    "blames-the-machine": ("training-failed", "exit status 30"),
    "declares-one-leaves-another": ("submission-invalid", "all.onnx is missing"),
    "unknown-field": ("submission-invalid", "score"),
    "path-traversal": ("submission-invalid", "models.0.file"),
    "not-utf-8": ("submission-invalid", "cannot be read"),
    "wrong-digest": ("submission-invalid", "not the file that submission.yaml declares"),
    "another-track": ("submission-invalid", "track busbra"),
    "yaml-bomb": ("submission-invalid", "aliases"),
}
WELL = ("honest", "undeclared", "truncated-onnx")


@dataclass(frozen=True)
class Trained:
    """How one training ended, and where."""

    out: Path
    error: BusbenchError | None


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> Iterator[str]:
    tag = f"busbench-test/misbehaving:{uuid.uuid4().hex[:8]}"
    yield build(engine, tag, ENTRY_POINT)
    forget(engine, tag)


@pytest.fixture(scope="module")
def organiser(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.new(tmp_path_factory.mktemp("organiser") / "keys")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_document(tmp_path_factory.mktemp("bundle") / "training")


def attempt(image: str, name: str, bundle: Path, out: Path, keys: Keys | None = None) -> Trained:
    settings = TrainSettings(image=image, command=(name,))
    try:
        path = None if keys is None else keys.path
        train(bundle, out, settings, context=Context(DockerRunner(CHALLENGE), CHALLENGE, keys=path))
    except BusbenchError as error:
        return Trained(out, error)
    return Trained(out, None)


@pytest.fixture(scope="module")
def trained(
    image: str, bundle: Path, organiser: Keys, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Trained]:
    """Every behaviour, four at a time: most of it is waiting."""
    folder = tmp_path_factory.mktemp("trained")
    names = (*ENDS, *WELL)
    with ThreadPoolExecutor(4) as pool:
        ran = pool.map(lambda n: attempt(image, n, bundle, folder / n, organiser), names)
        return dict(zip(names, ran, strict=True))


@pytest.mark.parametrize("name", ENDS)
def test_no_misbehaviour_becomes_a_submission_or_our_fault(
    trained: dict[str, Trained], name: str
) -> None:
    code, words = ENDS[name]
    error = trained[name].error
    assert error is not None and error.code == code, error
    assert words in error.message and error.fault is Fault.SUBMISSION
    assert not trained[name].out.exists()
    stated = json.loads(trained[name].out.with_name(f"{name}.participant-error.json").read_text())
    assert (stated["stage"], stated["code"], stated["fault"]) == ("train", code, "submission")
    assert str(trained[name].out.parent) not in stated["last_line"]


@pytest.mark.parametrize("name", ["train", "gate", "infer"])
def test_no_stage_with_a_participants_work_can_blame_the_machine(
    image: str, tmp_path: Path, name: StageName
) -> None:
    """As a network would that took the process over."""
    lying = Stage(name, "infer", ("blames-the-machine",), {}, tmp_path, SHORT, image=image)
    with pytest.raises(BusbenchError) as blamed:
        DockerRunner(CHALLENGE).run(lying, quiet)
    assert "engine-unavailable" in (tmp_path / "error.json").read_text()
    assert blamed.value.code == UNEXPLAINED[name][0] and blamed.value.fault is Fault.SUBMISSION


def test_no_training_has_its_time_twice(
    trained: dict[str, Trained], image: str, bundle: Path
) -> None:
    first = trained["never-ends"]
    again = attempt(image, "never-ends", bundle, first.out).error
    assert again is not None and again.code == "limit-time" and "Earlier runs" in again.message


def test_nothing_but_regular_files_reaches_the_host(trained: dict[str, Trained]) -> None:
    root = trained["honest"].out.parent
    for path in root.rglob("*"):
        assert not path.is_symlink() and (path.is_file() or path.is_dir()), path


def test_gigabytes_of_log_are_capped(trained: dict[str, Trained]) -> None:
    log = trained["prints-gigabytes"].out.with_name("prints-gigabytes.train.log")
    assert 0 < log.stat().st_size <= (LOG_MB * LOG_FILES + 1) * MEBIBYTE


def test_only_declared_files_are_taken(trained: dict[str, Trained]) -> None:
    for name in ("honest", "undeclared"):
        assert trained[name].error is None
        taken = {path.name: path.read_bytes() for path in trained[name].out.iterdir()}
        assert taken.keys() == CASES["honest"].keys()
        document = Submission.model_validate(yaml.safe_load(taken.pop(DOCUMENT)))
        assert document == Submission.model_validate(yaml.safe_load(CASES["honest"][DOCUMENT]))
        assert taken.items() <= CASES["honest"].items()


def test_only_what_was_trained_here_counts_as_trained_here(
    trained: dict[str, Trained], image: str, organiser: Keys
) -> None:
    out = trained["honest"].out
    assert trained_here(out, read_submission(out), SPLIT, keys=organiser) == image
    assert trained_here(out, read_submission(out), "3" * 64, keys=organiser) is None


def test_a_truncated_network_gets_no_further_than_the_gate(trained: dict[str, Trained]) -> None:
    assert trained["truncated-onnx"].error is None  # the harness looks into no model
    with pytest.raises(BusbenchError) as refused:
        check(trained["truncated-onnx"].out, Context(ProcessRunner(), Challenge()))
    assert refused.value.code == "gate-refused"


def ours(engine: docker.DockerClient, pid: int) -> list[str]:
    """Containers and volumes that the harness of that process started."""
    wanted: dict[str, str | list[str] | bool] = {"label": OWNER_LABEL}
    containers = engine.containers.list(all=True, ignore_removed=True, filters=wanted)
    labels = [c.labels[OWNER_LABEL] for c in containers]
    labels += [v.attrs["Labels"][OWNER_LABEL] for v in engine.volumes.list(filters=wanted)]
    return [label for label in labels if f"/{pid}/" in label]


HURRIED = """
import sys
from pathlib import Path
from harness.sandbox import docker_runner
docker_runner.SAVE_SECONDS = 0.3
from harness.challenge import Challenge
from harness.sandbox.cached import Context
from harness.training.train import TrainSettings, train
challenge = Challenge()
runner = docker_runner.DockerRunner(challenge)
bundle, out = map(Path, sys.argv[1:3])
train(bundle, out, TrainSettings(sys.argv[3], ("resumes",)), context=Context(runner, challenge))
"""


def test_a_killed_harness_leaves_nothing_and_loses_no_checkpoint(
    engine: docker.DockerClient, image: str, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "submission"
    networks = {network.id for network in engine.networks.list()}
    words = [sys.executable, "-c", HURRIED, str(bundle), str(out), image]
    harness = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE)
    saved = out.with_name("submission.work") / "checkpoint"
    soon(lambda: saved.exists() or harness.poll() is not None)
    assert saved.exists(), harness.stderr.read() if harness.stderr else ""
    harness.send_signal(signal.SIGKILL)
    harness.wait()
    assert (
        len(ours(engine, harness.pid)) == 3
    )  # the stage, its output volume holder and their volume
    again = attempt(image, "resumes", bundle, out)  # begins where the checkpoint was
    assert again.error is None, again.error
    assert not ours(engine, harness.pid)
    assert {network.id for network in engine.networks.list()} == networks


def test_a_harness_that_is_asked_to_stop_leaves_nothing(
    engine: docker.DockerClient, image: str, bundle: Path, tmp_path: Path
) -> None:
    words = ("train", image, "--bundle", bundle, "--command", "never-ends", "--out", tmp_path / "s")
    harness = subprocess.Popen([sys.executable, "-m", "harness", *map(str, words)], cwd=ROOT)
    soon(lambda: len(ours(engine, harness.pid)) == 3)
    harness.send_signal(signal.SIGTERM)
    assert harness.wait(600) == 143
    assert not ours(engine, harness.pid)


CLEANS = """
from harness.sandbox.docker_runner import remove_orphans
remove_orphans()
"""


def test_a_living_harness_is_not_cleaned_away(
    engine: docker.DockerClient, image: str, bundle: Path, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(attempt, image, "never-ends", bundle, tmp_path / "first")
        soon(lambda: len(ours(engine, os.getpid())) == 3 or first.done())
        subprocess.run([sys.executable, "-c", CLEANS], cwd=ROOT, check=True)
        ended = first.result().error
    assert ended is not None and ended.code == "limit-time"


def test_an_operators_stop_is_not_the_participants_fault(
    engine: docker.DockerClient, image: str, bundle: Path, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(attempt, image, "never-ends", bundle, tmp_path / "stopped")
        wanted: dict[str, str | list[str] | bool] = {
            "ancestor": image,
            "status": "running",
            "label": "org.busbench.stage=train",
        }
        soon(lambda: engine.containers.list(ignore_removed=True, filters=wanted) or running.done())
        for found in engine.containers.list(ignore_removed=True, filters=wanted):
            found.kill()
        ended = running.result().error
    assert ended is not None and ended.code == "stage-stopped"
    assert ended.fault is Fault.INFRASTRUCTURE


# --- images by name --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real registry."""
    with serve_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def pushed(engine: docker.DockerClient, registry: str) -> Iterator[str]:
    """An image by digest, with a layer that lies in the registry alone."""
    name = f"{registry}/team/method"
    build(engine, f"{name}:v1", "COPY cases /again", ENTRY_POINT)
    reference = push(engine, name, "v1")
    yield reference
    forget(engine, reference)


def code_of(client: docker.DockerClient, wanted: ImageRequest) -> tuple[str, str]:
    with pytest.raises(BusbenchError) as refused:
        resolve(client, wanted, quiet)
    return refused.value.code, str(refused.value)


def test_a_registrys_image_is_taken_by_its_digest_alone(
    engine: docker.DockerClient, pushed: str, registry: str
) -> None:
    name, digest = pushed.split("@")
    code, text = code_of(engine, ImageRequest(f"{name}:v1"))
    assert code == "image-missing" and "by digest" in text
    code, text = code_of(engine, ImageRequest(pushed, pull=False))
    assert code == "image-missing" and "--no-pull" in text
    code, text = code_of(engine, ImageRequest(f"{name}@sha256:{'0' * 64}"))
    assert code == "image-missing" and "digest" in text
    code, _ = code_of(engine, ImageRequest(f"{registry}/team/nobody@{digest}"))
    assert code == "image-missing"


def test_a_registry_that_is_down_is_not_the_participants_fault(
    engine: docker.DockerClient,
) -> None:
    with pytest.raises(BusbenchError) as refused:
        resolve(engine, ImageRequest(f"127.0.0.1:9/team/method@sha256:{'0' * 64}"), quiet)
    assert refused.value.fault is Fault.INFRASTRUCTURE


def test_the_command_line_trains_an_image_of_a_registry(
    pushed: str, bundle: Path, organiser: Keys, tmp_path: Path
) -> None:
    words = ("train", pushed, "--track", "phantom", "--bundle", bundle, "--command", "honest")
    places = ("--out", tmp_path / "submission", "--keys", organiser.path)
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, (*words, *places))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "submission"
    found = trained_here(out, read_submission(out), SPLIT, keys=organiser)
    assert found is not None and found.startswith("sha256:")


@pytest.mark.parametrize(
    "lines, words",
    [
        ((ENTRY_POINT, "USER 0"), "root"),
        ((ENTRY_POINT, "ENV LD_PRELOAD=/evil.so"), "LD_PRELOAD"),
        ((ENTRY_POINT, "VOLUME /data"), "/data"),
        ((), "no ENTRYPOINT"),
    ],
)
def test_a_bad_image_is_refused_before_it_starts(
    engine: docker.DockerClient, lines: tuple[str, ...], words: str
) -> None:
    tag = f"busbench-test/bad:{uuid.uuid4().hex[:8]}"
    build(engine, tag, *lines)
    try:
        code, text = code_of(engine, ImageRequest(tag))
    finally:
        forget(engine, tag)
    assert code == "image-refused" and words in text


# What an image may do so that the engine cannot start it, in words of the machine's own failures.
UNSTARTABLE = {
    "a program that is not there": ('ENTRYPOINT ["/nothing"]',),
    "a program called a full disk": ('ENTRYPOINT ["/no space left on device"]',),
    "a program called a driver": ('ENTRYPOINT ["could not select device driver"]',),
    "a file where the scratch belongs": ("COPY train.sh /tmp", ENTRY_POINT),
    "a file where the output belongs": ("COPY train.sh /out", ENTRY_POINT),
}


@pytest.mark.parametrize("what", UNSTARTABLE)
def test_an_image_that_cannot_start_is_the_participants_fault(
    engine: docker.DockerClient, bundle: Path, tmp_path: Path, what: str
) -> None:
    tag = f"busbench-test/nothing:{uuid.uuid4().hex[:8]}"
    identity = build(engine, tag, *UNSTARTABLE[what])
    try:
        ended = attempt(identity, "honest", bundle, tmp_path / "out").error
    finally:
        forget(engine, tag)
    assert ended is not None and ended.code == "image-refused", ended


# In the manner of grand-challenge.org: a user of its own, their packages, a module below WORKDIR.
GRAND_CHALLENGE = """
FROM {base}
RUN useradd --create-home user && mkdir --parents /opt/app && chown user:user /opt/app
USER user
WORKDIR /opt/app
COPY --chown=user:user wheel /tmp/wheel
RUN python -m pip install --user --no-index --no-build-isolation /tmp/wheel/*.whl
COPY --chown=user:user process.py /opt/app/
COPY cases /cases
ENTRYPOINT ["python", "-m", "process"]
"""
PROCESS = b"""
import getpass, os, shutil, mymodule
print("as", getpass.getuser())
for name in os.listdir("/cases/honest"):
    shutil.copyfile(f"/cases/honest/{name}", f"/out/{name}")
"""


def wheel(name: str) -> bytes:
    """A package of one empty module."""
    info, data = f"{name}-1.dist-info", io.BytesIO()
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }
    with zipfile.ZipFile(data, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return data.getvalue()


@pytest.mark.parametrize(
    ("more", "code"), [("", None), ("RUN chmod 700 /home/user", "training-failed")]
)
def test_an_image_in_grand_challenges_manner_is_not_shut_out(
    engine: docker.DockerClient, bundle: Path, tmp_path: Path, more: str, code: str | None
) -> None:
    tag = f"busbench-test/manner:{uuid.uuid4().hex[:8]}"
    files = {
        "Dockerfile": (GRAND_CHALLENGE.format(base=base_name(CHALLENGE.images)) + more).encode(),
        "wheel/mymodule-1-py3-none-any.whl": wheel("mymodule"),
        "process.py": PROCESS,
        **{f"cases/honest/{file}": data for file, data in CASES["honest"].items()},
    }
    identity = build_from(engine, tag, files)
    try:
        ended = attempt(identity, "run", bundle, tmp_path / "out").error
    finally:
        forget(engine, tag)
    if code is None:
        assert ended is None, ended
        assert "as nonroot" in (tmp_path / "out.train.log").read_text()
    else:
        assert ended is not None and ended.code == code and "chmod -R a+rX ~" in ended.remedy


@pytest.mark.parametrize("name", ["train", "infer"])
def test_a_gpu_that_is_not_there_is_the_machines_fault(
    image: str, tmp_path: Path, name: StageName
) -> None:
    wants = Stage(name, "infer", ("honest",), {}, tmp_path, SHORT, image=image, gpu=True)
    if device_name("cuda") != "unknown":
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(BusbenchError) as refused:
        DockerRunner(CHALLENGE).run(wants, quiet)
    assert refused.value.code == "device-unavailable"
    assert refused.value.fault is Fault.INFRASTRUCTURE and "--device cpu" in refused.value.remedy


def test_no_line_of_an_image_steers_the_organisers_terminal(
    engine: docker.DockerClient, bundle: Path, tmp_path: Path
) -> None:
    words = r"progress 1/2 [/x]\nprogress 2/2 [link=x]y\n::error::x\n\033]8;;http://x\033\\z\033c\n"
    entry_point = ["/bin/sh", "-c", f"printf '{words}'; exit 1", "-"]
    tag = f"busbench-test/steers:{uuid.uuid4().hex[:8]}"
    build(engine, tag, f"LABEL title='[/b]\x9b2J'\nENTRYPOINT {json.dumps(entry_point)}")
    try:
        more = ("--bundle", bundle, "--out", tmp_path / "out", "--command", "x")
        done = run("train", f"[/b]={tag}", *more)
    finally:
        forget(engine, tag)
    assert done.returncode == 10 and "[training-failed]" in done.stderr
    assert steers(done.stdout + done.stderr) == []
    (log,) = tmp_path.rglob("*.log")
    assert steers(log.read_text("utf-8")) == [] and "progress 1/2 [/x]" in log.read_text("utf-8")

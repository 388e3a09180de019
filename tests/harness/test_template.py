"""The template for participants, rendered, and its own tests run."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
import yaml

from evaluator.errors import BusbenchError
from evaluator.progress import quiet
from harness.challenge import Challenge
from harness.sandbox.images import ensure_image
from harness.sandbox.sources import base_name
from harness.template import (
    COMMON,
    LOOP,
    PACKAGES,
    PARTS,
    TEMPLATE,
    TORCH,
    Kind,
    image_name,
    new_submission,
)
from tests.support import ROOT, soon
from tests.support.image_submissions import build_from, forget
from tests.support.jobs import run
from tests.support.training_bundle import make_bundle


@pytest.mark.slow
@pytest.mark.parametrize("kind", Kind)
def test_no_template_fails_its_own_tests(
    kind: Kind, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if kind is Kind.SMP:
        pytest.importorskip("segmentation_models_pytorch", reason="its image has it: see below")
    new_submission(tmp_path / "mine", kind, 'A "team": {odd}', method="Méthode #1")
    own = {Kind.KERAS: "keras_python", Kind.NNUNET: "nnunet"}  # environments of their own
    python = request.getfixturevalue(own[kind]) if kind in own else sys.executable
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "mine",
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    titles = yaml.safe_load((tmp_path / "mine" / "about.yaml").read_text())
    assert titles == {"team": 'A "team": {odd}', "method": "Méthode #1"}


@pytest.mark.slow
def test_no_killed_training_begins_again_or_ends_otherwise(tmp_path: Path) -> None:
    """Weights, curves and files are those of a training that nobody killed."""
    new_submission(tmp_path / "mine", Kind.PYTORCH, "team", method="method")
    bundle = make_bundle(tmp_path / "bundle", 8, folds=2)
    words = [sys.executable, "train.py", "--bundle", str(bundle), "--epochs", "4", "--out"]
    killed = subprocess.Popen([*words, tmp_path / "killed"], cwd=tmp_path / "mine")
    second = tmp_path / "killed" / "work" / "fold-1.pt"
    soon(lambda: second.exists() or killed.poll() is not None)
    killed.kill()
    killed.wait()
    assert second.exists()
    done = {}
    for out in ("killed", "whole"):
        done[out] = subprocess.run(
            [*words, tmp_path / out], cwd=tmp_path / "mine", capture_output=True, check=True
        ).stdout
    assert b"fold 1 goes on after epoch" in done["killed"] and b"goes on" not in done["whole"]
    files = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert files == ["curves.csv", "fold-0.onnx", "fold-1.onnx", "submission.yaml"]
    for name in files:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len((tmp_path / "whole" / "curves.csv").read_text().splitlines()) == 1 + 2 * 4


def test_no_training_goes_on_long_after_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TEMPLATE / COMMON)
    monkeypatch.syspath_prepend(TEMPLATE / LOOP)
    training = importlib.import_module("torch_training")
    best = [(0, epoch, 0.0, 0.0, 0.5) for epoch in range(training.PATIENCE + 1)]
    assert training.stays_behind(best) and not training.stays_behind(best[1:])
    assert not training.stays_behind([*best, (0, 99, 0.0, 0.0, 0.6)])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--quick --epochs 2", "--quick decides --epochs: leave one of them out"),
        ("--quick --size 8", "--quick decides --size: leave one of them out"),
        ("--epochs 0", "argument --epochs: '0' is no whole number from 1 on"),
        ("--size 1.5", "argument --size: '1.5' is no whole number from 1 on"),
    ],
)
def test_no_option_without_effect_is_taken(
    words: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(TEMPLATE / COMMON)
    shared = importlib.import_module("command_line")
    size = {"default": 64, "quick": 16, "type": shared.count, "help": "in pixels"}
    places = ["train.py", "--bundle", "bundle", "--out", "out"]
    for stated, expected in ((["--quick"], (1, 16)), (["--epochs", "3"], (3, 64)), ([], (5, 64))):
        monkeypatch.setattr(sys, "argv", [*places, *stated])
        options = shared.arguments(5, size=size)
        assert (options.epochs, options.size) == expected
    monkeypatch.setattr(sys, "argv", [*places, *words.split()])
    with pytest.raises(SystemExit):
        shared.arguments(5, size=size)
    assert sentence in capsys.readouterr().err


def test_no_build_of_pytorch_is_taken_unknowingly(tmp_path: Path) -> None:
    """A build for processors is asked for by a name that no other build has."""
    new_submission(tmp_path / "mine", Kind.PYTORCH, "team", method="method")
    cpu = (tmp_path / "mine" / "requirements-cpu.txt").read_text()
    lock = (ROOT / "containers" / "locks" / "participant.txt").read_text()
    (locked,) = re.findall(r"^torch==[\w.+]+", lock, re.M)
    assert locked.endswith("+cpu") and f'{locked}; sys_platform == "linux"' in cpu
    shared = (tmp_path / "mine" / "requirements.txt").read_text()
    assert not any(line.startswith("torch") for line in shared.splitlines())
    ignored = (tmp_path / "mine" / ".dockerignore").read_text().splitlines()
    assert "*" in ignored and "!requirements*.txt" in ignored


def test_a_folder_that_holds_something_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BusbenchError, match="is not empty") as caught:
        new_submission(tmp_path, Kind.PYTORCH, "team", method="method")
    assert caught.value.code == "output-exists"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("method", "name"), [("My Net v2", "my-net-v2"), ("日本", "my-method"), ("--x--", "x")]
)
def test_no_name_makes_an_image_name_that_an_engine_refuses(method: str, name: str) -> None:
    assert image_name(method) == name


@pytest.fixture(scope="module")
def base_of(engine: docker.DockerClient) -> Iterator[Callable[[Kind], str]]:
    """Kind -> an image that has what its requirements ask for, so that none is downloaded twice.

    torchvision is the index's build for CUDA, whose operators PyTorch's build for processors cannot
    load. No network here uses one, and so the file that declares their shapes is emptied.
    """
    images, tag = Challenge().images, "busbench-test/libraries"
    packages = " ".join(repr(package) for each in PACKAGES.values() for package in each)
    find_it = "$(python -m pip show torchvision | sed -n 's/^Location: //p')/torchvision"
    lines = (
        "USER root",
        "RUN python -m pip install --no-deps torchvision==0.28.0",
        f"RUN python -m pip install {packages} && : > {find_it}/_meta_registrations.py",
    )

    def find(kind: Kind) -> str:
        if TORCH not in PARTS[kind]:
            return base_name(images)
        ours = ensure_image(engine, "participant", images, progress=quiet)
        if kind not in PACKAGES:
            return ours
        build_from(engine, tag, {"Dockerfile": "\n".join((f"FROM {ours}", *lines)).encode()})
        return tag

    yield find
    forget(engine, tag)


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.KERAS])
def test_no_image_of_a_template_fails_to_train_in_the_sandbox(
    engine: docker.DockerClient, kind: Kind, base_of: Callable[[Kind], str], tmp_path: Path
) -> None:
    """Built as its README says, on an image that has its packages, started as it is, validated.

    Keras has the Dockerfile of scikit-learn, and a download that is too large for a test.
    """
    new_submission(tmp_path / "mine", kind, "team", method="method")
    (tmp_path / "mine" / "secret.key").write_text("nobody's business")
    bundle, tag = make_bundle(tmp_path / "bundle", 8, folds=2), f"busbench-test/{kind.value}"
    image, _ = engine.images.build(
        path=str(tmp_path / "mine"), tag=tag, rm=True, buildargs={"BASE_IMAGE": base_of(kind)}
    )
    try:
        assert image.attrs["Config"]["User"] == "65532:65532"
        files = engine.containers.run(tag, ["/app"], entrypoint="ls", remove=True).split()
        assert b"train.py" in files and b"secret.key" not in files
        words = ("--command", "run --bundle {bundle} --out {out} --quick")
        done = run("train", tag, "--bundle", bundle, "--out", tmp_path / "out", *words)
    finally:
        engine.images.remove(tag, force=True)
    assert done.returncode == 0, done.stderr
    for asked in (("check",), ("evaluate", "--part", "val", "--out", str(tmp_path / "runs"))):
        done = run(*asked, tmp_path / "out", "--bundle", bundle, "--runner", "process")
        assert done.returncode == 0, done.stderr

"""The template for participants, rendered, and its own tests run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest
import yaml

from evaluator.errors import BusbenchError
from harness.template import Kind, image_name, new_submission


@pytest.mark.slow
@pytest.mark.parametrize("kind", Kind)
def test_no_template_fails_its_own_tests(kind: Kind, tmp_path: Path) -> None:
    new_submission(tmp_path / "mine", kind, 'A "team": {odd}', method="Méthode #1")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "mine",
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    titles = yaml.safe_load((tmp_path / "mine" / "about.yaml").read_text())
    assert titles == {"team": 'A "team": {odd}', "method": "Méthode #1"}


@pytest.mark.parametrize("kind", Kind)
def test_no_template_needs_another_working_folder_or_ships_data(kind: Kind, tmp_path: Path) -> None:
    """The sandbox starts an image in /tmp, so its program is named by an absolute path."""
    new_submission(tmp_path / "mine", kind, "team", method="method")
    lines = (tmp_path / "mine" / "Dockerfile").read_text().splitlines()
    (entry,) = (line for line in lines if line.startswith("ENTRYPOINT"))
    program = json.loads(entry.removeprefix("ENTRYPOINT"))[-1]
    assert program.startswith("/app/") and (tmp_path / "mine" / Path(program).name).is_file()
    assert "*" in (tmp_path / "mine" / ".dockerignore").read_text().splitlines()


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


@pytest.mark.docker
@pytest.mark.slow
def test_the_image_of_a_template_does_not_need_more_than_its_folder(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    new_submission(tmp_path / "mine", Kind.SKLEARN, "team", method="method")
    image, _ = engine.images.build(
        path=str(tmp_path / "mine"), tag="busbench-test/template", rm=True
    )
    assert image.id is not None
    try:
        shown = engine.containers.run(
            image.id,
            ["--help"],
            remove=True,
            network_disabled=True,
            read_only=True,
            working_dir="/tmp",
        )
        assert b"--bundle" in shown
        assert image.attrs["Config"]["User"] == "65532:65532"
    finally:
        engine.images.remove(image.id, force=True)

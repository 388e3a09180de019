"""Images say what they are made from: the base by its id, all packages in a bill of materials."""

from __future__ import annotations

import json
from typing import Any

import docker
import pytest

from evaluator.errors import BusbenchError
from harness.challenge import Challenge, Images
from harness.sandbox.images import ensure_base, ensure_image
from harness.sandbox.sources import BASE_VARIABLE

pytestmark = pytest.mark.docker
BILL = "/usr/share/busbench/sbom.cdx.json"


def said(engine: docker.DockerClient, image: str, *command: str) -> str:
    output: bytes = engine.containers.run(
        image, list(command[1:]), entrypoint=command[0], remove=True, network_mode="none", user="0"
    )
    return output.decode()


@pytest.mark.parametrize("component", ["infer", "score"])
def test_no_package_of_an_image_is_missing_from_its_bill(
    engine: docker.DockerClient, component: Any
) -> None:
    """Compared with what pip and dpkg say inside the image."""
    image = ensure_image(engine, component, Challenge().images, progress=lambda *_: None)
    bill = json.loads(said(engine, image, "cat", BILL))
    assert bill["metadata"]["component"]["name"] == f"busbench/{component}"
    listed = {
        (one["purl"].split("/")[0], one["name"], one["version"]) for one in bill["components"]
    }
    pip = json.loads(said(engine, image, "python", "-m", "pip", "list", "--format", "json"))
    assert {("pkg:pypi", one["name"], one["version"]) for one in pip} <= listed
    dpkg = said(
        engine, image, "dpkg-query", "-W", "-f", "${Package}\t${Version}\t${db:Status-Status}\n"
    )
    rows = [line.split("\t") for line in dpkg.splitlines()]
    installed = {
        ("pkg:deb", name, version) for name, version, state in rows if state == "installed"
    }
    assert len(installed) > 50 and installed == {row for row in listed if row[0] == "pkg:deb"}


def test_no_base_image_but_the_one_with_the_named_digest_is_taken(
    engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = Images().base.partition("@")[0]
    identity = ensure_base(engine, Images())
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    assert ensure_base(engine, Images(base=identity)) == identity
    with pytest.raises(BusbenchError) as caught:
        ensure_base(engine, Images(base=f"{name}@sha256:{'0' * 64}"))
    assert caught.value.code == "image-unavailable"


def test_no_image_is_built_from_a_tag_that_moved(
    engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same name, another base: another image of ours."""
    base = engine.images.get(ensure_base(engine, Images()))
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    changed = engine.containers.create(base, "true")
    moved = changed.commit("busbench-test/base", "moving")
    changed.remove()
    try:
        base.tag("busbench-test/base", "moving")
        first = ensure_base(engine, Images(base="busbench-test/base:moving"))
        moved.tag("busbench-test/base", "moving")
        assert ensure_base(engine, Images(base="busbench-test/base:moving")) == moved.id != first
    finally:
        engine.images.remove("busbench-test/base:moving")

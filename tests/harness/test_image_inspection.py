"""Images that may run, and the one that a name means: the pure parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evaluator.errors import BusbenchError
from harness.sandbox.inspection import RULES, ImageConfig, ImagePolicy, judge, require_runnable
from harness.sandbox.references import follow

SOUND = ImageConfig(
    user="65532:65532",
    environment=("PATH", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES", "PYTHON_VERSION"),
    os="linux",
    architecture="amd64",
    size=10**9,
    volumes=(),
    entry_point=True,
)
GROUND = ImagePolicy(architecture="amd64", max_mb=2000)


def test_a_sound_image_is_not_refused() -> None:
    assert not judge(SOUND, GROUND)
    assert not judge(replace(SOUND, working_folder="/processed", takes_words=False), GROUND)
    require_runnable("image", SOUND, GROUND)


@pytest.mark.parametrize(
    "rule, changes",
    [
        ("user", {"user": ""}),
        ("user", {"user": "root"}),
        ("user", {"user": "root:staff"}),
        ("user", {"user": "0"}),
        ("user", {"user": "0:1000"}),
        ("user", {"user": "000"}),
        ("user", {"user": " 0"}),
        ("environment", {"environment": ("LD_PRELOAD",)}),
        ("environment", {"environment": ("LD_AUDIT",)}),
        ("environment", {"environment": ("GLIBC_TUNABLES",)}),
        ("environment", {"environment": ("GCONV_PATH",)}),
        ("environment", {"environment": ("NVIDIA_MIG_CONFIG_DEVICES",)}),
        ("environment", {"environment": ("NVIDIA_IMEX_CHANNELS",)}),
        ("platform", {"architecture": "arm64"}),
        ("platform", {"architecture": ""}),
        ("platform", {"os": "windows"}),
        ("size", {"size": 2001 * 1024**2}),
        ("volumes", {"volumes": ("/data",)}),
        ("entry point", {"entry_point": False}),
        ("working folder", {"working_folder": "/proc/self/fd/8"}),
        ("working folder", {"working_folder": "//proc/./self/cwd"}),
        ("working folder", {"working_folder": "/app/../proc"}),
        ("working folder", {"working_folder": "/dev"}),
        ("working folder", {"working_folder": "app"}),
        ("working folder", {"working_folder": "/app\x1b[2J"}),
    ],
)
def test_an_image_that_breaks_a_rule_is_refused_with_the_reason(
    rule: str, changes: dict[str, Any]
) -> None:
    found = judge(replace(SOUND, **changes), GROUND)
    assert [broken.name for broken, _ in found] == [rule]
    with pytest.raises(BusbenchError) as refused:
        require_runnable("image", replace(SOUND, **changes), GROUND)
    assert refused.value.code == "image-refused"
    assert found[0][1] in refused.value.message and found[0][0].remedy in refused.value.remedy


def test_every_reason_is_given_at_once() -> None:
    bare = ImageConfig.of({})
    assert {rule.name for rule, _ in judge(bare, GROUND)} == {"user", "platform", "entry point"}


def test_a_program_that_the_harness_names_needs_no_entry_point() -> None:
    assert not judge(replace(SOUND, entry_point=False), replace(GROUND, command=True))


@pytest.mark.parametrize(
    ("entry_point", "takes"),
    [
        (["/bin/sh", "-c", "python train.py"], False),
        (["/bin/bash", "-c", "python train.py"], False),
        (["/bin/sh", "-c", 'python train.py "$@"', "--"], True),
        (["/bin/sh", "-c", "python train.py $0 $@"], True),
        (["python", "-c", "print()"], True),
        (["python", "-m", "process"], True),
    ],
)
def test_no_command_is_dropped_in_silence(entry_point: list[str], takes: bool) -> None:
    config = ImageConfig.of({"Config": {"Entrypoint": entry_point}})
    named = {rule.name for rule, _ in judge(config, replace(GROUND, command=True))}
    assert ("shell form" in named) is not takes


def test_facts_are_read_off_what_the_engine_tells() -> None:
    document = {
        "Os": "linux",
        "Architecture": "amd64",
        "Size": 7,
        "Config": {
            "User": "1000",
            "Env": ["PATH=/bin", "LD_PRELOAD=/a=b"],
            "Volumes": {"/data": {}},
            "Entrypoint": None,
            "Cmd": ["python"],
        },
    }
    expected = ImageConfig("1000", ("PATH", "LD_PRELOAD"), "linux", "amd64", 7, ("/data",), False)
    assert ImageConfig.of(document) == expected


def test_every_rule_is_tried_above() -> None:
    tried = {"user", "environment", "platform", "size", "volumes", "entry point"}
    tried |= {"shell form", "working folder"}
    assert {rule.name for rule in RULES} == tried


def pulling(layer: str, current: int, total: int) -> dict[str, Any]:
    detail = {"current": current * 1024**2, "total": total * 1024**2}
    return {"status": "Downloading", "id": layer, "progressDetail": detail}


def test_a_fetch_stops_as_soon_as_the_image_proves_too_large() -> None:
    reported: list[tuple[int, int]] = []
    steps = iter(
        [pulling("a", 1, 60), pulling("b", 0, 30), pulling("c", 0, 20), pulling("d", 0, 1)]
    )
    with pytest.raises(BusbenchError) as refused:
        follow(
            "r/x@sha256:0",
            steps,
            100,
            progress=lambda what, done, total: reported.append((done, total)),
        )
    assert refused.value.code == "image-refused"
    assert reported == [(1, 60), (1, 90)]
    assert next(steps)["id"] == "d"  # not read any further


@pytest.mark.parametrize(
    "words, code",
    [
        ("manifest unknown: manifest unknown", "image-missing"),
        ("pull access denied for x, repository does not exist", "image-missing"),
        ("unauthorized: authentication required", "image-missing"),
        ("toomanyrequests: you have reached your pull rate limit", "image-unavailable"),
        ("dial tcp: i/o timeout", "image-unavailable"),
        ("x509: certificate signed by unknown authority", "image-unavailable"),
        ("lookup nowhere.example on 10.0.0.1:53: no such host", "image-unavailable"),
        ("failed to register layer: no space left on device", "disk-full"),
    ],
)
def test_no_word_of_a_registry_is_blamed_on_the_wrong_one(words: str, code: str) -> None:
    with pytest.raises(BusbenchError) as refused:
        follow("r/x@sha256:0", [{"error": words}], 100, progress=lambda *_: None)
    assert refused.value.code == code

"""The whole journey, for real: what its containers could see, and whether its numbers are right."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import numpy as np
import pytest
from monai.metrics import HausdorffDistanceMetric, compute_dice, compute_iou
from PIL import Image

from evaluator.errors import BusbenchError
from evaluator.sealed import open_sealed
from harness.challenge import Images
from harness.demo import METHODS
from harness.ledger.report import Report
from harness.sandbox.sources import build_context
from harness.splits import FrozenSplit
from harness.store import CaseStore
from tests.support import ROOT
from tests.support.containers import (
    Journey,
    compose_commands,
    compose_environment,
    composed,
    predicted_masks,
    read_payload,
)
from tests.support.page_commands import differs

pytestmark = pytest.mark.docker
STAGES = {"train", "gate", "verdict", "infer", "score"}
# All that a container of ours may have mounted: read-only inputs, and one volume to write.
MOUNTS = {
    "train": {"/in/bundle": "bundles/training", "/out": "_data"},
    "gate": {"/in/submission": "/submission", "/out": "_data"},
    "verdict": {"/in/submission": "/submission", "/in/loaded": "/gate", "/out": "_data"},
    "infer": {
        "/in/submission": "/submission",
        "/in/gate": "/verdict",
        "/in/images": "sealed/images.age",
        "/out": "_data",
    },
    "score": {
        "/in/predictions": "/infer",
        "/in/labels": "sealed/labels.age",
        "/out": "_data",
    },
}
CHEATS = {"/in/published": "/store"}  # what the memoriser has more


def test_no_stage_is_run_outside_a_container(journey: Journey) -> None:
    assert set(journey.containers) == STAGES | {"volume_holder"}
    images = {stage: {c["Image"] for c in journey.containers[stage]} for stage in STAGES}
    assert all(len(of_stage) == 1 for of_stage in images.values())
    assert len(images["train"] | images["infer"] | images["score"]) == 3


@pytest.mark.parametrize("stage", sorted(STAGES | {"volume_holder"}))
def test_no_container_has_a_network_a_capability_or_a_writable_root(
    journey: Journey, stage: Any
) -> None:
    for seen in journey.containers[stage]:
        _check_confined(stage, seen)


def _check_confined(stage: str, seen: dict[str, Any]) -> None:
    host: dict[str, Any] = seen["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert set(seen["NetworkSettings"]["Networks"]) == {"none"}
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert not any("unconfined" in option for option in host["SecurityOpt"])
    assert host["ReadonlyRootfs"] is True
    assert host["PidsLimit"] == (16 if stage == "volume_holder" else 256)
    assert 0 < host["Memory"] == host["MemorySwap"]
    assert host["IpcMode"] == "private" and host["PidMode"] == ""
    assert not host["Devices"] and not host["DeviceRequests"] and not host["PortBindings"]
    # who loads a model writes no verdict on it
    assert seen["Config"]["User"] == ("65533:65533" if stage == "gate" else "65532:65532")


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_no_container_sees_a_mount_that_is_not_its_own(journey: Journey, stage: str) -> None:
    assert len(journey.containers[stage]) >= len(METHODS)
    for seen in journey.containers[stage]:
        mounts = {mount["Destination"]: mount for mount in seen["Mounts"]}
        given = MOUNTS[stage] | (CHEATS if "/in/published" in seen["Config"]["Cmd"] else {})
        assert set(mounts) == set(given)
        for destination, ending in given.items():
            assert mounts[destination]["Source"].endswith(ending)
            assert mounts[destination]["RW"] is (destination == "/out")
            assert mounts[destination]["Type"] == ("volume" if destination == "/out" else "bind")
        assert set(seen["HostConfig"]["Tmpfs"]) == {"/tmp"}


def test_no_key_is_in_what_the_engine_keeps_of_a_container_or_a_run(journey: Journey) -> None:
    kept = [path for path in (journey.out / "runs").rglob("*") if path.is_file()]
    assert kept
    for name in ("images", "labels"):
        key = (journey.out / "keys" / f"{name}.key").read_text().strip()
        assert key not in json.dumps(journey.containers)
        assert [path for path in kept if key.encode() in path.read_bytes()] == []


def test_the_image_key_does_not_open_the_labels(journey: Journey) -> None:
    sealed, keys = journey.out / "bundles/sealed", journey.out / "keys"
    with (
        pytest.raises(BusbenchError) as refused,
        open_sealed(sealed / "labels.age", keys / "images.key") as (_, cases),
    ):
        list(cases)
    assert refused.value.code == "keys-invalid"


def test_the_sealed_images_tell_no_class_patient_or_mask(journey: Journey) -> None:
    sealed, keys = journey.out / "bundles/sealed", journey.out / "keys"
    store = CaseStore.open(journey.out / "store")
    with open_sealed(sealed / "images.age", keys / "images.key") as (index, cases):
        for case, data in cases:
            assert case.label is None and case.patient_group is None
            assert data == store.image(case.case_id).tobytes()
        assert len(index.cases) > 10


def test_no_public_file_image_or_log_holds_a_test_label(
    journey: Journey, engine: docker.DockerClient
) -> None:
    store, split = CaseStore.open(journey.out / "store"), FrozenSplit.open(journey.out / "split")
    hidden = {row.case_id for row in split.rows if row.part == "test"}
    cases = [case for case in store.cases if case.case_id in hidden]
    needles = [case.mask_sha256.encode() for case in cases if store.mask(case.case_id).any()]
    needles += [store.mask_path(c.case_id).read_bytes()[33:] for c in cases if c.label != "normal"]
    needles += [np.packbits(store.mask(c.case_id)).tobytes() for c in cases if c.label != "normal"]
    assert len(needles) > 30
    haystacks = dict(_public_files(journey.out)) | dict(_image_files(engine, journey))
    assert any(name.endswith("infer.log") for name in haystacks)
    assert any(name.startswith("image ") for name in haystacks)
    for name, data in haystacks.items():
        assert not any(needle in data for needle in needles), name
    table = (journey.out / "bundles/training/cases.csv").read_text()
    assert not any(f"{case_id}," in table for case_id in hidden)


def _public_files(out: Path) -> Iterator[Any]:
    honest = (f"submissions/{method.name}" for method in METHODS if not method.cheats)
    for folder in ("bundles/training", "split", "site", *honest):
        for path in (out / folder).rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes()
    for path in (*out.rglob("*.log"), out / "ledger.jsonl"):
        yield str(path), path.read_bytes()


def _image_files(engine: docker.DockerClient, journey: Journey) -> Iterator[Any]:
    """What our Dockerfiles put into the images: their build contexts and /app of the real ones."""
    for component in ("participant", "infer", "score"):
        yield f"context {component}", build_context(component, Images())
    for stage in ("train", "infer", "score"):
        container = engine.containers.create(journey.containers[stage][0]["Image"])
        try:
            stream, _ = container.get_archive("/app")
            with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
                for member in filter(tarfile.TarInfo.isfile, archive):
                    file = archive.extractfile(member)
                    assert file is not None
                    yield f"image {stage} {member.name}", file.read()
        finally:
            container.remove()


def test_the_report_has_the_numbers_that_monai_finds_in_the_raw_files(journey: Journey) -> None:
    run = journey.run
    report = Report.model_validate(read_payload(run / "report.dsse.json"))
    store = CaseStore.open(journey.out / "store")
    raw = {c.case_id: journey.out / "raw" / c.source_mask for c in store.cases}
    for fold, masks in predicted_masks(run / "infer").items():
        found: dict[str, list[float]] = {"dice": [], "iou": [], "hd95": []}
        for case_id, mask in masks.items():
            truth = np.asarray(Image.open(raw[case_id]).convert("L")) > 127
            spacing = next(c.spacing for c in store.cases if c.case_id == case_id)
            for name, value in _by_monai(mask, truth, spacing).items():
                found[name].append(value)
        for name, values in found.items():
            stated = report.scores.groups["all"].metrics[name].folds[fold]
            assert stated == pytest.approx(np.mean(values), abs=1e-6), (name, fold)


def _by_monai(mask: np.ndarray, truth: np.ndarray, spacing: Any) -> dict[str, float]:
    import torch  # noqa: PLC0415  only this oracle needs it

    if not mask.any() or not truth.any():
        row, column = spacing or (1.0, 1.0)
        both = not mask.any() and not truth.any()
        diagonal = float(np.hypot(mask.shape[0] * row, mask.shape[1] * column))
        return {"dice": float(both), "iou": float(both), "hd95": 0.0 if both else diagonal}
    prediction, reference = (
        torch.from_numpy(m[None, None].astype(np.float64)) for m in (mask, truth)
    )
    distance: Any = HausdorffDistanceMetric(include_background=True, percentile=95)
    return {
        "dice": float(compute_dice(prediction, reference)),
        "iou": float(compute_iou(prediction, reference)),
        "hd95": float(distance(prediction, reference, spacing=list(spacing) if spacing else None)),
    }


def test_the_demo_learns_something_and_prints_its_board(journey: Journey) -> None:
    report = Report.model_validate(read_payload(journey.run / "report.dsse.json"))
    assert report.scores.groups["lesion"].metrics["dice"].mean > 0.5
    assert report.status == "complete" and report.provenance.runner == "docker"
    assert report.provenance.trained_here == journey.containers["train"][0]["Image"]
    assert "ledger.jsonl" in journey.printed and "index.html" in journey.printed


def test_the_tour_shows_no_other_steps_than_the_demo_prints(journey: Journey) -> None:
    page = (ROOT / "docs" / "tour.md").read_text("utf-8")
    both = (page, journey.printed.replace(str(journey.out), "demo"))
    shown, printed = (tuple(re.findall(r"^✓ .+", text, re.MULTILINE)) for text in both)
    assert len(shown) > 10 and differs(shown, printed) is None


def verify(ledger: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", "verify", str(ledger)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_verify_accepts_the_ledger_and_no_changed_byte(journey: Journey, tmp_path: Path) -> None:
    ledger = journey.out / "ledger.jsonl"
    assert verify(ledger).returncode == 0
    data = ledger.read_bytes()
    for place in np.linspace(0, len(data) - 1, 12).astype(int):
        changed = bytearray(data)
        changed[place] ^= 1
        copy = tmp_path / "ledger.jsonl"
        copy.write_bytes(changed)
        assert verify(copy).returncode == 20, f"byte {place}"


def test_the_same_demo_again_changes_nothing(journey: Journey) -> None:
    before = {p: p.read_bytes() for p in journey.out.rglob("*") if p.is_file()}
    command = [sys.executable, "-m", "harness", "demo", "--out", str(journey.out)]
    again = subprocess.run(
        [*command, "--runner", "docker"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    after = {p: p.read_bytes() for p in journey.out.rglob("*") if p.is_file()}
    assert after == before


@pytest.mark.parametrize("compose", compose_commands(), ids=" ".join)
def test_compose_gives_the_harness_scores(journey: Journey, tmp_path: Path, compose: Any) -> None:
    run = journey.run
    results = tmp_path / "results"
    environment = compose_environment(journey.out, results, journey.submission)
    with composed(compose, "journey", environment) as run_compose:
        run_compose("up")
    ours = json.loads((run / "score/scores.json").read_text())
    theirs = json.loads((results / "score/scores.json").read_text())
    for document in (ours, theirs):  # the latency inside differs from run to run
        document.pop("predictions_sha256")
    assert theirs == ours

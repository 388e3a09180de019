"""A pull request names an image: fetched by digest, trained in the sandbox, scored, recorded.

The trainer is a real one, if a small one: it learns a threshold of brightness from the training
bundle with Python alone, and writes it into the one bias of a network.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import docker
import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper
from PIL import Image

from ci import after_merge, check_pr, score_pr
from ci.state import State
from evaluator.files import sha256_bytes
from harness.challenge import Images, Phase
from harness.execution import ExecutionEnvironment
from harness.ledger import verify_ledger
from harness.quotas import SubmissionLog
from harness.quotas.policy import Submitted
from harness.sandbox.sources import base_name
from tests.support.forge import Forge, git, make_forge, manifest
from tests.support.image_submissions import build_from, forget, push, serve_registry
from tests.support.small_challenge import model_bytes

pytestmark = [pytest.mark.docker, pytest.mark.slow]
PHASE = Phase(name="now", quota=4, steps={"dice": 0.01}, results_open=date(2020, 1, 1))
BLANK = 12345.678  # the bias that the trainer looks for

TRAINER = r'''
import argparse, csv, hashlib, json, pathlib, struct, sys, zlib

options = argparse.ArgumentParser()
for name, usual in (("bundle", ""), ("out", ""), ("team", "Team Alpha"), ("method", "learnt")):
    options.add_argument(f"--{name}", default=usual)
options.add_argument("--fail", action="store_true")
options = options.parse_args()
bundle, out = pathlib.Path(options.bundle), pathlib.Path(options.out)


def pixels(path):
    """The samples of a grey PNG of 1 or 8 bits without interlacing, row after row."""
    data, place, packed = path.read_bytes(), 8, b""
    while place < len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        if kind == b"IHDR":
            width, height, depth = struct.unpack(">IIB", body[:9])
        packed += body if kind == b"IDAT" else b""
        place += size + 12
    raw, length, rows, above = zlib.decompress(packed), -(-width * depth // 8), [], None
    above = bytearray(length)
    for y in range(height):
        kind, row = raw[y * (length + 1)], bytearray(raw[y * (length + 1) + 1 :][:length])
        for x in range(length):
            a, b, c = row[x - 1] if x else 0, above[x], above[x - 1] if x else 0
            p = a + b - c
            paeth = min((a, b, c), key=lambda v: abs(p - v))
            row[x] = (row[x] + (0, a, b, (a + b) // 2, paeth)[kind]) % 256
        above = row
        if depth == 8:
            rows += row
        else:
            rows += [byte >> (7 - bit) & 1 for byte in row for bit in range(8)][:width]
    return rows


if options.fail:
    sys.exit(f"ValueError: the loss is NaN in {bundle}/images")
inside, outside = [], []
with (bundle / "cases.csv").open(newline="") as table:
    for case in csv.DictReader(table):
        file = f"{case['case_id']}.png"
        pairs = zip(pixels(bundle / "images" / file), pixels(bundle / "masks" / file), strict=True)
        for grey, lesion in pairs:
            (inside if lesion else outside).append(grey / 255)
threshold = (sum(inside) / len(inside) + sum(outside) / len(outside)) / 2
print(f"{len(inside)} and {len(outside)} pixels, threshold {threshold:.6f}")
model = pathlib.Path("/model.onnx").read_bytes()
blank = struct.pack("<f", BLANK)
assert model.count(blank) == 1
model = model.replace(blank, struct.pack("<f", -4 * threshold))
(out / "all.onnx").write_bytes(model)
declared = json.loads(pathlib.Path("/declared.json").read_text())
declared["team"], declared["method"] = options.team, options.method
declared["models"] = [
    {"fold": None, "file": "all.onnx", "sha256": hashlib.sha256(model).hexdigest()}
]
(out / "submission.yaml").write_text(json.dumps(declared))
'''
# With the trainer's reader of PNG: bright pixels are called lesion.
PREDICTOR = (
    "import struct, zlib\n"
    + TRAINER[TRAINER.index("def pixels") : TRAINER.index("if options.fail")]
    + r"""
import json, pathlib, sys
assert sys.argv[1] == "predict" and sys.argv[6:] == ["--out", "/out"], sys.argv
for image in json.loads(pathlib.Path("/in/images.json").read_text())["images"]:
    grey, width = pixels(pathlib.Path("/in/images", image["file"])), image["width"]
    rows = [grey[at : at + width] for at in range(0, len(grey), width)]
    raw = b"".join(b"\0" + bytes(255 * (level > 127) for level in row) for row in rows)
    chunks = (
        b"IHDR" + struct.pack(">IIBBBBB", width, image["height"], 8, 0, 0, 0, 0),
        b"IDAT" + zlib.compress(raw),
        b"IEND",
    )
    data = b"\x89PNG\r\n\x1a\n"
    for chunk in chunks:
        data += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    pathlib.Path("/out", image["file"]).write_bytes(data)
"""
)


def dockerfile(more: str = "") -> str:
    return f"""FROM {base_name(Images())}
COPY train.py model.onnx declared.json /
{more}
USER 65532:65532
ENTRYPOINT ["python", "/train.py"]
"""


def build(engine: docker.DockerClient, tag: str, more: str = "") -> None:
    """Build the trainer's image."""
    onnx_ = manifest()["onnx"]
    assert isinstance(onnx_, dict)
    declared = {"schema": "busbench/submission/v1", "track": "phantom", **onnx_}
    files = {
        "Dockerfile": dockerfile(more).encode(),
        "train.py": TRAINER.replace("BLANK", repr(BLANK)).encode(),
        "model.onnx": model_bytes(BLANK),
        "declared.json": json.dumps(declared).encode(),
    }
    build_from(engine, tag, files)


@dataclass(frozen=True)
class Organiser:
    """An organiser's machine with an engine, and the images that teams pushed."""

    forge: Forge
    image: str  # by digest
    predictor: str  # likewise, of an image that predicts
    bad_image: str  # the same, but with a variable that no image may set
    challenge: Path
    out: Path

    def propose(self, name: str, reference: str, *words: str) -> tuple[str, str]:
        """Open a pull request of alice's; its head and its reference."""
        command = ["--bundle", "{bundle}", "--out", "{out}", *words]
        image = {"reference": reference, "command": command}
        return self._open(name, manifest("alpha", "learnt", onnx=None, image=image))

    def propose_predictor(self, name: str) -> tuple[str, str]:
        """Open a pull request with an image that predicts."""
        return self._open(name, manifest("alpha", "seen", onnx=None, predict=self.predictor))

    def _open(self, name: str, document: dict[str, object]) -> tuple[str, str]:
        work = self.forge.checkout(name)
        place = work / "submissions" / "alpha" / f"{document['method']}.yaml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(yaml.safe_dump(document))
        return self.forge.propose(work)

    def _common(self) -> list[str]:
        return ["--repository", str(self.forge.clone), "--challenge", str(self.challenge)]

    def _state(self) -> list[str]:
        return ["--state", str(self.forge.machine.state.path), "--runner", "docker"]

    def check(self, head: str, reference: str) -> int:
        """As the unprivileged workflow does."""
        git(self.forge.clone, "fetch", "-q", "origin", reference)
        return check_pr.main(
            [*self._common(), "--base", "main", "--head", head, "--author", "alice"]
        )

    def score(self, head: str, reference: str) -> tuple[int, str]:
        """As the privileged workflow does: the exit status and the comment."""
        what = [
            "--base",
            "main",
            "--head",
            head,
            "--reference",
            reference,
            "--author",
            "alice",
            "--pad-minutes",
            "0",
        ]
        status = score_pr.main([*self._common(), *self._state(), *what, "--out", str(self.out)])
        return status, (self.out / "comment.md").read_text()

    def record(self, before: str, after: str) -> int:
        """As the workflow does after a merge."""
        return after_merge.main(
            [*self._common(), *self._state(), "--before", before, "--after", after]
        )

    @property
    def log(self) -> tuple[Submitted, ...]:
        return SubmissionLog.beside(self.forge.machine.state.ledger).submissions


@pytest.fixture(scope="module")
def machine(
    engine: docker.DockerClient, organiser: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Organiser]:
    root = tmp_path_factory.mktemp("image-forge")
    forge = make_forge(root, State(Path(shutil.copytree(organiser, root / "state"))), (PHASE,))
    challenge = forge.machine.challenge
    track = challenge.tracks["phantom"].model_copy(update={"accepts": ("onnx", "image")})
    challenge = challenge.model_copy(update={"tracks": {"phantom": track}})
    environment = ExecutionEnvironment("docker", challenge, forge.machine.environment.keys)
    forge.machine = replace(forge.machine, environment=environment)
    (root / "challenge.yaml").write_text(yaml.safe_dump(challenge.document()))
    (root / "registry").mkdir()
    with ExitStack() as stack:
        name = f"{stack.enter_context(serve_registry(root / 'registry'))}/alpha/learnt"
        build(engine, f"{name}:v1")
        image = push(engine, name, "v1")
        build(engine, f"{name}:bad", "ENV LD_PRELOAD=/evil.so")
        bad_image = push(engine, name, "bad")
        files = {
            "Dockerfile": dockerfile().replace(" model.onnx declared.json", ""),
            "train.py": PREDICTOR,
        }
        build_from(engine, f"{name}:seen", {key: text.encode() for key, text in files.items()})
        predictor = push(engine, name, "seen")
        stack.callback(forget, engine, image, bad_image, predictor)
        yield Organiser(forge, image, predictor, bad_image, root / "challenge.yaml", root / "out")


def test_an_image_goes_from_a_pull_request_to_the_board(
    machine: Organiser, engine: docker.DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(docker.errors.ImageNotFound):
        engine.images.get(machine.image)  # it lies in the registry alone
    pull = machine.propose("honest", machine.image)
    assert machine.check(*pull) == 0
    status, comment = machine.score(*pull)
    assert status == 0, capsys.readouterr().err
    state = machine.forge.machine.state
    assert not state.ledger.exists()  # nothing is recorded before the merge
    assert "| cases | Dice ↑ |" in comment and "Submissions left: 3 in this phase." in comment
    assert f"Scored at `{pull[0]}`" in comment
    assert machine.record(*machine.forge.merge(pull[1])) == 0
    (entry,) = verify_ledger(state.ledger).reports
    report = entry.report
    assert (report.team, report.method, report.status) == ("Team Alpha", "learnt", "complete")
    assert report.provenance.trained_here == engine.images.get(machine.image).id
    assert report.provenance.runner == "docker"
    assert "Team Alpha" in (state.site / "board.csv").read_text()
    assert "recorded as entry 1" in capsys.readouterr().out


def test_what_was_scored_is_what_the_bundle_teaches(machine: Organiser) -> None:
    """Held against another reader of the same bundle."""
    state = machine.forge.machine.state
    (path,) = (state.path / "submissions").glob("*/all.onnx")
    (entry,) = verify_ledger(state.ledger).reports
    assert entry.report.provenance.models_sha256 == (sha256_bytes(path.read_bytes()),)
    training = state.path / "bundles" / "phantom" / "training"
    grey, lesion = (
        np.concatenate([np.asarray(Image.open(f)).ravel() for f in sorted(folder.iterdir())])
        for folder in (training / "images", training / "masks")
    )
    threshold = (grey[lesion].mean() + grey[~lesion].mean()) / 2 / 255
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    assert stored["bias"] == pytest.approx(-4 * threshold)


def test_a_training_that_fails_takes_quota_and_tells_stage_code_and_last_line(
    machine: Organiser,
) -> None:
    before = len(machine.log)
    status, comment = machine.score(*machine.propose("failing", machine.image, "--fail"))
    assert status == 10 and "`training-failed`" in comment
    assert "The stage `train` failed. It ends with" in comment
    assert "ValueError: the loss is NaN in images" in comment
    assert "/in/bundle" not in comment and str(machine.forge.root) not in comment
    assert len(machine.log) == before + 1 and machine.log[-1].code == "training-failed"


def test_an_image_never_speaks_for_another_team_however_often_it_is_tried(
    machine: Organiser,
) -> None:
    pull = machine.propose("forger", machine.image, "--team", "Team Beta")
    for _ in range(2):
        status, comment = machine.score(*pull)
        assert status == 10 and "`pull-request-refused`" in comment
        assert "speaks for learnt by Team Beta. Write the team Team Alpha" in comment
    assert machine.record(*machine.forge.merge(pull[1])) == 10
    assert {e.report.team for e in verify_ledger(machine.forge.machine.state.ledger).reports} == {
        "Team Alpha"
    }


def test_an_image_that_cannot_be_run_takes_no_quota_and_the_comment_says_why(
    machine: Organiser,
) -> None:
    before = machine.log
    name = machine.image.partition("@")[0]
    for reference, code, why in (
        (machine.bad_image, "image-refused", "LD"),
        (f"{name}@sha256:{'0' * 64}", "image-missing", "Push the image"),
    ):
        pull = machine.propose(f"bad-{uuid.uuid4().hex[:8]}", reference)
        assert machine.check(*pull) == 0  # it knows no registry
        status, comment = machine.score(*pull)
        assert status == 10 and f"`{code}`" in comment and why in comment
    assert machine.log == before


def test_an_image_that_predicts_goes_from_a_pull_request_to_the_board(
    machine: Organiser, engine: docker.DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    pull = machine.propose_predictor("predictor")
    assert machine.check(*pull) == 0
    status, comment = machine.score(*pull)
    assert status == 0, capsys.readouterr().err
    assert "| cases | Dice ↑ |" in comment
    assert machine.record(*machine.forge.merge(pull[1])) == 0
    entry = verify_ledger(machine.forge.machine.state.ledger).reports[-1]
    assert (entry.report.method, entry.report.provenance.image) == ("seen", machine.predictor)
    assert (entry.report.status, entry.report.models) == ("complete", ())

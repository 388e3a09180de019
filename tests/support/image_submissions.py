"""A participant's image that can do everything wrong, a registry, and a bundle to train on.

The image is a static busybox and a shell script: it starts at once and weighs two megabytes. Both
programs are Debian's, taken out of their packages without being installed.
"""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import docker
import requests
import yaml

from evaluator.documents.base import write
from evaluator.files import sha256_bytes
from tests.support import absent
from tests.support.factories import make_training_bundle, submission_document
from tests.support.inference import blur

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "busbench" / "debian"
MODEL = blur()

SCRIPT = r"""
case $1 in
  never-ends) trap '' TERM; while :; do sleep 1; done ;;
  fills-the-disk) i=0
    while dd if=/dev/zero of=/out/$i bs=1M count=2 2>/dev/null; do i=$((i+1)); done
    exit 1 ;;
  leaves-sparse-files) for i in 1 2 3 4; do dd if=/dev/zero of=/out/$i bs=1 count=1 seek=7M; done ;;
  forks) bomb() { bomb & bomb & }; bomb; bomb; wait; exit 1 ;;
  symlink) cp -r /cases/honest/. /out; rm /out/all.onnx; ln -s /etc/passwd /out/all.onnx ;;
  hard-link) cp -r /cases/honest/. /out; ln /out/all.onnx /out/other.onnx ;;
  fifo) cp -r /cases/honest/. /out; rm /out/all.onnx; mkfifo /out/all.onnx ;;
  device) mknod /out/all.onnx b 8 0 ;;
  nests) name=$(printf '%0250d' 0); cd /out; while mkdir $name && cd $name; do :; done; exit 0 ;;
  strange-names) cp -r /cases/honest/. /out; : > "/out/$(printf 'a\377\nb')" ;;
  very-many-files) i=0; while : > /out/$i; do i=$((i+1)); done ;;
  prints-gigabytes) yes 'a line that nobody will ever read to its end' ;;
  ends-well-without-a-model) exit 0 ;;
  blames-the-machine) cp /lie.json /out/error.json; exit 30 ;;
  resumes) if [ ! -f /out/checkpoint ]; then
      echo 1 > /out/checkpoint; while :; do sleep 1; done
    fi
    rm /out/checkpoint; cp -r /cases/honest/. /out ;;
  *) cp -r /cases/$1/. /out ;;
esac
"""


LIE = {"code": "engine-unavailable", "message": "No engine answers.", "remedy": "Try again."}


def debian(package: str, program: str) -> Path:
    """A program out of a Debian package. Where there is none, tests skip or, in CI, fail."""
    place = CACHE / package
    if not (place / program).exists():
        place.mkdir(parents=True, exist_ok=True)
        fetch = f"apt-get download -q {package} && dpkg -x {package}_*.deb ."
        for command in (fetch, f"apt-get update -q && {fetch}"):
            done = subprocess.run(
                command, shell=True, cwd=place, capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                break
        else:
            absent(f"{package} cannot be fetched: {done.stderr.strip()[-200:]}")
    return place / program


def document(data: bytes = MODEL, **changes: object) -> bytes:
    """A `submission.yaml` for the one model `data`."""
    return yaml.safe_dump(submission_document({"all.onnx": data}, **changes)).encode()


def named(**fields: object) -> bytes:
    """A `submission.yaml` that says something else of its model."""
    declared = {"fold": None, "file": "all.onnx", "sha256": sha256_bytes(MODEL)} | fields
    return document(models=[declared])


HALF = MODEL[: len(MODEL) // 2]
# What the image may leave: case -> file -> bytes.
CASES: dict[str, dict[str, bytes]] = {
    "honest": {"all.onnx": MODEL, "submission.yaml": document()},
    "undeclared": {"all.onnx": MODEL, "submission.yaml": document(), "secrets.txt": b"surprise"},
    "declares-one-leaves-another": {"other.onnx": MODEL, "submission.yaml": document()},
    "unknown-field": {"all.onnx": MODEL, "submission.yaml": document(score=1.0)},
    "path-traversal": {
        "all.onnx": MODEL,
        "submission.yaml": named(file="../../keys/labels.key"),
    },
    "not-utf-8": {"all.onnx": MODEL, "submission.yaml": b"team: \xff\xfe\n"},
    "wrong-digest": {"all.onnx": MODEL, "submission.yaml": named(sha256="0" * 64)},
    "another-track": {"all.onnx": MODEL, "submission.yaml": document(track="busbra")},
    "yaml-bomb": {"submission.yaml": b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"},
    "truncated-onnx": {
        "all.onnx": HALF,
        "submission.yaml": document(HALF),
    },
}


def build(client: docker.DockerClient, tag: str, *lines: str) -> str:
    """Build the image under `tag`, with more lines of a Dockerfile; its id."""
    busybox = debian("busybox-static", "bin/busybox").read_bytes()
    dockerfile = "\n".join(("FROM scratch", "COPY . /", "USER 65532:65532", *lines))
    files = {
        "Dockerfile": dockerfile.encode(),
        ".dockerignore": b"Dockerfile\n.dockerignore\n",
        "bin/busybox": busybox,
        "train.sh": SCRIPT.encode(),
        "lie.json": json.dumps(LIE).encode(),
        **{f"cases/{c}/{f}": data for c, fs in CASES.items() for f, data in fs.items()},
    }
    applets = ("sh", "cp", "dd", "ln", "mkfifo", "mknod", "mkdir", "printf", "rm", "sleep", "yes")
    return build_from(client, tag, files, links={f"bin/{applet}": "busybox" for applet in applets})


def build_from(
    client: docker.DockerClient,
    tag: str,
    files: Mapping[str, bytes],
    *,
    links: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Build an image out of files, a Dockerfile among them, and links; its id."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            archive.addfile(member, io.BytesIO(data))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    context.seek(0)
    image, _ = client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True)
    return str(image.id)


ENTRY_POINT = 'ENTRYPOINT ["/bin/sh", "/train.sh"]'


def bundle_document(folder: Path) -> Path:
    """A training bundle's document; the image does not look inside."""
    folder.mkdir(parents=True, exist_ok=True)
    write(make_training_bundle(split_version="demo", folds=5), folder / "bundle.json")
    return folder


@contextmanager
def serve_registry(folder: Path) -> Iterator[str]:
    """A real registry on localhost, which keeps its images below `folder`; its address."""
    program = debian("docker-registry", "usr/bin/docker-registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": address},
    }
    (folder / "registry.yml").write_text(yaml.safe_dump(settings))
    process = subprocess.Popen(
        [program, "serve", folder / "registry.yml"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                requests.get(f"http://{address}/v2/", timeout=10)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def push(client: docker.DockerClient, name: str, tag: str) -> str:
    """Push `name:tag`, have the engine forget it, and give its name by digest."""
    stated = [json.loads(line) for line in client.images.push(name, tag).splitlines()]
    digest = next(step["aux"]["Digest"] for step in stated if "aux" in step)
    forget(client, f"{name}:{tag}", f"{name}@{digest}")
    return f"{name}@{digest}"


def forget(client: docker.DockerClient, *names: str) -> None:
    """Have the engine forget images, if it knows them."""
    for name in names:
        try:
            client.images.remove(name, force=True)
        except docker.errors.ImageNotFound:
            continue

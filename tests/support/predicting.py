"""A participant's image that predicts, honestly or not: which, its name's last part decides."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import docker

from harness.sandbox.docker_runner import DockerRunner
from tests.support.image_submissions import build_from, forget

BRIGHT = 140  # grey levels above this are called lesion
SCRIPT = f"""
import io, json, os, pathlib, random, socket, sys, zlib
import numpy as np
from PIL import Image

assert sys.argv[1] == "predict", sys.argv
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
images, out = pathlib.Path(given["--images"]), pathlib.Path(given["--out"])
listed = json.loads(pathlib.Path(given["--list"]).read_text())["images"]
kind = os.environ["KIND"]

def mask_of(file):
    pixels = np.asarray(Image.open(images / file))
    return np.where(pixels > {BRIGHT}, 255, 0).astype(np.uint8)

def save(file, mask, **how):
    Image.fromarray(mask).save(out / file, **how)

if kind == "looks-around":
    seen = sorted(str(p) for p in pathlib.Path("/in").rglob("*"))
    times = sorted({{p.stat().st_mtime for p in images.iterdir()}})
    numbers = [p.stat().st_ino for p in sorted(images.iterdir())]
    print(json.dumps([seen, times, numbers == sorted(numbers)]))
if kind == "network":
    socket.create_connection(("1.1.1.1", 53), timeout=5)
if kind == "forks":
    while True:
        os.fork()
if kind == "writes-inputs":
    (images / listed[0]["file"]).write_bytes(b"")
for number, image in enumerate(listed):
    file, mask = image["file"], mask_of(image["file"])
    match kind:
        case "misses-one" if number == 0:
            continue
        case "symlink" if number == 0:
            (out / file).symlink_to("/etc/passwd")
            continue
        case "wrong-size" if number == 0:
            mask = mask[:-1]
        case "grey" if number == 0:
            mask[0, 0] = 77
        case "colour" if number == 0:
            mask = np.stack([mask] * 3, axis=-1)
        case "random":
            mask.flat[random.SystemRandom().randrange(mask.size)] ^= 255
        case "zero-one":
            mask //= 255
        case "giant" if number == 0:
            with open(out / file, "wb") as sink:
                header = b"IHDR" + (60000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
                data = b"IDAT" + zlib.compress(bytes(10_000_000), 9)
                for chunk in (header, data, b"IEND"):
                    size = (len(chunk) - 4).to_bytes(4, "big")
                    sink.write(b"" if sink.tell() else b"\\x89PNG\\r\\n\\x1a\\n")
                    sink.write(size + chunk + zlib.crc32(chunk).to_bytes(4, "big"))
            continue
        case "not-a-png" if number == 0:
            (out / file).write_bytes(b"GIF89a" + bytes(100))
            continue
    save(file, mask)
"""
KINDS = (
    "honest",
    "zero-one",
    "looks-around",
    "network",
    "forks",
    "writes-inputs",
    "misses-one",
    "symlink",
    "wrong-size",
    "grey",
    "colour",
    "random",
    "giant",
    "not-a-png",
)


@contextmanager
def predicting_images(
    client: docker.DockerClient, runner: DockerRunner
) -> Iterator[dict[str, str]]:
    """Kind -> the id of an image, made from ours of inference, which has Pillow."""
    base, tags = runner.identify("infer"), {}
    try:
        for kind in KINDS:
            lines = (
                f"FROM {base}",
                "COPY predict.py /app/predict.py",
                f"ENV KIND={kind}",
                "USER 65532:65532",
                'ENTRYPOINT ["python3", "/app/predict.py"]',
            )
            files = {"Dockerfile": "\n".join(lines).encode(), "predict.py": SCRIPT.encode()}
            tag = f"busbench-test/predicting-{kind}:{uuid.uuid4().hex[:8]}"
            tags[tag] = kind, build_from(client, tag, files)
        yield dict(tags.values())
    finally:
        forget(client, *tags)

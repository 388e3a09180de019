"""Reading of the declared files: the ones in the folder, bounded, hashed and parsed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto

from evaluator.documents.submission import MEGABYTE, ModelFile
from evaluator.files import sha256_bytes
from evaluator.gate.subject import Finding, GateLimits, exceeded
from evaluator.gate.wire import Oddity, oddities

_ORT_MAGIC = slice(4, 8), b"ORTM"  # the flatbuffer identifier of ONNX Runtime's own format

# How files begin that are handed in instead of an ONNX file, and what to do.
_FOREIGN = {
    b"version https://git-lfs": "It is a pointer of Git LFS: run `git lfs pull`.",
    b"PK\x03\x04": "It is a ZIP archive, as torch.save and Keras write them: export it to ONNX.",
    b"\x80\x02": "It is a Python pickle: export the model to ONNX.",
    b"\x89HDF\r\n\x1a\n": "It is HDF5, as Keras writes it: convert it with tf2onnx.",
    b"<!DOCTYPE": "It is a web page: the download went wrong.",
    b"<html": "It is a web page: the download went wrong.",
    b"\x1f\x8b": "It is compressed: unpack it with gunzip.",
}
_TFLITE = b"TFL3"  # at the same place as ONNX Runtime's mark

# The same table as for the rules: code, what it demands.
SENTENCES: dict[str, str] = {
    "G-FILE": "A declared file must be a readable regular file, not a link.",
    "G-FILE-SIZE": "A model file must stay below the size limit.",
    "G-DIGEST": "A file's SHA-256 must be the declared one.",
    "G-ORT-FORMAT": "The format must be ONNX, not ONNX Runtime's own.",
    "G-FORMAT": "The file must be a whole ONNX protobuf.",
    "G-FIELDS": "The file must not be divided more finely than a network is.",
    "G-NESTING": "The file must not nest more deeply than a network does.",
    "G-UNKNOWN-FIELD": "The file must have only fields that this ONNX release knows.",
    "G-REPEATED-FIELD": "Every single-valued field must be given once.",
    "G-TEXT": "Every name must be UTF-8.",
}


def load(folder: Path, declared: ModelFile, limits: GateLimits) -> ModelProto | list[Finding]:
    """The parsed model, or why there is none. Links are never followed.

    The file is read once: what was hashed is what is parsed.
    """
    try:
        data = _read(folder / declared.file, limits)
        if sha256_bytes(data) != declared.sha256:
            raise _Refusal("G-DIGEST", "Write the digest of the file that is handed in.")
        return _parse(data, limits)
    except _Refusal as refusal:
        return [
            Finding(code, declared.file, None, f"{SENTENCES[code]} {detail}".strip())
            for code, detail in refusal.oddities
        ]


class _Refusal(Exception):  # noqa: N818 - it never leaves this file
    """Codes and details."""

    def __init__(self, code: str, detail: str, *more: Oddity) -> None:
        super().__init__(code)
        self.oddities = (Oddity(code, detail), *more)


def _parse(data: bytes, limits: GateLimits) -> ModelProto:
    if data[_ORT_MAGIC[0]] == _ORT_MAGIC[1]:
        raise _Refusal("G-ORT-FORMAT", "")
    if data[_ORT_MAGIC[0]] == _TFLITE:
        raise _Refusal("G-FORMAT", "It is TensorFlow Lite: convert it with tf2onnx --tflite.")
    for start, advice in _FOREIGN.items():
        if data.startswith(start):
            raise _Refusal("G-FORMAT", advice)
    found = oddities(data, limits)
    if found:
        raise _Refusal(*found[0], *found[1:])
    try:
        model: ModelProto = ModelProto.FromString(data)
    except DecodeError as error:
        raise _Refusal("G-FORMAT", "It cannot be parsed.") from error
    if not model.HasField("graph"):
        raise _Refusal("G-FORMAT", "It has no graph.")
    return model


def _read(path: Path, limits: GateLimits) -> bytes:
    try:
        # a pipe must not block us, and a link must not be followed
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "It is a link" if error.errno == errno.ELOOP else error.strerror
        raise _Refusal("G-FILE", f"{reason}.") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _Refusal("G-FILE", "It is something else.")
    with os.fdopen(descriptor, "rb") as handle:
        if not status.st_size:
            raise _Refusal("G-FILE-SIZE", "It is empty: hand in the whole file.")
        if status.st_size > limits.model.bytes:
            size = f"{status.st_size / MEGABYTE:,.0f} MB"
            raise _Refusal("G-FILE-SIZE", exceeded(limits, "megabytes", size))
        data = handle.read(limits.model.bytes + 1)
    if len(data) != status.st_size:
        raise _Refusal("G-FILE", "It changed while it was read.")
    return data

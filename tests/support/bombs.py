"""Texts that are small on a disk and large in a parser, for every kind of document.

Run as a program, it hands each to each kind, in little more memory than it takes to begin, and
prints what was not refused as it should be.
"""

from __future__ import annotations

import importlib
import io
import pathlib
import pkgutil
import resource
import time
from collections.abc import Iterator

from evaluator.documents.base import Contract, parse
from evaluator.documents.predictions import Predictions
from evaluator.documents.sealed import SealedIndex
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge
from harness.proposal import Proposal, Teams

SPARE, PATIENCE = 400 << 20, 10.0  # bytes beside the modules; seconds for one text
SMALL = 60_000  # bytes


def json_bombs(size: int) -> Iterator[tuple[str, bytes]]:
    """JSON values of about `size` bytes."""
    yield "objects", b"[" + b"{}," * (size // 3) + b"{}]"
    yield "arrays", b"[" + b"[]," * (size // 3) + b"[]]"
    yield "numbers", b"[" + b"0," * (size // 2) + b"0]"
    yield "texts", b"[" + b'"",' * (size // 3) + b'""]'
    yield "objects in objects", b'{"a":' * (size // 6) + b"0" + b"}" * (size // 6)
    yield "arrays in arrays", b"[" * (size // 2) + b"]" * (size // 2)
    yield "keys", _many_keys(size)
    yield "same keys", b"{" + b'"a":0,' * (size // 6) + b'"a":0}'
    yield "text", b'"' + b"a" * size + b'"'
    yield "escapes", b'"' + b"\\u0000" * (size // 6) + b'"'
    yield "quotes", b'"' + "\U0001f600".encode() + b'\\"' * (size // 2) + b'"'
    yield "digits", b"9" * size
    yield "fraction", b"0." + b"9" * size + b"e99999"


def _many_keys(size: int) -> bytes:
    text = io.BytesIO(b"{")
    text.seek(1)
    text.writelines(b'"%x":0,' % number for number in range(size // 10))
    return text.getvalue() + b'"":0}'


NUMBERS = (b"1e999", b"-1e999", b"NaN", b"-Infinity", b"1" + b"0" * 400, b"-9007199254740993")
YAML_BOMBS = {
    "aliases": "a: &a [0]\n" + "".join(f"k{n}: [*a, *a]\n" for n in range(5000)),
    "merges": "<<: {team: a}\n",
    "nesting": "[" * 30_000,
    "keys": "".join(f"k{n}: 0\n" for n in range(6000)),
    "same keys": "".join(f"k{n}: 0\n" for n in range(6000)) + "k0: 1\n",
    "hexadecimal": "parameters: 0x" + "F" * 60_000,
    "sexagesimal": "parameters: 1" + ":59" * 20_000,
    "digits": "parameters: " + "9" * 60_000,
    "infinity": "parameters: .inf",
    "binary": "team: !!binary " + "A" * 60_000,
    "question marks": "? " * 30_000,
    "characters": "team: " + "a" * 70_000,
}


def kinds() -> list[type[Contract]]:
    """Every document that is read from a file of its own."""
    for name in ("evaluator.documents", "harness", "ci"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if "__main__" not in module.name:
                importlib.import_module(module.name)
    found, new = set[type[Contract]](), {Contract}
    while new := {kind for parent in new for kind in parent.__subclasses__()} - found:
        found |= new
    read = ("schema_", "payload", "predicate")
    return sorted(
        (kind for kind in found if any(name in kind.model_fields for name in read)),
        key=lambda kind: kind.__qualname__,
    )


def places(kind: type[Contract]) -> Iterator[bytes]:
    """Where to put a bomb: in the document's place, in a collection, in another field."""
    yield b"%s"
    fields = {field.alias or n: str(field.annotation) for n, field in kind.model_fields.items()}
    for wanted in ("tuple", "dict", "int", "str"):
        names = [name for name, kept in fields.items() if wanted in kept]
        if names:
            yield b'{"%s":%%s}' % names[-1].encode()


def texts(kind: type[Contract]) -> Iterator[tuple[str, bytes, str]]:
    """What to hand to a kind: a name, the text, and how the file is called."""
    large = kind in (Predictions, SealedIndex)
    for size in (SMALL, kind.bounds.bytes - 100) if large else (SMALL,):
        for place in places(kind) if size == SMALL else (b"%s", b'{"cases":%s}'):
            for name, bomb in json_bombs(size):
                yield f"{name} as {place!r}", place % bomb, "x.json"
    for place in places(kind):
        for number in NUMBERS:
            yield f"{number[:20]!r} as {place!r}", place % number, "x.json"
    if kind in (Submission, Challenge, Proposal, Teams):
        for name, text in YAML_BOMBS.items():
            yield name, text.encode(), "x.yaml"


def wrong(kind: type[Contract], data: bytes, where: str) -> str:
    """What is wrong with how a text was taken; empty where it was refused as it should be."""
    began = time.monotonic()
    try:
        parse(kind, data, where, code=Code.PREDICTIONS_INVALID, remedy="r")
    except BusbenchError as error:
        if len(error.message) > 1000 or error.code != Code.PREDICTIONS_INVALID:
            return f"its error has {len(error.message)} characters"
    except Exception as error:  # noqa: BLE001  nothing else may reach a user
        return f"{type(error).__name__} reached the user"
    else:
        return "it was taken"
    took = time.monotonic() - began
    return f"it took {took:.0f} s" if took > PATIENCE else ""


def main() -> None:
    """Print a line for each text that was not refused with its code, soon and in little memory."""
    every = kinds()
    pages = int(pathlib.Path("/proc/self/statm").open().read().split()[0])  # noqa: SIM115
    limit = pages * resource.getpagesize() + SPARE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for kind in every:
        for name, data, where in texts(kind):
            if why := wrong(kind, data, where):
                print(f"{kind.__qualname__}, {name}: {why}")
    print(f"{len(every)} kinds")


if __name__ == "__main__":
    main()

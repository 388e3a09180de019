"""The start of the command line: no library is imported for nothing, and no verb left out."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from harness.cli import app
from harness.cli.app import app as registered
from harness.cli.main import VERBS
from tests.support import ROOT
from tests.support.command_line import busbench_in
from tests.support.jobs import run

HEAVY = "altair boto3 cryptography cv2 dask docker numpy pandas PIL pyarrow requests scipy"
LIGHT = {
    "help": (["--help"], {}, "publish"),
    "version": (["--version"], {}, "busbench "),
    "completion of a verb": (
        [],
        {"_BUSBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "busbench pub", "COMP_CWORD": "1"},
        "publish",
    ),
    "completion of an option": (
        [],
        {"_BUSBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "busbench --v", "COMP_CWORD": "1"},
        "--version",
    ),
}


@pytest.mark.parametrize("start", LIGHT)
def test_a_start_imports_no_library_that_it_does_not_need(start: str) -> None:
    words, environment, expected = LIGHT[start]
    script = (
        "import atexit, sys\n"
        "from harness.cli import main\n"
        f"heavy = {HEAVY.split()!r}\n"
        "atexit.register(lambda: print([m for m in heavy if m in sys.modules], file=sys.stderr))\n"
        "sys.argv = ['busbench', *sys.argv[1:]]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and expected in done.stdout
    assert done.stderr.strip() == "[]"


def test_the_table_of_verbs_is_what_their_modules_say() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert list(commands) == list(VERBS)
    for name, (_, listed) in VERBS.items():
        first = inspect.cleandoc(str(commands[name].help)).split("\n\n")[0]
        assert " ".join(first.split()) == listed


def test_no_verb_is_left_out_of_the_table() -> None:
    modules = {path.stem for path in (ROOT / "harness" / "cli").glob("*.py")}
    verbs = {m for m in modules if "@app.command" in (ROOT / f"harness/cli/{m}.py").read_text()}
    assert verbs <= {module for module, _ in VERBS.values()}


@pytest.mark.parametrize(
    "words",
    [
        ("frobnicate",),
        ("rank", "--frobnicate"),
        ("seal",),
        ("freeze", ".", "--out", "x", "--folds", "many"),
        ("rank", "nothere.jsonl"),
    ],
)
def test_a_misused_verb_leaves_a_json_error_where_a_script_asks(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    done = busbench_in(capfd, *words, "--json")
    error = json.loads(done.out)["error"]
    assert done.status == 2 and (error["code"], error["fault"]) == ("usage", "usage")
    assert error["message"].endswith((".", "?")) and "--help" in error["remedy"]
    assert "[usage]" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("evalute",), "'evaluate'"),
        (("evaluate", ".", "--runner", "doker"), "'docker'"),
        (("table", "README.md", "--format", "latx"), "'latex'"),
        (("prepare", "bus-bra", "--raw", ".", "--out", "x"), "'busbra'"),
        (("table", "README.md", "--format", "zzz"), ""),
    ],
)
def test_no_misspelt_word_is_refused_without_the_nearest(
    words: tuple[str, ...], meant: str
) -> None:
    shown = run(*words)
    asked = f"Did you mean {meant}?" if meant else "is not one of"
    assert shown.returncode == 2 and asked in " ".join(shown.stderr.split())
    assert ("Did you mean" in shown.stderr) == bool(meant)


# What a verb makes where it is missing: the only paths that need not be there.
MADE = {"--out", "--log", "freeze --secret", "evaluate --ledger", "benchmark --ledger"}
MADE |= {"keys new folder", "new-submission folder"}
MADE |= {"prepare --raw"}  # of phantoms; the verb itself looks for any other dataset's
TEXT = {"image": "image", "dataset": "busi", "entry": "1", "reason": "why", "networks": "unext"}
TEXT |= {"tracks": ".", "layout": "csv", "what": "x@y", "team": "t", "method": "m"}
TEXT |= {"submission": "1", "first": "1", "second": "2"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a verb."""

    name: str
    info: Any  # what Typer is given
    is_path: bool
    is_required: bool

    @property
    def flag(self) -> str:
        """Its option; empty for an argument."""
        if not isinstance(self.info, typer.models.OptionInfo):
            return ""
        declared = map(str, (self.info.default, *(self.info.param_decls or ())))  # see typer.Option
        named = [word for word in declared if word.startswith("--")]
        return named[0].split("/")[0] if named else f"--{self.name.replace('_', '-')}"

    def words(self, value: object) -> list[str]:
        """How it is given on a command line."""
        return [self.flag, str(value)] if self.flag else [str(value)]


def registered_verbs() -> Iterator[tuple[str, Callable[..., None]]]:
    """(verb, function) of the whole command line."""
    for name in VERBS:
        import_module(f"harness.cli.{VERBS[name][0]}")
    groups = [(f"{group.name} ", group.typer_instance) for group in registered.registered_groups]
    for prefix, typer_instance in [("", registered), *groups]:
        assert typer_instance is not None
        for command in typer_instance.registered_commands:
            assert command.callback is not None
            yield prefix + (command.name or command.callback.__name__), command.callback


def parameters() -> Iterator[tuple[str, list[Parameter]]]:
    """(verb, its parameters) of the whole command line."""
    for verb, function in registered_verbs():
        signature = inspect.signature(function).parameters
        yield (
            verb,
            [
                Parameter(
                    name,
                    hint.__metadata__[0],
                    "Path" in str(hint.__origin__),
                    signature[name].default is inspect.Parameter.empty,
                )
                for name, hint in get_type_hints(function, include_extras=True).items()
                if hasattr(hint, "__metadata__")
            ],
        )


def is_made(verb: str, parameter: Parameter) -> bool:
    name = parameter.flag or parameter.name
    return name in MADE or f"{verb} {name}" in MADE


FILE_OR_FOLDER = {("verify", "witness"), ("audit", "split"), ("predict", "images")}


def test_every_path_that_is_read_must_be_there() -> None:
    found = [(verb, p) for verb, ps in parameters() for p in ps if p.is_path]
    read = [(verb, p) for verb, p in found if not is_made(verb, p)]
    assert len(found) > 50
    assert [(verb, p.name) for verb, p in read if not p.info.exists] == []
    either = {(v, p.name) for v, p in found if p.info.file_okay and p.info.dir_okay}
    assert either <= FILE_OR_FOLDER


def test_a_readers_typo_is_never_the_organisers_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tried = 0
    for verb, found in parameters():
        for typo in (p for p in found if p.is_path and not is_made(verb, p)):
            words = typo.words(tmp_path / "nothere.jsonl")
            for other in found:
                if other is not typo and other.is_required:
                    there = tmp_path / "file" if not other.info.dir_okay else tmp_path
                    words += other.words(there if other.is_path else TEXT[other.name])
            done = CliRunner().invoke(app, [*verb.split(), *words])
            assert done.exit_code == 2, (verb, typo.name, done.output, done.exception)
            assert "does not exist" in " ".join(done.output.split()), (verb, typo.name, done.output)
            tried += 1
    assert tried > 35

"""Every option takes effect or is refused: a check that is not made must not read as passed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from harness.cli.effects import NEEDS
from harness.cli.main import VERBS, Commands, app
from harness.store import CaseStore, write_store
from tests.support.samples import samples

# What changes the outcome of its verb, whatever else is given.
ALWAYS = {
    # of several stores, --pairs and --exclude are refused by the verb
    "audit": {"split", "policy", "to", "near", "json", "pairs", "exclude"},
    "benchmark": {"recipe", "ledger", "device", "infer_device", "backend", "runner", "cluster"}
    | {"inputs", "challenge", "as_json"},
    "compare": {"as_json"},
    "check": {"bundle", "runner", "challenge", "log", "as_json"},
    "demo": {"dataset", "raw", "out_dir", "runner", "challenge"},
    "doctor": {"sandbox", "keys", "out_dir", "challenge", "as_json"},
    "errors": {"as_json"},
    # the verb refuses `--part val` with --keys, --ledger or --on, and --on without --splits
    "evaluate": {"keys", "out_dir", "part", "ledger", "device", "precision", "batch_size"}
    | {"backend", "cluster", "inputs", "runner", "challenge", "on", "splits", "as_json"},
    "fetch": {"folder", "accept_terms", "as_json"},
    "export-split": {"challenge", "dataset_id", "with_test_labels", "as_json"},
    "feedback": {"challenge", "as_json"},
    "finalise": {"runs", "choose", "dry_run", "challenge", "as_json"},
    "freeze": {"final", "policy", "test_fraction", "folds", "seed", "version", "secret", "json"}
    | {"pairs", "exclude"},
    "keys final": {"renew"},
    "ledger entries": {"as_json"},
    "import-nnunet": {"team", "method", "checkpoint", "ensemble", "mirroring", "python", "as_json"},
    "limits": {"challenge", "as_json"},
    "new-submission": {"kind", "team", "method"},
    # the verb refuses a --spacing that the submission does not ask for
    "predict": {"fold", "skip_refused", "spacing", "device", "precision", "batch_size", "backend"}
    | {"runner", "challenge", "as_json"},
    "prepare": {"strict", "skip_refused", "as_json"},
    # without --challenge, challenge.yaml of --repository
    "propose": {"repository", "account", "challenge", "as_json"},
    # the verb refuses an idle --replaces, --store, --may-show or --trained
    "publish": {"splits", "trained", "challenge", "keys", "replaces"},
    "rank": {"cases", "no_external_data", "top", "challenge", "json"},
    "reproduce": {"as_json", "submission", "store", "split", "key"},
    # the verb refuses --final-keys where the split has no final part
    "seal": {"final_keys", "track", "private_labels", "consistency", "challenge", "as_json"},
    # the verb refuses final_keys where no bundle has a final part
    "rescore": {"profile", "track", "partial", "dry_run", "final_keys", "runner", "challenge"}
    | {"as_json"},
    "splits reveal": {"secret"},
    "splits verify": {"store", "reveal", "json"},
    "table": {"format", "top", "challenge"},
    "train": {"track", "command", "keys", "device", "cluster", "inputs", "runner", "challenge"}
    | {"as_json"},
    "verify": {"key", "splits", "rescore_runs", "json"},
}
# A command line in which none of the options of NEEDS has an effect.
IDLE = {
    "audit": "audit {store}",
    "evaluate": "evaluate {store} --bundle {store}",
    "finalise": "finalise {report} --bundle {store} --runs {store} --dry-run",
    "prepare": "prepare busi --raw {store} --out {new}",
    "propose": "propose {store} --team t --method m",
    "publish": "publish {report} --out {new}",
    "rank": "rank {report} --json",
    "seal": "seal {store} --split {store} --keys {store} --out {new} --no-consistency",
    "table": "table {report} --format csv",
    "reproduce": "reproduce {report} 1",
    "rescore": "rescore {report} --runs {store} --bundle {store} --keys {store} --dry-run",
    "splits verify": "splits verify {store}",
    "train": "train reference --bundle {store} --out {new}",
    "verify": "verify {report}",
}
VALUES = {
    "bundle": "{store}",
    "cases": "{store}",
    "columns": "dice",
    "backend": "onnxruntime",
    "batch_size": "auto",
    "device": "cpu",
    "final_keys": "{store}",
    "precision": "fp32",
    "tolerance": "0.001",
    "holds": "aa",
    "keys": "{store}",
    "patients": "3",
} | {
    "received": "2026-01-01",
    "runner": "process",
    "seed": "3",
    "store": "{store}",
    "windows": "2",
}  # of others: a file


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its words; a group's commands one by one."""
    for verb in VERBS:
        command = Commands()[verb]
        for name, inner in getattr(command, "commands", {"": command}).items():
            yield f"{verb} {name}".strip(), inner


COMMANDS = dict(commands())  # once: to make one reads the signatures of all its options


def optional(command: Any) -> set[str]:
    return {p.name for p in command.params if p.param_type_name == "option" and not p.required}


@pytest.mark.parametrize("verb", COMMANDS)
def test_no_option_is_without_a_word_on_when_it_takes_effect(verb: str) -> None:
    needed = {name for need in NEEDS.get(verb, ()) for name in need.options}
    always = ALWAYS.get(verb, set())
    assert optional(COMMANDS[verb]) - {"help"} == needed | always
    assert not needed & always


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("idle")
    write_store(root / "store", "phantom", samples())
    (root / "report").write_bytes(b'{"payload":"x"}\n')
    return {"store": root / "store", "new": root / "new", "report": root / "report"}


IDLE_OPTIONS = [(v, name) for v, needs in NEEDS.items() for need in needs for name in need.options]


@pytest.mark.parametrize(("verb", "name"), IDLE_OPTIONS)
def test_an_option_without_effect_is_refused(verb: str, name: str, places: dict[str, Path]) -> None:
    parameter = next(p for p in COMMANDS[verb].params if p.name == name)
    words = IDLE[verb].format(**places).split()
    value = VALUES.get(name, "{report}").format(**places)
    words += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], value]
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, BusbenchError) and error.code == "usage", (words, error)
    assert parameter.opts[0] in error.message and "leave" in error.remedy
    assert not places["new"].exists()


def test_a_split_that_names_few_cases_is_not_judged(
    places: dict[str, Path], tmp_path: Path
) -> None:
    cases = [case.case_id for case in CaseStore.open(places["store"]).cases]
    for given in (cases[:-1], cases[:1]):
        split = tmp_path / "split.csv"
        rows = "".join(f"{name},{'test' if n else 'train'}\n" for n, name in enumerate(given))
        split.write_text(f"case_id,part\n{rows}")
        words = ["audit", str(places["store"]), "--split", str(split), "--no-near"]
        error = CliRunner().invoke(app, words).exception
        assert isinstance(error, BusbenchError) and error.code == "split-invalid"
        assert "lacks" in error.message


def test_what_has_an_effect_is_not_refused(places: dict[str, Path]) -> None:
    words = ["audit", str(places["store"]), "--policy", "image", "--seed", "3", "--no-near"]
    assert CliRunner().invoke(app, words).exit_code == 0

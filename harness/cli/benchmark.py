"""`busbench benchmark`: networks × tracks × folds, and the table of their results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.files import pretty_json, write_atomically
from harness.benchmark.grid import Cell, Grid, cells
from harness.benchmark.recipes import network_of
from harness.benchmark.table import Line, TrackTable, to_markdown
from harness.cli.app import app
from harness.cli.options import (
    Backend,
    BackendOption,
    ChallengeOption,
    ClusterOption,
    Device,
    InferDevice,
    InputsOption,
    JsonOption,
    KeysOption,
    LedgerOption,
    RunnerName,
    RunnerOption,
    read_challenge,
)
from harness.cli.run_view import failures, run_view
from harness.cli.screen import print_document, print_json
from harness.declared import require_hidden
from harness.evaluation.evaluate import require_keys_of
from harness.evaluation.settings import EvaluateSettings
from harness.execution import ExecutionEnvironment, RunProgress, open_executor, run_chains
from harness.ledger import known_keys
from harness.quotas.recording import LedgerRecorder
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys
from harness.submission import read_submission


@app.command()
def benchmark(
    networks: Annotated[
        str, typer.Option(help="Recipes of the reference networks, with commas between.")
    ],
    tracks: Annotated[
        str, typer.Option(help="Folders with both bundles, or TRACK=FOLDER, with commas between.")
    ],
    keys: KeysOption,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Where all of it is kept; private.", file_okay=False)
    ],
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="NETWORK=FILE or NETWORK.yaml, instead of the packaged recipe."),
    ] = None,
    ledger: LedgerOption = None,
    device: Annotated[Device, typer.Option(help="What training runs on.")] = Device.CPU,
    infer_device: Annotated[
        InferDevice, typer.Option(help="What inference runs on.")
    ] = InferDevice.CPU,
    backend: BackendOption = Backend.ONNXRUNTIME,
    runner: RunnerOption = RunnerName.DOCKER,
    cluster: ClusterOption = None,
    inputs: InputsOption = None,
    challenge: ChallengeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train networks on tracks fold by fold, evaluate each, and print a table.

    Run it again after an interruption: what is done is kept, and a fold goes on from its last
    checkpoint. The table is also in OUT/table.md. A training that was begun by hand is taken from
    OUT/TRACK/NETWORK/given, which contains the trainer's `--out` as `submission` and its `--work`
    as `work`.

    Example: busbench benchmark --networks unext,cmunext_s --tracks bundles --keys keys --out bench
    """
    grid = Grid(
        _words(networks, "--networks"),
        tuple(_open_track(word) for word in _words(tracks, "--tracks")),
        dict(_recipe(word) for word in recipe or ()),
        out_dir,
        ExecutionEnvironment(runner.value, read_challenge(challenge), keys, known_keys(ledger)),
        train_gpu=device is Device.CUDA,
        evaluate=EvaluateSettings(infer_device.value, "auto", backend.value),
        inputs=inputs,
    )
    found = cells(grid)
    state = _run(found, Keys.open(keys), ledger, cluster=cluster)
    tables = _tables(found)
    text = to_markdown(tables)
    write_atomically(out_dir / "table.md", text.encode())
    write_atomically(out_dir / "table.json", pretty_json([table.document() for table in tables]))
    print_json(_document(state, tables)) if as_json else print_document(text)
    if state.failed:
        raise typer.Exit(state.status)


def _words(text: str, option: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise BusbenchError(
            Code.USAGE, f"{option} names nothing.", "See `busbench benchmark --help`."
        )
    return words


def _open_track(word: str) -> Bundles:
    name, equals, folder = word.rpartition("=")
    bundles = Bundles.open(_existing(folder, "--tracks"))
    if equals and bundles.sealed.track != name:
        message = f"{folder} is for track {bundles.sealed.track}, not {name}."
        raise BusbenchError(Code.USAGE, message, "Name the bundles of that track.")
    return bundles


def _recipe(word: str) -> tuple[str, Path]:
    name, equals, file = word.partition("=")
    path = _existing(file if equals else word, "--recipe")
    return (name if equals else path.stem), path


def _existing(name: str, option: str) -> Path:
    if not Path(name).exists():
        message = f"{option} {name} does not exist."
        raise BusbenchError(Code.USAGE, message, "See `busbench benchmark --help`.")
    return Path(name)


def _run(
    found: Sequence[Cell], keys: Keys, ledger: Path | None, *, cluster: str | None
) -> RunProgress:
    grid = found[0].grid
    challenge = grid.environment.challenge
    recorder = None if ledger is None else LedgerRecorder(keys, ledger, challenge)
    for bundles in grid.tracks:  # before days of training
        require_keys_of(bundles, keys)
        if recorder:
            require_hidden(challenge, bundles.sealed.stated_track, bundles.path)
    if recorder:
        recorder.received(())
    with (
        run_view() as view,
        open_executor(cluster, view.progress, view.say, gpu=grid.uses_gpu) as jobs,
    ):
        return run_chains([cell.chain for cell in found], jobs, recorder, watch=view.watch)


def _tables(found: Sequence[Cell]) -> list[TrackTable]:
    by_track: dict[str, list[Cell]] = {}
    for cell in found:
        by_track.setdefault(cell.bundles.sealed.track, []).append(cell)
    return [_table(track, those) for track, those in by_track.items()]


def _table(track: str, found: Sequence[Cell]) -> TrackTable:
    lines, missing = [], []
    for cell in found:
        evaluation = cell.finished_evaluation()
        if evaluation is None:
            missing.append(cell.recipe.network)
            continue
        lines.append(
            Line(
                recipe=cell.recipe.network,
                network=network_of(cell.recipe),
                input=read_submission(evaluation.submission.here()).input,
                report=evaluation.finished().report,
            )
        )
    return TrackTable(track=track, lines=tuple(lines), missing=tuple(missing))


def _document(state: RunProgress, tables: Sequence[TrackTable]) -> dict[str, Any]:
    return {
        "done": len(state.finished) - len(state.failed),
        "failed": [failure.document() for failure in failures(state)],
        "skipped": state.skipped,
        "tracks": [table.document() for table in tables],
    }

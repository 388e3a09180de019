"""The consistency gap of honest networks and of networks that memorise the test set.

    python -m tests.support.studies.consistency --data ../shared/data

prepares, splits and seals each release found there, evaluates honest networks and memorisers on it
as any submission (gate, infer, score) and prints the table of docs/consistency.md in Markdown.
Nothing is written but a temporary folder. `--train` adds the bundled reference network, trained
here by the demo's recipe (some minutes a release), once on the training part, and, for longer, on
the test images themselves, alone and beside the training part: contaminated networks. `--only`
takes one release.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from evaluator.documents.base import write
from evaluator.documents.inference import CountedModel
from evaluator.documents.scores import MetricSummary, Scores
from evaluator.documents.submission import Submission
from evaluator.gate import GateLimits, inspect
from evaluator.inference.backends import InferSettings
from evaluator.inference.infer import infer
from evaluator.progress import Progress, quiet
from evaluator.scoring.score import score
from harness.audit import audit
from harness.challenge import Challenge
from harness.cli.progress import bars
from harness.prepare import prepare
from harness.sandbox import ProcessRunner
from harness.sandbox.cached import Context
from harness.sealing.bundle import Bundles, Recipients, seal
from harness.sealing.keys import Keys
from harness.splits import freeze
from harness.store import CaseStore
from harness.training.train import TrainSettings, train
from reference_models.baselines import Example, memoriser, sample, segmenter
from tests.support.studies.memorisers import mirrored, moved, submission
from tests.support.training_bundle import pixels_digest, write_table

FOLDERS = {"busi": "Dataset_BUSI_with_GT", "busbra": "BUSBRA"}
COPIES = (4, 16, 64)  # transformed copies that the best-prepared attackers store of every image
TRAIN = ("run", "--config", "demo", "--bundle", "{bundle}", "--out", "{out}")
LONGER = (*TRAIN, "--set", "steps=600", "--set", "validate_every=600")  # they learn by heart


@dataclass(frozen=True)
class Arena:
    """A sealed test set, with what its organiser knows."""

    root: Path
    bundles: Bundles
    keys: Keys
    training: tuple[Example, ...]
    test: tuple[Example, ...]


@dataclass(frozen=True)
class Result:
    """What one submission got."""

    method: str
    model: CountedModel
    megabytes: float
    scores: Scores


def make_arena(store: CaseStore, root: Path, progress: Progress = quiet) -> Arena:
    """Split, seal and open a store for a competition, below `root`."""
    report = audit(store, progress=progress)
    split = freeze(store, report, root / "split", version="v1", secret=bytes(32))
    keys = Keys.new(root / "keys")
    recipients = Recipients(keys.images.recipient, keys.labels.recipient)
    bundles = seal(store, split, recipients, out=root / "bundles")
    examples = {
        part: tuple(
            Example(store.image(row.case_id), store.mask(row.case_id))
            for row in split.rows
            if row.part == part
        )
        for part in ("train", "test")
    }
    return Arena(root, bundles, keys, examples["train"], examples["test"])


def enter(arena: Arena, method: str, model: bytes, *, progress: Progress = quiet) -> Result:
    """Evaluate one network on the sealed test set, through gate, infer and score."""
    folder = arena.root / method.replace(" ", "-")
    folder.mkdir()
    declared = submission(model, method, arena.bundles.sealed.track)
    (folder / "model.onnx").write_bytes(model)
    write(declared, folder / "submission.yaml")  # JSON is YAML
    return evaluate(arena, folder, declared, progress=progress)


def evaluate(
    arena: Arena, folder: Path, declared: Submission, *, progress: Progress = quiet
) -> Result:
    """Evaluate the submission in `folder`."""
    out = folder.with_name(f"{folder.name}.run")
    out.mkdir()
    verdict = inspect(folder, declared, GateLimits())
    infer(
        folder,
        verdict,
        out,
        images=arena.bundles.images,
        key=arena.keys.images.secret,
        settings=InferSettings(threads=2),
        progress=progress,
    )
    scores = score(out, arena.bundles.labels, arena.keys.labels.secret, out=out, progress=progress)
    size = (folder / declared.models[0].file).stat().st_size
    return Result(declared.method, verdict.models[0], size / 1e6, scores)


def networks(arena: Arena) -> dict[str, Callable[[], bytes]]:
    """The networks that compete, each made when it is its turn."""
    return {
        "closed-form segmenter": lambda: segmenter([*map(sample, arena.training)]),
        "memoriser": lambda: memoriser(arena.test),
        "memoriser, mirrored too": lambda: memoriser(mirrored(arena.test)),
        **{
            f"memoriser, {n} transformed copies": lambda n=n: memoriser(  # type: ignore[misc]
                moved(arena.test, n), detail=64
            )
            for n in COPIES
        },
    }


def compete(arena: Arena, with_training: bool, progress: Progress) -> Iterator[Result]:
    """Every network's result; the trained one first."""
    if with_training:
        yield trained(arena, "unext", arena.bundles.path / "training", progress=progress)
        for name, examples in (
            ("trained on the test images", arena.test),
            ("trained on both parts", arena.training + arena.test),
        ):
            bundle = contaminated(arena.root / name.replace(" ", "-"), examples)
            yield trained(arena, f"unext, {name}", bundle, command=LONGER, progress=progress)
    for method, make in networks(arena).items():
        yield enter(arena, method, make(), progress=progress)


def trained(
    arena: Arena,
    method: str,
    bundle: Path,
    *,
    command: Sequence[str] = TRAIN,
    progress: Progress,
) -> Result:
    """Train the reference network on a bundle, and evaluate it."""
    folder = arena.root / f"model-{method.replace(' ', '-').replace(',', '')}"
    declared = train(
        bundle,
        folder,
        TrainSettings(image=None, command=tuple(command)),
        context=Context(ProcessRunner(), Challenge(), progress),
    )
    found = evaluate(arena, folder, declared, progress=progress)
    return replace(found, method=method)


def contaminated(path: Path, examples: Sequence[Example]) -> Path:
    """A training bundle of two folds, each of which has all examples: both models see them all."""
    rows = []
    for folder in ("images", "masks"):
        (path / folder).mkdir(parents=True)
    for number, (image, mask) in enumerate(examples):
        for fold in range(2):
            name = f"case-{number:04}-{fold}"
            Image.fromarray(image).save(path / "images" / f"{name}.png")
            Image.fromarray(mask).save(path / "masks" / f"{name}.png")
            label = "benign" if mask.any() else "normal"
            digests = (pixels_digest(image), pixels_digest(mask))
            rows.append((name, fold, label, f"p{number}", *image.shape, "", "", *digests))
    write_table(path, rows, folds=2)
    return path


def cells(dataset: str, result: Result) -> Sequence[str]:
    """A result as a row of the table."""
    everything = result.scores.groups["all"]
    held = everything.consistency
    assert held is not None  # the arena is sealed with the pass on
    transformed = held.transformed["dice"]
    plain = transformed.mean + held.gap["dice"].mean
    return (
        *(
            dataset,
            result.method,
            str(held.cases),
            f"{plain:.3f}",
            number(transformed),
        ),
        *(interval(held.gap["dice"]), f"{result.model.parameters:,}", f"{result.megabytes:.1f}"),
    )


def number(summary: MetricSummary) -> str:
    """A mean over cases and folds."""
    return f"{summary.mean:.3f}"


def interval(summary: MetricSummary) -> str:
    """A mean with its interval."""
    if summary.ci_low is None or summary.ci_high is None:
        return number(summary)
    return f"{summary.mean:.3f} ({summary.ci_low:.3f} to {summary.ci_high:.3f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with the raw releases")
    parser.add_argument("--train", action="store_true", help="train the reference network, too")
    parser.add_argument("--only", choices=FOLDERS, help="one release alone")
    asked = parser.parse_args()
    head = ("dataset", "network", "lesion cases", "Dice", "Dice transformed", "gap (95 %)")
    for line in ((*head, "parameters", "MB"), ("---",) * 8):
        print(f"| {' | '.join(line)} |")
    with tempfile.TemporaryDirectory() as scratch, bars() as progress:
        for dataset, folder in FOLDERS.items():
            if asked.only not in (None, dataset) or not (asked.data / folder).is_dir():
                continue
            root = Path(scratch) / dataset
            raw = asked.data / folder
            store = prepare(dataset, raw, root / "store", skip_refused=True).store
            arena = make_arena(store, root, progress)
            for result in compete(arena, asked.train, progress):
                print(f"| {' | '.join(cells(dataset, result))} |", flush=True)


if __name__ == "__main__":
    main()

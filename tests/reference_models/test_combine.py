"""Averages over folds and mirror images are those that PyTorch computes, and counted as such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from evaluator.gate import inspect
from evaluator.inference.separable import is_separable
from harness.submission import assemble, read_submission
from reference_models.export import OPSET, Mirrored, export_network
from reference_models.networks import build
from reference_models.submission import Declared, Titles, write_document, write_model

HEIGHT, WIDTH, FOLDS = 32, 48, 3
INPUT = {"height": HEIGHT, "width": WIDTH, "resize": "letterbox", "channels": "grey"}
INPUT |= {"mean": 0.2, "std": 0.5}
Call = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Handed:
    """A submission of fold models, and the networks that are in it."""

    folder: Path
    bundle: Path
    networks: list[nn.Module]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(5, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def strong(network: nn.Module) -> nn.Module:
    """The network with weights of many sizes, so that no two pixels get nearly the same answer."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    return network.eval()


@pytest.fixture(scope="module")
def handed(
    tmp_path_factory: pytest.TempPathFactory, bundle_path: Path, images: torch.Tensor
) -> Handed:
    folder = tmp_path_factory.mktemp("handed") / "submission"
    networks, digests = [], {}
    for fold in range(FOLDS):
        torch.manual_seed(fold)
        network = strong(build("cmunext_s"))
        digests[fold] = write_model(folder, fold, export_network(network, images, {}).data)
        networks.append(network)
    declared = Declared(INPUT, OPSET, 0.4, 1000)
    titles = Titles("Team", "tiny")
    write_document(folder, declared, track="phantom", titles=titles, models=digests)
    return Handed(folder, bundle_path, networks)


def combined(call: Call, handed: Handed, out: Path, *options: str) -> Path:
    words = ("combine", handed.folder, "--bundle", handed.bundle, "--out", out, *options)
    status, _, errors = call(*words)
    assert status == 0, errors
    return out


def answer(path: Path, images: torch.Tensor) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": images.numpy()})
    return np.asarray(found)


def test_no_mirrored_model_answers_otherwise_than_the_one_that_pytorch_exports(
    call: Call, handed: Handed, images: torch.Tensor, tmp_path: Path
) -> None:
    out = combined(call, handed, tmp_path / "out", "--mirrored")
    document = read_submission(out)
    assert [one.fold for one in document.models] == [*range(FOLDS)]
    assert (document.method, document.output.kind) == ("tiny mirrored", "logits")
    assert (document.output.threshold, document.parameters) == (0.4, 1000)
    for fold, network in enumerate(handed.networks):
        with torch.inference_mode():
            expected = Mirrored(network)(images).numpy()
        found = answer(out / f"fold-{fold}.onnx", images)
        assert found == pytest.approx(expected, abs=1e-5)
        assert np.abs(found - answer(handed.folder / f"fold-{fold}.onnx", images)).max() > 1e-3


@pytest.mark.parametrize("mirrored", [False, True])
def test_no_ensemble_answers_otherwise_than_the_mean_of_its_folds_probabilities(
    call: Call, handed: Handed, images: torch.Tensor, tmp_path: Path, mirrored: bool
) -> None:
    options = ["--ensemble", *(["--mirrored"] if mirrored else [])]
    out = combined(call, handed, tmp_path / "out", *options, "--method", "all of them")
    document = read_submission(out)
    assert [one.fold for one in document.models] == [None]
    assert (document.method, document.output.kind) == ("all of them", "probabilities")
    assert document.parameters == FOLDS * 1000
    asked = [Mirrored(one) if mirrored else one for one in handed.networks]
    with torch.inference_mode():
        expected = torch.stack([one(images).sigmoid() for one in asked]).mean(0).numpy()
    assert answer(out / "model.onnx", images) == pytest.approx(expected, abs=1e-6)


def test_nothing_that_is_averaged_goes_uncounted(
    call: Call, handed: Handed, tmp_path: Path
) -> None:
    def counted(folder: Path) -> tuple[int, float]:
        found = inspect(folder, read_submission(folder)).models[0]
        assert found.gmacs is not None
        return found.parameters, found.gmacs

    def made(name: str, *options: str) -> Path:
        return combined(call, handed, tmp_path / name, *options)

    parameters, gmacs = counted(handed.folder)
    few = 10  # numbers say how to turn an image round
    mirrored, every, both = (
        counted(made("mirrored", "--mirrored")),
        counted(made("ensemble", "--ensemble")),
        counted(made("both", "--ensemble", "--mirrored")),
    )
    assert mirrored[1] == pytest.approx(2 * gmacs) and both[1] == pytest.approx(2 * every[1])
    assert every[1] == pytest.approx(FOLDS * gmacs)
    assert parameters <= mirrored[0] <= parameters + few
    assert every[0] == pytest.approx(FOLDS * parameters, rel=0.01)
    assert every[0] <= both[0] <= every[0] + few


def test_no_combined_model_has_to_run_one_image_at_a_time(
    call: Call, handed: Handed, tmp_path: Path
) -> None:
    out = combined(call, handed, tmp_path / "out", "--ensemble", "--mirrored")
    assert is_separable(out / "model.onnx", read_submission(out).input)


def test_what_the_harness_wrote_anew_is_neither_refused_nor_lost(
    call: Call, handed: Handed, tmp_path: Path
) -> None:
    """`busbench benchmark` puts folds together, and states every field."""
    stated = read_submission(handed.folder).model_copy(update={"description": "ours"})
    files = {model.file: handed.folder / model.file for model in stated.models}
    assemble(stated, lambda model: files[model.file], tmp_path / "source")
    again = Handed(tmp_path / "source", handed.bundle, handed.networks)
    made = read_submission(combined(call, again, tmp_path / "out", "--mirrored"))
    assert (made.description, made.team, made.input) == ("ours", "Team", stated.input)


def test_a_submission_of_tiles_is_refused(call: Call, handed: Handed, tmp_path: Path) -> None:
    stated = yaml.safe_load((handed.folder / "submission.yaml").read_text())
    stated["input"] |= {"mode": "tiled", "overlap": 0.5, "blend": "constant"}
    (tmp_path / "submission.yaml").write_text(yaml.safe_dump(stated))
    words = ("--bundle", handed.bundle, "--out", tmp_path / "out", "--mirrored")
    status, _, errors = call("combine", tmp_path, *words)
    assert status == 2 and "input of submission.yaml" in errors


def test_the_same_files_never_give_another_file(call: Call, handed: Handed, tmp_path: Path) -> None:
    first, second = (
        (combined(call, handed, tmp_path / name, "--ensemble") / "model.onnx").read_bytes()
        for name in ("first", "second")
    )
    assert first == second


def test_a_folder_of_anything_else_is_never_overwritten(
    call: Call, handed: Handed, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    words = ("combine", handed.folder, "--bundle", handed.bundle, "--out", tmp_path)
    status, _, errors = call(*words, "--ensemble")
    assert status == 2 and "notes.txt does not come from" in errors
    status, _, errors = call(*words)
    assert status == 2 and "Nothing is to be averaged" in errors


def test_no_file_that_was_changed_is_averaged(call: Call, handed: Handed, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in handed.folder.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "fold-1.onnx").write_bytes((source / "fold-0.onnx").read_bytes())
    words = ("--bundle", handed.bundle, "--out", tmp_path / "out", "--ensemble")
    status, _, errors = call("combine", source, *words)
    assert status == 2 and "fold-1.onnx is not the file that submission.yaml declares" in errors
    (source / "submission.yaml").write_text("schema: other\n")
    status, _, errors = call("combine", source, *words)
    assert status == 2 and "submission.yaml: " in errors and "Traceback" not in errors

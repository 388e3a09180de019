"""Training of small networks, fold by fold, and their export to ONNX. Make it your own.

Training takes a GPU where there is one, keeps the weights of the best validation Dice, and ends
early where that stays behind for `PATIENCE` epochs. Killed and started again with the same --out,
it goes on from the last epoch: OUT/work has a checkpoint of each fold, until the submission is
written. OUT/curves.csv has the losses.
"""

import csv
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from submission import OPSET

PATIENCE = 10  # epochs without a better validation Dice
BATCH = 8
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
COLUMNS = ("fold", "epoch", "training_loss", "validation_loss", "validation_dice")
Cases = tuple[Tensor, Tensor]  # images and masks
Row = tuple[int, int, float, float, float]  # of the curves


def as_they_are(images: Tensor, masks: Tensor) -> Cases:
    """No augmentation."""
    return images, masks


def fit_folds(
    make: Callable[[], nn.Module],
    bundle: tuple[np.ndarray, np.ndarray, np.ndarray],
    epochs: int,
    out: Path,
    augment: Callable[[Tensor, Tensor], Cases] = as_they_are,
) -> dict[int, nn.Module]:
    """One network a fold, each trained on the cases that validate in another.

    Args:
        bundle: what `BundleDataset.arrays` returns.
        epochs: at most so many.
        out: where checkpoints and curves go.
    """
    print(f"training on {DEVICE}", flush=True)
    images, masks, folds = map(torch.from_numpy, bundle)
    (out / "work").mkdir(parents=True, exist_ok=True)
    networks: dict[int, nn.Module] = {}
    curves: list[Row] = []
    for fold in sorted(set(folds.tolist())):
        torch.manual_seed(fold)
        network, seen = make(), folds != fold
        training = augment(images[seen], masks[seen])
        validation = images[~seen], masks[~seen]
        checkpoint = out / "work" / f"fold-{fold}.pt"
        curves += fit(network, training, validation, fold, epochs, checkpoint)
        write_curves(out / "curves.csv", curves)
        networks[fold] = network
    return networks


def fit(
    network: nn.Module,
    training: Cases,
    validation: Cases,
    fold: int,
    epochs: int,
    checkpoint: Path,
) -> list[Row]:
    """Train on images (N, 1, H, W) and masks (N, 1, H, W); the network has the best weights then.

    Returns:
        The curves, one row an epoch.
    """
    network.to(DEVICE)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    curve: list[Row] = []
    best: dict[str, Tensor] = {}
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu")
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        curve, best = [tuple(row) for row in state["curve"]], state["best"]
        print(f"fold {fold} goes on after epoch {len(curve)}", flush=True)
    while len(curve) < epochs and not stays_behind(curve):
        training_loss = pass_over(network, training, optimiser)
        with torch.no_grad():
            validation_loss, dice = judge(network, validation)
        curve.append((fold, len(curve) + 1, training_loss, validation_loss, dice))
        if dice >= max(row[-1] for row in curve):
            best = {name: value.cpu().clone() for name, value in network.state_dict().items()}
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
        state |= {"random": torch.get_rng_state(), "curve": curve, "best": best}
        torch.save(state, checkpoint.with_suffix(".partial"))
        checkpoint.with_suffix(".partial").replace(checkpoint)  # whole or not at all
        print(f"progress {len(curve)}/{epochs} fold {fold}", flush=True)  # `busbench` draws a bar
        losses = f"loss {training_loss:.4f}, in validation {validation_loss:.4f}"
        print(f"fold {fold} epoch {len(curve)}: {losses}, Dice {dice:.4f}", flush=True)
    network.load_state_dict(best)
    network.cpu().eval()
    return curve


def stays_behind(curve: list[Row]) -> bool:
    """Whether the best Dice is `PATIENCE` epochs old."""
    dice = [row[-1] for row in curve]
    return len(dice) > PATIENCE and max(dice[-PATIENCE:]) <= max(dice[:-PATIENCE])


def pass_over(network: nn.Module, cases: Cases, optimiser: torch.optim.Optimizer) -> float:
    """One epoch; the mean loss of its batches."""
    network.train()
    losses = []
    for chosen in torch.randperm(len(cases[0])).split(BATCH):
        if len(chosen) == 1 and losses:  # a norm over one image says nothing
            continue
        loss = loss_of(lesion_logits(network, cases[0][chosen]), cases[1][chosen].to(DEVICE))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def judge(network: nn.Module, cases: Cases) -> tuple[float, float]:
    """Mean loss and mean Dice of all cases; two empty masks agree."""
    network.eval()
    losses, scores = [], []
    for image, mask in zip(*cases, strict=True):
        logits, truth = lesion_logits(network, image[None]), mask[None].to(DEVICE)
        found, area = logits > 0, ((logits > 0).sum() + truth.sum()).item()
        losses.append(loss_of(logits, truth).item())
        scores.append(2 * (found * truth).sum().item() / area if area else 1.0)
    return float(np.mean(losses)), float(np.mean(scores))


def lesion_logits(network: nn.Module, images: Tensor) -> Tensor:
    """One map of logits, (N, 1, H, W); of background and lesion, the difference: their softmax."""
    maps = network(images.to(DEVICE))
    return maps if maps.shape[1] == 1 else maps[:, 1:] - maps[:, :1]


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy and Dice loss."""
    found = torch.sigmoid(logits)
    dice = 2 * (found * truth).sum() / (found.sum() + truth.sum()).clamp(min=1)
    return F.binary_cross_entropy_with_logits(logits, truth) + 1 - dice


def write_curves(path: Path, curves: list[Row]) -> None:
    """Write the losses and Dice of every epoch."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *curves])


def to_onnx(network: nn.Module, size: int) -> bytes:
    """One self-contained file with a free batch axis."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.cpu().eval(),
            (torch.rand(2, 1, size, size),),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["maps"],
            dynamic_axes={"image": {0: "batch"}, "maps": {0: "batch"}},
        )
    return buffer.getvalue()

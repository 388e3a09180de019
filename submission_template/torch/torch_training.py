"""Training of a small network, and its export to ONNX. Replace this file by your own."""

import io
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from submission import OPSET

Cases = tuple[Tensor, Tensor]  # images and masks


def as_they_are(images: Tensor, masks: Tensor) -> Cases:
    """No augmentation."""
    return images, masks


def fit_folds(
    make: Callable[[], nn.Module],
    bundle: tuple[np.ndarray, np.ndarray, np.ndarray],
    epochs: int,
    augment: Callable[[Tensor, Tensor], Cases] = as_they_are,
) -> dict[int, nn.Module]:
    """One network a fold, each trained on the cases that validate in another.

    Args:
        bundle: what `read_bundle` returns.
    """
    images, masks, folds = map(torch.from_numpy, bundle)
    networks = {}
    for fold in sorted(set(folds.tolist())):
        torch.manual_seed(fold)
        networks[fold], seen = make(), folds != fold
        fit(networks[fold], *augment(images[seen], masks[seen]), epochs)
        print(f"fold {fold} is trained", flush=True)
    return networks


def fit(network: nn.Module, images: Tensor, masks: Tensor, epochs: int, batch: int = 8) -> None:
    """Train on images (N, 1, H, W) and masks (N, 1, H, W), with BCE + Dice on one lesion map.

    A network of two maps, background and lesion, is trained on their difference: its softmax.
    """
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch):
            if len(chosen) == 1:  # a norm over one image says nothing
                continue
            maps = network(images[chosen])
            logits = maps if maps.shape[1] == 1 else maps[:, 1:] - maps[:, :1]
            found, truth = torch.sigmoid(logits), masks[chosen]
            dice = 2 * (found * truth).sum() / (found.sum() + truth.sum()).clamp(min=1)
            loss = F.binary_cross_entropy_with_logits(logits, truth) + 1 - dice
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    network.eval()


def to_onnx(network: nn.Module, size: int) -> bytes:
    """One self-contained file with a free batch axis."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.rand(2, 1, size, size),),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["maps"],
            dynamic_axes={"image": {0: "batch"}, "maps": {0: "batch"}},
        )
    return buffer.getvalue()

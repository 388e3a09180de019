"""A MONAI network, as `network.yaml` defines it: one model a fold, trained with MONAI's transforms.

The definition is a bundle's `network_def`; weights that a bundle brings are loaded in `network`.
"""

from pathlib import Path

import torch
from monai.bundle import ConfigParser
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandFlipd,
    RandGaussianNoised,
    RandRotated,
)
from torch import Tensor, nn

from command_line import arguments
from dataset import BundleDataset
from submission import write_submission
from torch_training import fit_folds, to_onnx

SIZE = 128
COPIES = 3  # varied copies of each case, beside the case itself
BOTH = ("image", "mask")
VARY = Compose(
    [
        RandFlipd(BOTH, prob=0.5, spatial_axis=1),
        RandRotated(BOTH, range_x=0.2, prob=0.5, mode=("bilinear", "nearest")),
        RandAdjustContrastd("image", prob=0.5, gamma=(0.7, 1.5)),
        RandGaussianNoised("image", prob=0.3, std=0.05),
    ]
)


def network() -> nn.Module:
    """Images (N, 1, SIZE, SIZE), from 0 to 1, to two maps of logits: background and lesion."""
    parser = ConfigParser(ConfigParser.load_config_file(Path(__file__).parent / "network.yaml"))
    return parser.get_parsed_content("network_def")


def varied(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Every case, and `COPIES` of it that MONAI's transforms vary."""
    VARY.set_random_state(0)  # a killed training that goes on makes the same copies
    cases = [{"image": i, "mask": m} for i, m in zip(images, masks, strict=True)]
    made = [*cases, *(VARY(dict(case)) for _ in range(COPIES) for case in cases)]
    return tuple(torch.stack([torch.as_tensor(case[name]) for case in made]) for name in BOTH)


def main() -> None:
    options = arguments(epochs=15)
    cases = BundleDataset(options.bundle, size=SIZE).arrays()
    networks = fit_folds(network, cases, options.epochs, options.out, varied)
    two = next(iter(networks.values()))(torch.rand(1, 1, SIZE, SIZE)).shape[1] == 2
    models = {fold: to_onnx(trained, SIZE) for fold, trained in networks.items()}
    kind = "softmax" if two else "logits"
    write_submission(options.out, options.bundle, models, SIZE, kind)


if __name__ == "__main__":
    main()

"""A network of segmentation_models_pytorch: one model a fold, logits out.

Any architecture and encoder of the library's that takes one channel and exports to ONNX will do.
Training has no network: pretrained weights (`encoder_weights`) must be in the image already.
"""

import segmentation_models_pytorch as smp
from torch import Tensor, cat, nn

from command_line import arguments
from dataset import BundleDataset
from submission import write_submission
from torch_training import fit_folds, to_onnx

SIZE = 128  # a multiple of 32, by which the encoders shrink an image


def network() -> nn.Module:
    """Images (N, 1, SIZE, SIZE), from 0 to 1, to logits of the same size."""
    return smp.create_model(
        "unet", encoder_name="resnet18", encoder_weights=None, in_channels=1, classes=1
    )


def mirrored(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Every case, and every case seen in a mirror."""
    return cat((images, images.flip(3))), cat((masks, masks.flip(3)))


def main() -> None:
    options = arguments(epochs=30)
    cases = BundleDataset(options.bundle, size=SIZE).arrays()
    networks = fit_folds(network, cases, options.epochs, options.out, mirrored)
    models = {fold: to_onnx(trained, SIZE) for fold, trained in networks.items()}
    write_submission(options.out, options.bundle, models, SIZE, "logits")


if __name__ == "__main__":
    main()

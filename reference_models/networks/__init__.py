"""The table of reference networks, and `build`, which makes one by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from reference_models.errors import UsageError, chosen
from reference_models.networks.cmunext import CMUNeXt, cmunet, cmunext_l, cmunext_s
from reference_models.networks.medt import MedT
from reference_models.networks.swin_unet import SwinUnet
from reference_models.networks.transunet import TransUNet
from reference_models.networks.ukan import UKAN, ukan_s
from reference_models.networks.unet import UNet, attention_unet
from reference_models.networks.unet3plus import UNet3Plus
from reference_models.networks.unetpp import UNetPlusPlus
from reference_models.networks.unext import UNeXt

__all__ = ["NETWORKS", "Network", "Staged", "build"]


@dataclass(frozen=True)
class Network:
    """How to make a network, which sizes it takes, and what its encoder is.

    Args:
        make: from (input channels, (height, width)) to the network.
        multiple: height and width must be multiples of it.
        encoder: how the names of the encoder's weights begin.
        fixed: whether a network once made takes images of one size alone.
    """

    make: Callable[[int, tuple[int, int]], nn.Module]
    multiple: int
    encoder: tuple[str, ...] = ("encoder.",)
    fixed: bool = False

    def check(self, height: int, width: int) -> None:
        """Refuse sizes that the poolings of the network would not divide evenly."""
        if height % self.multiple == 0 and width % self.multiple == 0 and min(height, width) > 0:
            return
        fit = [max(1, round(side / self.multiple)) * self.multiple for side in (height, width)]
        raise UsageError(
            f"This network cannot take {height} x {width} pixels.",
            f"Height and width must be multiples of {self.multiple}: try {fit[0]} x {fit[1]}.",
        )


@runtime_checkable
class Staged(Protocol):
    """A network some of whose weights learn only in some epochs."""

    def at_epoch(self, epoch: int) -> None:
        """To be called before each step, with the number of whole passes so far."""


_TOKENS = ("conv_down.", "token_down.")
_CMUNEXT = ("stem.", "encoder.")
_TRANSUNET = ("stem.", "stages.", "transformer.")
_SWIN = ("embed.", "norm_embedded.", "encoder.", "merge.", "norm_deepest.")
_WHOLE, _PATCHES = ("whole.stem.", "whole.levels."), ("patches.stem.", "patches.levels.")
_MEDT = (*_WHOLE, *_PATCHES, "patches.bottom.")

# Networks whose weights do not depend on the size ignore it.
NETWORKS: dict[str, Network] = {
    "unet": Network(lambda channels, _: UNet(channels), 16),
    "attention_unet": Network(lambda channels, _: attention_unet(channels), 16),
    "unetpp": Network(lambda channels, _: UNetPlusPlus(channels), 32),
    "unet3plus": Network(lambda channels, _: UNet3Plus(channels), 16),
    "cmunet": Network(lambda channels, _: cmunet(channels), 16, ("encoder.", "bottom.")),
    "transunet": Network(TransUNet, 16, _TRANSUNET, fixed=True),
    "swin_unet": Network(SwinUnet, 32, _SWIN, fixed=True),
    "medt": Network(MedT, 32, _MEDT, fixed=True),
    "cmunext": Network(lambda channels, _: CMUNeXt(channels), 16, _CMUNEXT),
    "cmunext_s": Network(lambda channels, _: cmunext_s(channels), 16, _CMUNEXT),
    "cmunext_l": Network(lambda channels, _: cmunext_l(channels), 16, _CMUNEXT),
    "unext": Network(lambda channels, _: UNeXt(channels), 32, _TOKENS),
    "ukan": Network(lambda channels, _: UKAN(channels), 32, _TOKENS),
    "ukan_s": Network(lambda channels, _: ukan_s(channels), 32, _TOKENS),
}


def build(name: str, in_channels: int = 1, image_size: int | tuple[int, int] = 224) -> nn.Module:
    """Make a network with fresh weights.

    Args:
        name: a key of `NETWORKS`.
        in_channels: channels of the image, at least 1.
        image_size: pixels, one side of a square or (height, width).

    Returns:
        A module from (N, in_channels, H, W) float images to (N, 1, H, W) logits.

    Raises:
        UsageError: unknown name, or a size or channel count that the network cannot take; the
            network raises it for images of a wrong size.
    """
    network = chosen("network", name, NETWORKS)
    if in_channels < 1:
        raise UsageError(f"{in_channels} input channels are too few.", "Ask for 1 or more.")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    network.check(*size)
    made = network.make(in_channels, size)
    made.register_forward_pre_hook(lambda _, inputs: _check_image(network, size, inputs[0]))
    return made


def _check_image(row: Network, size: tuple[int, int], images: Tensor) -> None:
    """Refuse images (N, C, H, W) of a size that the network cannot take, before it fails inside."""
    if torch.onnx.is_in_onnx_export():  # sizes are traced values there, and checked before
        return
    height, width = images.shape[-2:]
    if not row.fixed:
        row.check(height, width)
    elif (height, width) != size:
        raise UsageError(
            f"This network cannot take {height} x {width} pixels.",
            f"It was made for {size[0]} x {size[1]}: make another for another size.",
        )

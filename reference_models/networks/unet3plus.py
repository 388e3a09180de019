"""U-Net 3+: every decoder node sees every scale.

H. Huang, L. Lin, R. Tong, H. Hu, Q. Zhang, Y. Iwamoto, X. Han, Y.-W. Chen, J. Wu, "UNet 3+: A
Full-Scale Connected UNet for Medical Image Segmentation", ICASSP 2020,
doi:10.1109/ICASSP40776.2020.9053405, arXiv:2004.08790. Without its deep supervision and without
its module that guesses whether there is a lesion at all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reference_models.networks.blocks import ContractingPath, conv_bn_relu
from reference_models.networks.unet import WIDTHS

BRANCH = 64  # channels that each of the five scales contributes
NODE = BRANCH * len(WIDTHS)


def branch(inputs: int, source: int, target: int) -> nn.Sequential:
    """Bring a feature of level `source` to level `target`, then to 64 channels; 0 is the top."""
    steps = target - source
    if steps > 0:
        resize: list[nn.Module] = [nn.MaxPool2d(2**steps, ceil_mode=True)]
    elif steps < 0:
        resize = [nn.Upsample(scale_factor=2**-steps, mode="bilinear", align_corners=False)]
    else:
        resize = []
    return nn.Sequential(*resize, conv_bn_relu(inputs, BRANCH))


class Node(nn.Module):
    """A decoder node: one branch a scale, concatenated and convolved.

    Args:
        level: that of the node; levels below it are nodes, all others are encoder features.
    """

    def __init__(self, level: int) -> None:
        super().__init__()
        deepest = len(WIDTHS) - 1
        self.branches = nn.ModuleList(
            branch(NODE if level < source < deepest else width, source, level)
            for source, width in enumerate(WIDTHS)
        )
        self.fuse = conv_bn_relu(NODE, NODE)

    def forward(self, features: list[Tensor]) -> Tensor:
        pieces = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        fused: Tensor = self.fuse(torch.cat(pieces, dim=1))
        return fused


class UNet3Plus(nn.Module):
    """U-Net 3+ with five levels.

    Args:
        in_channels: channels of the image.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.encoder = ContractingPath(in_channels, WIDTHS)
        self.nodes = nn.ModuleList(Node(level) for level in range(len(WIDTHS) - 1))
        self.head = nn.Conv2d(NODE, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, 1, H, W) logits; H and W are multiples of 16."""
        features = self.encoder(image)
        for level in reversed(range(len(self.nodes))):
            features[level] = self.nodes[level](features)
        logits: Tensor = self.head(features[0])
        return logits

"""What does a network say of an image and of its mirror image, on average?

Left and right mean nothing in these images, so the two answers are two opinions on one question.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 3


class Mirrored(nn.Module):
    """The mean of a network's logits for an image and, mirrored back, for its mirror image.

    Costs twice the network's arithmetic; parameters stay the same.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, 1, H, W) logits."""
        seen: Tensor = self.network(image)
        mirrored: Tensor = self.network(torch.flip(image, (WIDTH,)))
        return (seen + torch.flip(mirrored, (WIDTH,))) / 2

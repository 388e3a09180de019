"""MedT (Medical Transformer): gated axial attention on the image, plain axial attention on patches.

J. M. J. Valanarasu, P. Oza, I. Hacihaliloglu, V. M. Patel, "Medical Transformer: Gated
Axial-Attention for Medical Image Segmentation", MICCAI 2021, doi:10.1007/978-3-030-87193-2_4,
arXiv:2102.10662; axial attention after H. Wang, Y. Zhu, B. Green, H. Adam, A. Yuille, L.-C. Chen,
"Axial-DeepLab: Stand-Alone Axial-Attention for Panoptic Segmentation", ECCV 2020, arXiv:2003.07853.
Patches are 32 pixels wide and cover the whole image, whatever its size.

The paper's code also registers a 1 x 1 convolution in each block of the local branch and a second
head, which no image ever passes: 35,553 of its 1,556,122 parameters at 224 pixels. They are kept
here as `idle`, so that the count is the published one; they have no gradient and are not exported.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.networks.axial import (
    HEIGHT,
    WIDTH,
    AxialAttention,
    GatedAxialAttention,
    Size,
)
from reference_models.networks.blocks import Residual, conv_bn

STEM_WIDE = 128
STEM_WHOLE, STEM_PATCH = 8, 64  # channels that leave the stem of either branch
PATCH = 32
DEPTHS = (1, 2, 4, 1)  # blocks of the levels; the global branch has the first two alone
WIDTHS = (16, 32, 64, 128)  # inside the blocks; twice that leaves them
OUT = 16
GATES_FROM = 10  # the epoch, counted from 0, in which the gates begin to learn


class AxialBlock(Residual):
    """A residual bottleneck around attention along the height and then along the width.

    Args:
        size: (H, W) of the input.
        stride: 2 to halve after the attention.
    """

    def __init__(
        self, kind: type[AxialAttention], inputs: int, width: int, *, size: Size, stride: int
    ) -> None:
        path = nn.Sequential(
            *conv_bn(inputs, width, 1),
            nn.ReLU(inplace=True),
            kind(width, size, HEIGHT),
            kind(width, size, WIDTH),
            nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
            nn.ReLU(inplace=True),
            *conv_bn(width, 2 * width, 1),
        )
        same = stride == 1 and inputs == 2 * width
        super().__init__(path, None if same else conv_bn(inputs, 2 * width, 1, stride=stride))
        if kind is AxialAttention:
            self.idle = nn.Conv2d(width, width, 1)


def stem(in_channels: int, outputs: int) -> nn.Sequential:
    """From the image to features at half the size."""
    return nn.Sequential(
        *conv_bn(in_channels, outputs, 7, stride=2),
        nn.ReLU(inplace=True),
        *conv_bn(outputs, STEM_WIDE, 3),
        nn.ReLU(inplace=True),
        *conv_bn(STEM_WIDE, outputs, 3),
        nn.ReLU(inplace=True),
    )


class Branch(nn.Module):
    """An axial U-Net: stem, levels of blocks, and a decoder to 16 channels at the input's size.

    Args:
        size: (H, W) of what it is given.
        narrow: channels that leave the stem.
        levels: how many; each but the first halves the size.
        bottom: whether a strided convolution goes below the last level.
    """

    def __init__(
        self,
        kind: type[AxialAttention],
        in_channels: int,
        size: Size,
        *,
        narrow: int,
        levels: int,
        bottom: bool,
    ) -> None:
        super().__init__()
        self.stem = stem(in_channels, narrow)
        self.levels = nn.ModuleList()
        here, inputs = (size[0] // 2, size[1] // 2), narrow
        for level, (width, depth) in enumerate(zip(WIDTHS[:levels], DEPTHS, strict=False)):
            blocks = []
            for index in range(depth):
                stride = 2 if level and not index else 1
                blocks.append(AxialBlock(kind, inputs, width, size=here, stride=stride))
                here, inputs = (here[0] // stride, here[1] // stride), 2 * width
            self.levels.append(nn.Sequential(*blocks))
        self.bottom = nn.Conv2d(inputs, inputs, 3, 2, padding=1) if bottom else None
        outputs = [2 * width for width in WIDTHS[: levels - 1]][::-1]
        self.decoder = nn.ModuleList(
            nn.Conv2d(2 * width, width, 3, padding=1) for width in (*outputs, OUT)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        skips = []
        for level in self.levels:
            x = level(x)
            skips.append(x)
        if self.bottom is not None:
            x = enlarged(self.bottom(x)) + skips[-1]
        for conv, skip in zip(self.decoder, skips[-2::-1], strict=False):
            x = enlarged(conv(x)) + skip
        return enlarged(self.decoder[-1](x))


def enlarged(x: Tensor) -> Tensor:
    """Twice the size, bilinear, then ReLU."""
    return F.relu(F.interpolate(x, scale_factor=2.0, mode="bilinear"))


class MedT(nn.Module):
    """MedT for images of one size.

    Args:
        in_channels: channels of the image.
        size: (height, width) of the image, multiples of 32.
    """

    def __init__(self, in_channels: int, size: Size) -> None:
        super().__init__()
        self.in_channels, self.size = in_channels, size
        self.grid = (size[0] // PATCH, size[1] // PATCH)
        self.whole = Branch(
            GatedAxialAttention, in_channels, size, narrow=STEM_WHOLE, levels=2, bottom=False
        )
        self.patches = Branch(
            AxialAttention, in_channels, (PATCH, PATCH), narrow=STEM_PATCH, levels=4, bottom=True
        )
        self.fuse = nn.Conv2d(OUT, OUT, 3, padding=1)
        self.head = nn.Conv2d(OUT, 1, 1)
        self.idle = nn.Conv2d(OUT, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images of the given size to (N, 1, H, W) logits."""
        summed = self.whole(image) + self._joined(self.patches(self._cut(image)))
        logits: Tensor = self.head(F.relu(self.fuse(summed)))
        return logits

    def at_epoch(self, epoch: int) -> None:
        """Let the gates learn from the tenth epoch on, when what they let in has some shape."""
        for module in self.modules():
            if isinstance(module, GatedAxialAttention):
                module.gates.requires_grad_(epoch >= GATES_FROM)

    def _cut(self, image: Tensor) -> Tensor:
        """(N, C, H, W) as patches (N rows columns, C, 32, 32)."""
        rows, columns = self.grid
        tiles = image.reshape(-1, self.in_channels, rows, PATCH, columns, PATCH)
        return tiles.permute(0, 2, 4, 1, 3, 5).reshape(-1, self.in_channels, PATCH, PATCH)

    def _joined(self, patches: Tensor) -> Tensor:
        """Patches (N rows columns, 16, 32, 32) as one (N, 16, H, W)."""
        tiles = patches.reshape(-1, *self.grid, OUT, PATCH, PATCH)
        return tiles.permute(0, 3, 1, 4, 2, 5).reshape(-1, OUT, *self.size)

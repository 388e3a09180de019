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

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.networks.blocks import Residual, conv_bn

STEM_WIDE = 128
STEM_WHOLE, STEM_PATCH = 8, 64  # channels that leave the stem of either branch
PATCH = 32
DEPTHS = (1, 2, 4, 1)  # blocks of the levels; the global branch has the first two alone
WIDTHS = (16, 32, 64, 128)  # inside the blocks; twice that leaves them
OUT = 16
GATES_FROM = 10  # the epoch, counted from 0, in which the gates begin to learn
GROUPS = 8  # heads
HEIGHT, WIDTH = 2, 3  # axes of (N, C, H, W)

Size = tuple[int, int]  # height and width of a feature


class AxialAttention(nn.Module):
    """Attention of each pixel to those of its column, or of its row.

    Args:
        channels: C, a multiple of 16.
        size: (H, W) of the feature.
        axis: `HEIGHT` to attend within columns, `WIDTH` within rows.
        terms: how many similarities, and how many contents, are normed and summed.
    """

    def __init__(
        self, channels: int, size: Size, axis: int, *, terms: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        self.channels, self.size, self.axis, self.terms = channels, size, axis, terms
        self.value_width = channels // GROUPS  # of one head
        self.key_width = self.value_width // 2
        self.length, self.others = size if axis == HEIGHT else size[::-1]
        self.qkv = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.norm_qkv = nn.BatchNorm2d(2 * channels)
        self.norm_similarity = nn.BatchNorm2d(terms[0] * GROUPS)
        self.norm_content = nn.BatchNorm2d(terms[1] * channels)
        nn.init.normal_(self.qkv.weight, std=channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        # Below, T is the axis attended to: q, k and v are (N, others, GROUPS, T, c).
        grouped = self.norm_qkv(self.qkv(x)).reshape(-1, GROUPS, 2 * self.value_width, *self.size)
        axes = (0, 4, 1, 3, 2) if self.axis == HEIGHT else (0, 3, 1, 4, 2)
        sizes = [self.key_width, self.key_width, self.value_width]
        query, key, value = torch.split(grouped.permute(axes), sizes, dim=4)
        terms = torch.cat(self.similarities(query, key), dim=2)
        maps = terms.reshape(-1, self.terms[0] * GROUPS, self.length, self.length)
        shape = (-1, self.others, self.terms[0], GROUPS, self.length, self.length)
        attention = self.norm_similarity(maps).reshape(shape).sum(dim=2).softmax(dim=-1)
        return self._gather(torch.stack(self.contents(attention, value), dim=-1))

    def similarities(self, query: Tensor, key: Tensor) -> tuple[Tensor, ...]:
        """How much each pixel (second to last axis) likes each other, (N, others, GROUPS, T, T)."""
        turned = key.transpose(-1, -2)
        # Over a single channel a matrix product is a plain multiplication.
        return (query * turned if self.key_width == 1 else query @ turned,)

    def contents(self, attention: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """What each pixel takes in, (N, others, GROUPS, T, c)."""
        return (attention @ value,)

    def _gather(self, contents: Tensor) -> Tensor:
        """Norm and sum (N, others, GROUPS, T, c, terms), and give (N, C, H, W)."""
        axes = (0, 2, 4, 5, 3, 1) if self.axis == HEIGHT else (0, 2, 4, 5, 1, 3)
        maps = contents.permute(axes).reshape(-1, self.terms[1] * self.channels, *self.size)
        shape = (-1, self.channels, self.terms[1], *self.size)
        result: Tensor = self.norm_content(maps).reshape(shape).sum(dim=2)
        return result


class GatedAxialAttention(AxialAttention):
    """With learned terms for the offset between two pixels, each let in by a learned gate."""

    def __init__(self, channels: int, size: Size, axis: int) -> None:
        super().__init__(channels, size, axis, terms=(3, 2))
        length = self.length
        self.relative = nn.Parameter(torch.empty(2 * self.value_width, 2 * length - 1))
        nn.init.normal_(self.relative, std=self.value_width**-0.5)
        index = torch.arange(length)
        self.offset: Tensor
        self.register_buffer("offset", index[:, None] - index + length - 1, persistent=False)
        gates = {"query": 0.1, "key": 0.1, "value": 1.0, "position": 0.1}
        self.gates = nn.ParameterDict({name: torch.tensor(open_) for name, open_ in gates.items()})

    def _positions(self) -> tuple[Tensor, ...]:
        """For query, key and value: (c, T, T), by the pixel that looks and the one looked at."""
        return torch.split(
            self.relative[:, self.offset], [self.key_width, self.key_width, self.value_width]
        )

    def similarities(self, query: Tensor, key: Tensor) -> tuple[Tensor, ...]:
        for_query, for_key, _ = self._positions()
        shape = (self.key_width, self.length)
        by_query = self._each_pixel(query, self.gates["query"] * for_query.transpose(0, 1), shape)
        by_key = self._each_pixel(key, self.gates["key"] * for_key.transpose(0, 1), shape)
        return *super().similarities(query, key), by_query, by_key.transpose(-1, -2)

    def contents(self, attention: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        for_value = self.gates["position"] * self._positions()[2].permute(1, 2, 0)
        by_position = self._each_pixel(attention, for_value, (self.length, self.value_width))
        return *super().contents(attention, self.gates["value"] * value), by_position

    def _each_pixel(self, x: Tensor, matrices: Tensor, shape: tuple[int, int]) -> Tensor:
        """Multiply row t of x (N, others, GROUPS, T, a) with matrix t of (T, a, b).

        One batched product, the pixel t being the batch.

        Args:
            shape: (a, b).
        """
        if shape[0] == 1:
            return x * matrices[:, 0]
        rows = x.permute(3, 0, 1, 2, 4).reshape(self.length, -1, shape[0])
        products = (rows @ matrices).reshape(self.length, -1, self.others, GROUPS, shape[1])
        return products.permute(1, 2, 3, 0, 4)


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

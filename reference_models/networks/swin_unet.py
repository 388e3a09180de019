"""Swin-Unet: a U-Net of transformer blocks that attend within windows.

H. Cao, Y. Wang, J. Chen, D. Jiang, X. Zhang, Q. Tian, M. Wang, "Swin-Unet: Unet-like Pure
Transformer for Medical Image Segmentation", ECCV 2022 Workshops, arXiv:2105.05537. Blocks: Z. Liu,
Y. Lin, Y. Cao, H. Hu, Y. Wei, Z. Zhang, S. Lin, B. Guo, "Swin Transformer: Hierarchical Vision
Transformer using Shifted Windows", ICCV 2021, arXiv:2103.14030. The paper starts from the weights
of Swin-T; here it starts fresh.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from reference_models.errors import UsageError
from reference_models.networks.blocks import SelfAttention, mlp

PATCH, WIDTH, HEADS, DEPTH = 4, 96, (3, 6, 12, 24), 2
LEVELS = len(HEADS)
MULTIPLE = PATCH * 2 ** (LEVELS - 1)
WINDOWS = range(8, 3, -1)  # published: 7 for 224 pixels, 8 for 256
DROP_PATH = 0.2  # of the deepest block; it rises evenly from 0

Grid = tuple[int, int]  # height and width in tokens


def window_for(size: tuple[int, int]) -> int:
    """The largest window that tiles every level of an image of `size` (height, width).

    Raises:
        UsageError: none from 4 to 8 tokens does.
    """
    deepest = math.gcd(*(side // MULTIPLE for side in size))
    for window in WINDOWS:
        if deepest % window == 0:
            return window
    fit = ", ".join(str(window * MULTIPLE) for window in reversed(WINDOWS))
    raise UsageError(
        f"This network cannot take {size[0]} x {size[1]} pixels.",
        f"Height and width must be multiples of one of {fit}.",
    )


def window_order(grid: Grid, window: int, offset: int) -> Tensor:
    """Token numbers (windows, window^2), after the grid was rolled back by `offset` each way."""
    numbers = torch.arange(grid[0] * grid[1]).reshape(grid)
    rolled = numbers.roll((-offset, -offset), (0, 1))
    tiles = rolled.reshape(grid[0] // window, window, grid[1] // window, window)
    return tiles.transpose(1, 2).reshape(-1, window * window)


def strangers(grid: Grid, window: int, offset: int) -> Tensor:
    """Which pairs of a rolled window are no neighbours: bool (windows, 1, window^2, window^2)."""

    def part(side: int) -> Tensor:
        """Along one axis: 0, and 1 and 2 for the two parts that meet in the last window."""
        token = torch.arange(side)
        return (token >= side - window).long() + (token >= side - offset).long()

    row, column = part(grid[0]), part(grid[1])
    regions = (3 * row[:, None] + column).flatten()
    tiles = regions[window_order(grid, window, 0)]
    return (tiles[:, None, :] != tiles[:, :, None])[:, None]


class WindowAttention(SelfAttention):
    """Attention in windows, with a learned bias for each offset between two tokens."""

    def __init__(self, width: int, heads: int, grid: Grid, *, window: int, offset: int) -> None:
        super().__init__(width, heads, (grid[0] * grid[1] // window**2, window**2))
        span = 2 * window - 1
        self.bias = nn.Parameter(nn.init.trunc_normal_(torch.empty(span**2, heads), std=0.02))
        corner = torch.stack(
            torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        ).flatten(1)
        row, column = corner[:, :, None] - corner[:, None, :] + window - 1
        self.between: Tensor
        self.hidden: Tensor | None
        self.register_buffer("between", row * span + column, persistent=False)
        self.register_buffer(
            "hidden", strangers(grid, window, offset) if offset else None, persistent=False
        )

    def adjust(self, likeness: Tensor) -> Tensor:
        likeness = likeness + self.bias[self.between].permute(2, 0, 1)
        return likeness if self.hidden is None else likeness.masked_fill(self.hidden, -math.inf)


class DropPath(nn.Module):
    """While training, drop a residual branch for some images, and scale it up for the others.

    G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Weinberger, "Deep Networks with Stochastic Depth", ECCV
    2016, arXiv:1603.09382.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.keep = 1 - probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = x.new_empty(x.shape[0], 1, 1).bernoulli_(self.keep)
        return x * kept / self.keep


class SwinBlock(nn.Module):
    """Window attention and MLP on tokens (N, T, C), each after a norm and beside the identity."""

    def __init__(
        self, level: int, grid: Grid, window: int, *, shifted: bool, drop_path: float
    ) -> None:
        super().__init__()
        width = WIDTH << level
        offset = window // 2 if shifted and min(grid) > window else 0
        order = window_order(grid, window, offset)
        self.order: Tensor
        self.back: Tensor
        self.register_buffer("order", order.flatten(), persistent=False)
        self.register_buffer("back", order.flatten().argsort(), persistent=False)
        self.tokens = (order.numel(), width)
        self.windows = (*order.shape, width)
        self.norm_attention = nn.LayerNorm(width)
        self.attention = WindowAttention(width, HEADS[level], grid, window=window, offset=offset)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = mlp(width, 4 * width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        # Rolling and cutting into windows is one reordering of the tokens.
        windows = self.norm_attention(x).index_select(1, self.order)
        attended = self.attention(windows.reshape(-1, *self.windows)).reshape(-1, *self.tokens)
        x = x + self.drop_path(attended.index_select(1, self.back))
        result: Tensor = x + self.drop_path(self.mlp(self.norm_mlp(x)))
        return result


def swin_blocks(level: int, grid: Grid, window: int) -> nn.Sequential:
    """The two blocks of a level; `grid` is that of the top level. The second shifts its windows."""
    here = (grid[0] >> level, grid[1] >> level)
    step = DROP_PATH / (LEVELS * DEPTH - 1)
    return nn.Sequential(
        *(
            SwinBlock(
                level,
                here,
                window,
                shifted=index % 2 == 1,
                drop_path=step * (level * DEPTH + index),
            )
            for index in range(DEPTH)
        )
    )


class PatchMerging(nn.Module):
    """Two by two tokens of width C become one of width 2 C."""

    def __init__(self, width: int, grid: Grid) -> None:
        super().__init__()
        self.grid, self.width = grid, width
        self.norm = nn.LayerNorm(4 * width)
        self.reduce = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.grid
        squares = x.reshape(-1, height // 2, 2, width // 2, 2, self.width)
        squares = squares.permute(0, 1, 3, 4, 2, 5)  # column before row, as in the paper's code
        merged = squares.reshape(-1, height * width // 4, 4 * self.width)
        reduced: Tensor = self.reduce(self.norm(merged))
        return reduced


class PatchExpanding(nn.Module):
    """One token becomes factor by factor tokens of width `outputs`."""

    def __init__(self, width: int, outputs: int, grid: Grid, *, factor: int) -> None:
        super().__init__()
        self.grid, self.outputs, self.factor = grid, outputs, factor
        self.expand = nn.Linear(width, factor**2 * outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.grid
        squares = self.expand(x).reshape(-1, height, width, self.factor, self.factor, self.outputs)
        tokens = squares.transpose(2, 3).reshape(-1, height * width * self.factor**2, self.outputs)
        normed: Tensor = self.norm(tokens)
        return normed


class SwinUnet(nn.Module):
    """Swin-Unet with two blocks a level, for images of one size.

    Args:
        in_channels: channels of the image.
        size: (height, width) of the image, such that windows of 4 to 8 tokens tile every level.
    """

    def __init__(self, in_channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        window = window_for(size)
        grid = (size[0] // PATCH, size[1] // PATCH)
        self.tokens = grid[0] * grid[1]
        levels = range(LEVELS)
        grids = [(grid[0] >> level, grid[1] >> level) for level in levels]
        widths = [WIDTH << level for level in levels]
        self.embed = nn.Conv2d(in_channels, WIDTH, PATCH, PATCH)
        self.norm_embedded = nn.LayerNorm(WIDTH)
        self.encoder = nn.ModuleList(swin_blocks(level, grid, window) for level in levels)
        self.merge = nn.ModuleList(
            PatchMerging(widths[level], grids[level]) for level in levels[:-1]
        )
        self.norm_deepest = nn.LayerNorm(widths[-1])
        upward = levels[-2::-1]
        self.expand = nn.ModuleList(
            PatchExpanding(widths[level + 1], widths[level], grids[level + 1], factor=2)
            for level in upward
        )
        self.fuse = nn.ModuleList(nn.Linear(2 * widths[level], widths[level]) for level in upward)
        self.decoder = nn.ModuleList(swin_blocks(level, grid, window) for level in upward)
        self.norm_decoded = nn.LayerNorm(WIDTH)
        self.to_pixels = PatchExpanding(WIDTH, WIDTH, grid, factor=PATCH)
        self.head = nn.Conv2d(WIDTH, 1, 1, bias=False)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images of the given size to (N, 1, H, W) logits."""
        embedded = self.embed(image).reshape(-1, WIDTH, self.tokens)
        x = self.norm_embedded(embedded.transpose(1, 2))
        skips = []
        for blocks, merge in zip(self.encoder, self.merge, strict=False):
            skips.append(x)
            x = merge(blocks(x))
        x = self.norm_deepest(self.encoder[-1](x))
        for expand, fuse, blocks in zip(self.expand, self.fuse, self.decoder, strict=True):
            x = blocks(fuse(torch.cat((expand(x), skips.pop()), dim=2)))
        x = self.to_pixels(self.norm_decoded(x))
        logits: Tensor = self.head(x.transpose(1, 2).reshape(-1, WIDTH, *self.size))
        return logits


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

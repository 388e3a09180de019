"""Names under which public backbones keep the weights of our encoders: one table a format.

Each table leads from a module of ours (or one parameter) to the public one of the same weights:

- ResNet-34 in torchvision and in timm, which agree;
- R50+ViT-B/16 of https://github.com/google-research/vision_transformer, an npz (its names after
  `transfer.from_flax`), and the same in timm as vit_base_r50_s16;
- Swin-T in its authors' file (https://github.com/microsoft/Swin-Transformer), timm and torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass

from reference_models.networks import swin_unet, transunet, unetpp

Table = dict[str, str]
_LAYER = ("norm_attention", "attention.qkv", "attention.out", "norm_mlp", "mlp.0", "mlp.3")


@dataclass(frozen=True)
class Format:
    """One public file format of one backbone.

    Args:
        name: for people.
        network: whose encoder it can start.
        marker: a name that only files of this format contain.
        table: from our modules to theirs.
    """

    name: str
    network: str
    marker: str
    table: Table


def _prefixed(ours: str, theirs: str, inner: Table) -> Table:
    return {f"{ours}.{own}": f"{theirs}.{public}" for own, public in inner.items()}


def _resnet_34() -> Table:
    block = {"convs.0": "conv1", "convs.1": "bn1", "convs.3": "conv2", "convs.4": "bn2"}
    block |= {"beside.0": "downsample.0", "beside.1": "downsample.1"}
    table = {"encoder.0.0": "conv1", "encoder.0.1": "bn1"}
    for level, blocks in enumerate(unetpp.BLOCKS, start=1):
        pooling = 1 if level == 1 else 0  # before the blocks of the first stage
        for index in range(blocks):
            ours = f"encoder.{level}.{index + pooling}"
            table |= _prefixed(ours, f"layer{level}.{index}", block)
    return table


def _bottleneck(conv: str, norm: str) -> Table:
    """The convolutions of a bottleneck, numbered from 1."""
    table: Table = {}
    for number, index in enumerate((0, 2, 4), start=1):
        table |= {f"convs.{index}.0": f"{conv}{number}", f"convs.{index}.1": f"{norm}{number}"}
    return table


def _layer(*public: str) -> Table:
    """A transformer layer: the public names of its six modules in the order of `_LAYER`."""
    return dict(zip(_LAYER, public, strict=True))


def _r50_vit(
    outer: tuple[str, ...], unit: str, units: Table, *, layer: str, layers: Table
) -> Table:
    """R50+ViT-B/16's names; `unit` is numbered by stage and block, `layer` by layer."""
    names = ("stem.0.0", "stem.0.1", *(f"transformer.{n}" for n in ("embed", "position", "norm")))
    table = dict(zip(names, outer, strict=True))
    for stage, blocks in enumerate(transunet.BLOCKS):
        for index in range(blocks):
            # Flax counts stages and units from 1 (fields 2 and 3 of the pattern), timm from 0.
            public = unit.format(stage, index, stage + 1, index + 1)
            table |= _prefixed(f"stages.{stage}.{index}", public, units)
    for index in range(transunet.LAYERS):
        table |= _prefixed(f"transformer.layers.{index}", layer.format(index), layers)
    return table


def _r50_vit_flax() -> Table:
    position, norm = "Transformer.posembed_input.pos_embedding", "Transformer.encoder_norm"
    attention = "MultiHeadDotProductAttention_1"
    projected = (f"{attention}.qkv", f"{attention}.out")
    dense = ("MlpBlock_3.Dense_0", "MlpBlock_3.Dense_1")
    return _r50_vit(
        ("conv_root", "gn_root", "embedding", position, norm),
        "block{2}.unit{3}",
        _bottleneck("conv", "gn") | {"beside.0": "conv_proj", "beside.1": "gn_proj"},
        layer="Transformer.encoderblock_{}",
        layers=_layer("LayerNorm_0", *projected, "LayerNorm_2", *dense),
    )


def _r50_vit_timm() -> Table:
    backbone = "patch_embed.backbone"
    stem = (f"{backbone}.stem.conv", f"{backbone}.stem.norm")
    beside = {"beside.0": "downsample.conv", "beside.1": "downsample.norm"}
    return _r50_vit(
        (*stem, "patch_embed.proj", "pos_embed", "norm"),
        backbone + ".stages.{0}.blocks.{1}",
        _bottleneck("conv", "norm") | beside,
        layer="blocks.{}",
        layers=_layer("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"),
    )


def _swin_t(
    embed: tuple[str, str], blocks: str, merge: str, *, mlp: tuple[str, str], step: int, offset: int
) -> Table:
    """Swin-T's names; `blocks` and `merge` are numbered by `step` times the level.

    The decoder starts from the encoder's blocks of the same level, as in Swin-Unet's code. Swin-T
    has six blocks in the third stage, Swin-Unet the first two of them.

    Args:
        offset: how many numbers after a level's blocks its merging comes.
    """
    block = _layer("norm1", "attn.qkv", "attn.proj", "norm2", *mlp)
    block["attention.bias"] = "attn.relative_position_bias_table"
    deepest = swin_unet.LEVELS - 1
    first = 1 if step == 2 else 0  # torchvision counts the embedding and each merging as a stage
    table = {"embed": embed[0], "norm_embedded": embed[1], "norm_deepest": "norm"}
    for level in range(swin_unet.LEVELS):
        number = first + step * level
        for index in range(swin_unet.DEPTH):
            theirs = blocks.format(number, index)
            table |= _prefixed(f"encoder.{level}.{index}", theirs, block)
            if level < deepest:
                table |= _prefixed(f"decoder.{deepest - 1 - level}.{index}", theirs, block)
        if level < deepest:
            merging = {"norm": "norm", "reduce": "reduction"}
            table |= _prefixed(f"merge.{level}", merge.format(number + offset), merging)
    return table


_TIMM = (("patch_embed.proj", "patch_embed.norm"), "layers.{}.blocks.{}", "layers.{}.downsample")
_FC = ("mlp.fc1", "mlp.fc2")
_VISION = (("features.0.0", "features.0.2"), "features.{}.{}", "features.{}")

# Tried in this order: timm's Swin has names of the authors' file, but merges one stage later.
_PATCHES = "patch_embed.backbone.stem.conv.weight"
_MERGED = "layers.{}.downsample.norm.weight"
_SWIN_AUTHORS, _SWIN_TIMM = (_swin_t(*_TIMM, mlp=_FC, step=1, offset=offset) for offset in (0, 1))
_SWIN_VISION = _swin_t(*_VISION, mlp=("mlp.0", "mlp.3"), step=2, offset=1)
FORMATS = (
    Format("ResNet-34 (torchvision, timm)", "unetpp", "layer1.0.conv1.weight", _resnet_34()),
    Format("R50+ViT-B/16 (npz)", "transunet", "conv_root.weight", _r50_vit_flax()),
    Format("R50+ViT-B/16 (timm)", "transunet", _PATCHES, _r50_vit_timm()),
    Format("Swin-T (timm)", "swin_unet", _MERGED.format(3), _SWIN_TIMM),
    Format("Swin-T (authors)", "swin_unet", _MERGED.format(0), _SWIN_AUTHORS),
    Format("Swin-T (torchvision)", "swin_unet", "features.1.0.attn.qkv.weight", _SWIN_VISION),
)

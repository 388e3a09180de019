"""Under which names do public backbones keep the weights of our encoders? One table a format.

Each table leads from a module of ours (or one parameter) to the public one of the same weights:

- ResNet-34 in torchvision and in timm, which agree;
- R50+ViT-B/16 of https://github.com/google-research/vision_transformer, an npz (its names after
  `weights.from_flax`), and the same in timm as vit_base_r50_s16;
- Swin-T in its authors' file (https://github.com/microsoft/Swin-Transformer), timm and torchvision.
"""

from __future__ import annotations

from dataclasses import dataclass

from reference_models.networks import swin_unet, transunet, unetpp

Table = dict[str, str]


@dataclass(frozen=True)
class Format:
    """One public file format of one backbone.

    Args:
        name: for people.
        network: whose encoder it can start.
        sign: a name that stands in files of this format alone.
        table: from our modules to theirs.
    """

    name: str
    network: str
    sign: str
    table: Table


def _prefixed(ours: str, theirs: str, inner: Table) -> Table:
    return {f"{ours}.{own}": f"{theirs}.{public}" for own, public in inner.items()}


def _resnet_34() -> Table:
    block = {"convs.0": "conv1", "convs.1": "bn1", "convs.3": "conv2", "convs.4": "bn2"}
    block |= {"beside.0": "downsample.0", "beside.1": "downsample.1"}
    table = {"encoder.0.0": "conv1", "encoder.0.1": "bn1"}
    for level, blocks in enumerate(unetpp.BLOCKS, start=1):
        pooling = 1 if level == 1 else 0  # it stands before the blocks of the first stage
        for index in range(blocks):
            ours = f"encoder.{level}.{index + pooling}"
            table |= _prefixed(ours, f"layer{level}.{index}", block)
    return table


def _bottleneck(conv: str, norm: str) -> Table:
    """The convolutions of a bottleneck, numbered from 1."""
    table: Table = {}
    for number, place in enumerate((0, 2, 4), start=1):
        table |= {f"convs.{place}.0": f"{conv}{number}", f"convs.{place}.1": f"{norm}{number}"}
    return table


def _r50_vit_flax() -> Table:
    unit = _bottleneck("conv", "gn") | {"beside.0": "conv_proj", "beside.1": "gn_proj"}
    layer = {
        "norm_attention": "LayerNorm_0",
        "attention.qkv": "MultiHeadDotProductAttention_1.qkv",
        "attention.out": "MultiHeadDotProductAttention_1.out",
        "norm_mlp": "LayerNorm_2",
        "mlp.0": "MlpBlock_3.Dense_0",
        "mlp.3": "MlpBlock_3.Dense_1",
    }
    table = {
        "stem.0.0": "conv_root",
        "stem.0.1": "gn_root",
        "transformer.embed": "embedding",
        "transformer.position": "Transformer.posembed_input.pos_embedding",
        "transformer.norm": "Transformer.encoder_norm",
    }
    for stage, blocks in enumerate(transunet.BLOCKS):
        for index in range(blocks):
            ours, theirs = f"stages.{stage}.{index}", f"block{stage + 1}.unit{index + 1}"
            table |= _prefixed(ours, theirs, unit)
    for index in range(transunet.LAYERS):
        theirs = f"Transformer.encoderblock_{index}"
        table |= _prefixed(f"transformer.layers.{index}", theirs, layer)
    return table


def _r50_vit_timm() -> Table:
    unit = _bottleneck("conv", "norm")
    unit |= {"beside.0": "downsample.conv", "beside.1": "downsample.norm"}
    layer = {
        "norm_attention": "norm1",
        "attention.qkv": "attn.qkv",
        "attention.out": "attn.proj",
        "norm_mlp": "norm2",
        "mlp.0": "mlp.fc1",
        "mlp.3": "mlp.fc2",
    }
    backbone = "patch_embed.backbone"
    table = {
        "stem.0.0": f"{backbone}.stem.conv",
        "stem.0.1": f"{backbone}.stem.norm",
        "transformer.embed": "patch_embed.proj",
        "transformer.position": "pos_embed",
        "transformer.norm": "norm",
    }
    for stage, blocks in enumerate(transunet.BLOCKS):
        for index in range(blocks):
            theirs = f"{backbone}.stages.{stage}.blocks.{index}"
            table |= _prefixed(f"stages.{stage}.{index}", theirs, unit)
    for index in range(transunet.LAYERS):
        table |= _prefixed(f"transformer.layers.{index}", f"blocks.{index}", layer)
    return table


def _swin_t(
    embed: tuple[str, str], blocks: str, merge: str, mlp: tuple[str, str], step: int, offset: int
) -> Table:
    """Swin-T's names; `blocks` and `merge` are numbered by `step` times the level.

    The decoder starts from the encoder's blocks of the same level, as in Swin-Unet's code. Swin-T
    has six blocks in the third stage, Swin-Unet the first two of them.

    Args:
        offset: how many numbers after a level's blocks its merging comes.
    """
    block = {
        "norm_attention": "norm1",
        "attention.qkv": "attn.qkv",
        "attention.out": "attn.proj",
        "attention.bias": "attn.relative_position_bias_table",
        "norm_mlp": "norm2",
        "mlp.0": mlp[0],
        "mlp.3": mlp[1],
    }
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
_VISION = (("features.0.0", "features.0.2"), "features.{}.{}", "features.{}", ("mlp.0", "mlp.3"))

# Tried in this order: timm's Swin has names of the authors' file, but merges one stage later.
FORMATS = (
    Format("ResNet-34 (torchvision, timm)", "unetpp", "layer1.0.conv1.weight", _resnet_34()),
    Format("R50+ViT-B/16 (npz)", "transunet", "conv_root.weight", _r50_vit_flax()),
    Format(
        "R50+ViT-B/16 (timm)", "transunet", "patch_embed.backbone.stem.conv.weight", _r50_vit_timm()
    ),
    Format(
        "Swin-T (timm)",
        "swin_unet",
        "layers.3.downsample.norm.weight",
        _swin_t(*_TIMM, _FC, step=1, offset=1),
    ),
    Format(
        "Swin-T (authors)",
        "swin_unet",
        "layers.0.downsample.norm.weight",
        _swin_t(*_TIMM, _FC, step=1, offset=0),
    ),
    Format(
        "Swin-T (torchvision)",
        "swin_unet",
        "features.1.0.attn.qkv.weight",
        _swin_t(*_VISION, step=2, offset=1),
    ),
)

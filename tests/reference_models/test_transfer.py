"""A training starts from what the file says; what is not loaded is named.

Public weights cannot be fetched by a test, so they are made here in their formats: names and
layouts as published.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.config import AugmentSettings, Config, InputSettings
from reference_models.errors import UsageError
from reference_models.networks import NETWORKS
from reference_models.networks.unetpp import UNetPlusPlus
from reference_models.optimisation import groups_of, is_encoder, rest
from reference_models.pipeline import Job, train
from reference_models.run import build_network
from reference_models.submission import Titles
from reference_models.transfer import Start, from_flax, read_start, write_weights
from tests.support.training_bundle import make_bundle

pytestmark = pytest.mark.slow

SMALL = InputSettings(height=32, width=32)


class PublicBlock(nn.Module):
    """A block of ResNet-34 with torchvision's names."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        beside = self.downsample(x) if hasattr(self, "downsample") else x
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + beside)


class PublicResNet34(nn.Module):
    """ResNet-34 up to its last feature, with torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for stage, (width, blocks) in enumerate(
            zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True), start=1
        ):
            parts = [PublicBlock(inputs, width, 1 if stage == 1 else 2)]
            parts += [PublicBlock(width, width, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*parts))
            inputs = width
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{stage}")(x)
        return x


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_resnet_34_computes_here_what_it_computes_there(tmp_path: Path, suffix: str) -> None:
    public = PublicResNet34().train()
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        public(image.expand(-1, 3, -1, -1))  # moves the running statistics
        expected = public.eval()(image.expand(-1, 3, -1, -1))
    path = tmp_path / f"resnet34{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": public.state_dict()}, path)
    else:
        safetensors.torch.save_file(public.state_dict(), path)
    config = Config(network="unetpp", input=SMALL)
    start = read_start(path, config)
    network = build_network(config).eval()
    assert isinstance(network, UNetPlusPlus)
    network.load_state_dict(start.weights, strict=False)
    found = image
    with torch.no_grad():
        for level in network.encoder:
            found = level(found)
    assert torch.allclose(found, expected, atol=1e-4)
    assert "ResNet-34" in start.report and "not used: fc.bias, fc.weight" in start.report
    assert all(name in start.weights for name in network.state_dict() if name[:8] == "encoder.")


def flax_r50_vit() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the published npz."""
    yield from [("conv_root/kernel", (7, 7, 3, 64)), ("cls", (1, 1, 768))]
    yield from [(f"gn_root/{leaf}", (1, 1, 1, 64)) for leaf in ("scale", "bias")]
    inputs = 64
    for block, (units, inner) in enumerate(((3, 64), (4, 128), (9, 256)), start=1):
        for unit in range(1, units + 1):
            at = f"block{block}/unit{unit}"
            outputs = 4 * inner
            kernels = [(1, 1, inputs, inner), (3, 3, inner, inner), (1, 1, inner, outputs)]
            for number, kernel in enumerate(kernels, start=1):
                yield f"{at}/conv{number}/kernel", kernel
                for leaf in ("scale", "bias"):
                    yield f"{at}/gn{number}/{leaf}", (1, 1, 1, kernel[-1])
            if unit == 1:
                yield f"{at}/conv_proj/kernel", (1, 1, inputs, outputs)
                for leaf in ("scale", "bias"):
                    yield f"{at}/gn_proj/{leaf}", (1, 1, 1, outputs)
            inputs = outputs
    yield from [("embedding/kernel", (1, 1, 1024, 768)), ("embedding/bias", (768,))]
    yield "Transformer/posembed_input/pos_embedding", (1, 197, 768)
    for layer in range(12):
        at = f"Transformer/encoderblock_{layer}"
        for part in ("query", "key", "value"):
            yield f"{at}/MultiHeadDotProductAttention_1/{part}/kernel", (768, 12, 64)
            yield f"{at}/MultiHeadDotProductAttention_1/{part}/bias", (12, 64)
        yield f"{at}/MultiHeadDotProductAttention_1/out/kernel", (12, 64, 768)
        yield f"{at}/MultiHeadDotProductAttention_1/out/bias", (768,)
        for number, (rows, columns) in enumerate(((768, 3072), (3072, 768))):
            yield f"{at}/MlpBlock_3/Dense_{number}/kernel", (rows, columns)
            yield f"{at}/MlpBlock_3/Dense_{number}/bias", (columns,)
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            yield from [(f"{at}/{norm}/{leaf}", (768,)) for leaf in ("scale", "bias")]
    yield from [(f"Transformer/encoder_norm/{leaf}", (768,)) for leaf in ("scale", "bias")]


def test_a_vision_transformer_attends_here_as_it_does_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: np.full(shape, 0.01, np.float32) for name, shape in flax_r50_vit()}
    at = "Transformer/encoderblock_3/MultiHeadDotProductAttention_1"
    for name in [name for name in arrays if name.startswith(at)]:
        arrays[name] = rng.normal(0, 0.05, arrays[name].shape).astype(np.float32)
    path = tmp_path / "R50+ViT-B_16.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]  # the stub takes keywords for options
    config = Config(network="transunet", input=SMALL)
    start = read_start(path, config)
    network: Any = build_network(config)
    network.load_state_dict(start.weights, strict=False)
    tokens = rng.normal(size=(1, 4, 768)).astype(np.float32)

    def project(part: str) -> NDArray[np.float32]:
        kernel, bias = arrays[f"{at}/{part}/kernel"], arrays[f"{at}/{part}/bias"]
        projected: NDArray[np.float32] = np.einsum("btc,chd->bhtd", tokens, kernel)
        return projected + bias[:, None]

    likeness = np.einsum("bhtd,bhsd->bhts", project("query"), project("key")) / 8
    weights = np.exp(likeness) / np.exp(likeness).sum(-1, keepdims=True)
    mixed = np.einsum("bhts,bhsd->bhtd", weights, project("value"))
    expected = np.einsum("bhtd,hdc->btc", mixed, arrays[f"{at}/out/kernel"])
    with torch.no_grad():
        found = network.get_submodule("transformer.layers.3.attention")(torch.from_numpy(tokens))
    assert np.allclose(found, expected + arrays[f"{at}/out/bias"], atol=1e-4)
    fresh = {name for name in network.state_dict() if name not in start.weights}
    assert not any(is_encoder("transunet", name) for name in fresh)
    assert "not used: cls;" in f"{start.report};" and "R50+ViT-B/16 (npz)" in start.report


def test_flax_kernels_keep_their_meaning() -> None:
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(5, 3)).astype(np.float32)
    conv = rng.normal(size=(1, 1, 5, 3)).astype(np.float32)
    found = from_flax({"a/kernel": dense, "b/kernel": conv})
    x = torch.from_numpy(rng.normal(size=(2, 5)).astype(np.float32))
    assert np.allclose(F.linear(x, found["a.weight"]), x.numpy() @ dense, atol=1e-6)
    mapped = F.conv2d(x[:, :, None, None], found["b.weight"])[:, :, 0, 0]
    assert np.allclose(mapped, x.numpy() @ conv[0, 0], atol=1e-6)


BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2")


def swin_t(kind: str) -> dict[str, Tensor]:
    """Swin-T's names and shapes as timm, its authors and torchvision publish them."""
    vision = kind == "torchvision"
    embed = ("features.0.0", "features.0.2") if vision else ("patch_embed.proj", "patch_embed.norm")
    shapes: dict[str, tuple[int, ...]] = {f"{embed[0]}.weight": (96, 3, 4, 4)}
    vectors = {f"{embed[0]}.bias": 96, f"{embed[1]}.weight": 96, f"{embed[1]}.bias": 96}
    for level, blocks in enumerate((2, 2, 6, 2)):
        width, heads = 96 << level, 3 << level
        for index in range(blocks):
            at = f"features.{2 * level + 1}.{index}" if vision else f"layers.{level}.blocks.{index}"
            fc = ("mlp.0", "mlp.3") if vision else ("mlp.fc1", "mlp.fc2")
            shapes[f"{at}.attn.relative_position_bias_table"] = (169, heads)
            shapes |= {
                f"{at}.attn.qkv.weight": (3 * width, width),
                f"{at}.attn.proj.weight": (width, width),
                f"{at}.{fc[0]}.weight": (4 * width, width),
                f"{at}.{fc[1]}.weight": (width, 4 * width),
            }
            vectors |= {f"{at}.attn.qkv.bias": 3 * width, f"{at}.attn.proj.bias": width}
            vectors |= {f"{at}.{fc[0]}.bias": 4 * width, f"{at}.{fc[1]}.bias": width}
            for norm in ("norm1", "norm2"):
                vectors |= {f"{at}.{norm}.weight": width, f"{at}.{norm}.bias": width}
        if level < 3:
            stage = {"timm": level + 1, "authors": level, "torchvision": 2 * level + 2}[kind]
            at = f"features.{stage}" if vision else f"layers.{stage}.downsample"
            shapes[f"{at}.reduction.weight"] = (2 * width, 4 * width)
            vectors |= {f"{at}.norm.weight": 4 * width, f"{at}.norm.bias": 4 * width}
    vectors |= {"norm.weight": 768, "norm.bias": 768, "head.bias": 1000}
    shapes |= {name: (length,) for name, length in vectors.items()}
    return {name: torch.rand(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("kind", ["timm", "authors", "torchvision"])
def test_swin_t_starts_all_of_the_encoder_and_the_decoders_blocks(
    tmp_path: Path, kind: str
) -> None:
    public = swin_t(kind)
    path = tmp_path / "swin.pth"
    torch.save({"model": public}, path)
    config = Config(network="swin_unet", input=InputSettings(height=128, width=128))
    start = read_start(path, config)
    names = build_network(config).state_dict().keys()
    assert f"Swin-T ({kind})" in start.report and "of another shape: none" in start.report
    assert not {n for n in names if is_encoder("swin_unet", n)} - start.weights.keys()
    assert not {n for n in names if n.startswith("decoder.")} - start.weights.keys()
    merge = {"timm": "layers.2.downsample", "authors": "layers.1.downsample"}
    reduction = public[f"{merge.get(kind, 'features.4')}.reduction.weight"]
    assert torch.equal(start.weights["merge.1.reduce.weight"], reduction)
    second = "features.5.1" if kind == "torchvision" else "layers.2.blocks.1"
    for ours in ("encoder.2.1", "decoder.0.1"):
        assert torch.equal(
            start.weights[f"{ours}.attention.out.bias"], public[f"{second}.attn.proj.bias"]
        )
    grey = public["features.0.0.weight" if kind == "torchvision" else "patch_embed.proj.weight"]
    assert torch.allclose(start.weights["embed.weight"], grey.sum(1, keepdim=True))
    assert start.weights["encoder.0.0.attention.bias"].shape == (49, 3)  # windows of 4, not 7


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_starts_whole_from_its_own_weights(tmp_path: Path, network: str) -> None:
    config = Config(network=network, input=InputSettings(height=128, width=128))
    weights = build_network(config).state_dict()
    write_weights(tmp_path / "own.safetensors", weights, config)
    start = read_start(tmp_path / "own.safetensors", config)
    assert start.weights.keys() == weights.keys()
    assert all(torch.equal(start.weights[name], value) for name, value in weights.items())


def test_weights_of_another_size_are_fitted(tmp_path: Path) -> None:
    small, large = (
        Config(network="transunet", input=InputSettings(height=side, width=side))
        for side in (32, 48)
    )
    weights = build_network(small).state_dict()
    rows = torch.arange(2.0).repeat_interleave(2)  # a ramp down the 2 x 2 grid
    weights["transformer.position"] = rows[None, :, None].expand(1, 4, 768).clone()
    write_weights(tmp_path / "own.safetensors", weights, small)
    found = read_start(tmp_path / "own.safetensors", large).weights["transformer.position"]
    assert found[0, :, 0].tolist() == [0.0] * 3 + [0.5] * 3 + [1.0] * 3


def test_grey_weights_start_a_network_of_three_channels(tmp_path: Path) -> None:
    grey = Config(network="unext", input=SMALL)
    colour = Config(network="unext", input=InputSettings(height=32, width=32, channels="rgb"))
    network = build_network(grey).eval()
    write_weights(tmp_path / "grey.safetensors", network.state_dict(), grey)
    started = build_network(colour).eval()
    started.load_state_dict(read_start(tmp_path / "grey.safetensors", colour).weights)
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.allclose(started(image.expand(-1, 3, -1, -1)), network(image), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("w.onnx", b"", "is no file of weights"),
        ("w.pth", b"not a pickle", "cannot be read as weights"),
        ("w.npz", b"PK", "cannot be read as weights"),
        ("w.safetensors", b"\xff" * 9, "cannot be read as weights"),
        ("w.safetensors", None, "cannot be read as weights"),
    ],
)
def test_a_file_without_weights_is_refused(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=complaint):
        read_start(tmp_path / name, Config(network="unext"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    unext = Config(network="unext")
    write_weights(tmp_path / "own.safetensors", build_network(unext).state_dict(), unext)
    with pytest.raises(UsageError, match="contains the weights of unext, not unet"):
        read_start(tmp_path / "own.safetensors", Config(network="unet"))
    torch.save({"foo": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"contains no weights for unetpp.*ResNet-34"):
        read_start(tmp_path / "w.pth", Config(network="unetpp"))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_names_its_encoder(network: str) -> None:
    names = [name for name, _ in build_network(Config(network=network)).named_parameters()]
    for prefix in NETWORKS[network].encoder:
        assert any(name.startswith(prefix) for name in names), prefix
    assert not all(is_encoder(network, name) for name in names)


def test_nothing_of_a_frozen_encoder_ever_changes() -> None:
    config = Config(network="unext", input=SMALL, freeze_epochs=2)
    network = build_network(config).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rest(network, config, epoch=1)
    optimiser = torch.optim.AdamW(groups_of(network, config), lr=0.1)
    network(torch.rand(2, 1, 32, 32)).mean().backward()
    optimiser.step()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) or not is_encoder("unext", name), name
    rest(network.train(), config, epoch=2)
    assert all(weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize(("factor", "rates"), [(1.0, [2e-3]), (0.1, [2e-4, 2e-3]), (0.0, [2e-3])])
def test_an_encoder_never_learns_faster_than_asked(factor: float, rates: list[float]) -> None:
    config = Config(network="unext", encoder_rate=factor)
    groups = groups_of(build_network(config), config)
    assert [group["lr"] for group in groups] == pytest.approx(rates)


def test_a_model_of_one_dataset_starts_that_of_another(tmp_path: Path) -> None:
    still = AugmentSettings(flip=0)
    config = Config(network="unext", input=SMALL, steps=2, batch=4, rate=1e-6, augment=still)
    said: list[str] = []
    for name, seed in (("first", 1), ("second", 2)):
        bundle = make_bundle(tmp_path / f"{name}-bundle", cases=10, seed=seed)
        start = tmp_path / "first-work" / "fold-0.safetensors" if name == "second" else None
        job = Job(
            config=config,
            bundle=bundle,
            out=tmp_path / name,
            titles=Titles("team", "unext"),
            work=tmp_path / f"{name}-work",
            device="cpu",
            threads=1,
            start=start,
        )
        train(job, [0], say=said.append)
    own = read_start(tmp_path / "first-work" / "fold-0.safetensors", config)
    tuned = read_start(tmp_path / "second-work" / "fold-0.safetensors", config)
    assert any("tensors loaded; fresh: none" in line for line in said)
    assert isinstance(own, Start)
    head = (own.weights["head.weight"] - tuned.weights["head.weight"]).abs().max()
    assert 0 < head < 1e-4  # it changed, and not by much

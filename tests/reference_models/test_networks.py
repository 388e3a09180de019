"""Networks are held to the counts of their papers' code."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reference_models.errors import UsageError
from reference_models.networks import NETWORKS, build

# name, input channels, image size, trainable parameters
COUNTS = [
    ("unet", 1, 224, 34_525_889),
    ("attention_unet", 1, 224, 34_877_421),
    ("unet_plus_plus", 1, 224, 26_897_865),
    ("unet_3_plus", 1, 224, 26_970_625),
    ("cmu_net", 1, 224, 49_931_201),
    ("transunet", 1, 224, 105_275_921),
    ("transunet", 1, 256, 105_322_001),
    ("cmunext", 1, 224, 3_148_897),
    ("cmunext_s", 1, 224, 417_361),
    ("cmunext_l", 3, 224, 8_286_721),
    ("unext", 1, 224, 1_471_633),
]
# name, millions of parameters with three input channels
MILLIONS = [
    ("unet", 34.527),
    ("attention_unet", 34.879),
    ("unet_plus_plus", 26.904),
    ("unet_3_plus", 26.972),
    ("cmu_net", 49.932),
    ("cmunext", 3.149),
    ("cmunext_s", 0.418),
    ("cmunext_l", 8.287),
    ("unext", 1.472),
]
# name, convolutions and matrix products in 10^9 multiply-adds at 224 and at 256
GMACS = [
    ("unet", 49.97, 65.27),
    ("attention_unet", 50.80, 66.35),
    ("unet_plus_plus", 28.65, 37.42),
    ("unet_3_plus", 151.27, 197.58),
    ("cmu_net", 69.57, 90.86),
    ("transunet", 29.17, 38.38),
    ("cmunext", 5.52, 7.21),
    ("unext", 0.416, 0.543),
]


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(("name", "channels", "size", "expected"), COUNTS)
def test_no_network_has_other_parameters_than_its_paper(
    name: str, channels: int, size: int, expected: int
) -> None:
    with torch.device("meta"):
        assert parameters(build(name, channels, size)) == expected


@pytest.mark.parametrize(("name", "published"), MILLIONS)
def test_three_channels_agree_with_the_published_millions(name: str, published: float) -> None:
    with torch.device("meta"):
        assert round(parameters(build(name, 3)) / 1e6, 3) == published


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        (name, size, cost)
        for name, *costs in GMACS
        for size, cost in zip((224, 256), costs, strict=True)
    ],
)
def test_no_network_costs_more_or_less_than_its_paper(
    name: str, size: int, expected: float
) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        build(name, image_size=size).eval()(torch.zeros(1, 1, size, size))
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("batch", "channels", "height", "width"), [(2, 1, 32, 64), (3, 2, 64, 32)])
def test_the_logits_never_have_another_size_than_the_images(
    name: str, batch: int, channels: int, height: int, width: int
) -> None:
    network = build(name, channels, (height, width)).eval()
    with torch.no_grad():
        logits = network(torch.rand(batch, channels, height, width))
    assert logits.shape == (batch, 1, height, width)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_a_gradient(name: str) -> None:
    network = build(name, image_size=32)
    network(torch.rand(2, 1, 32, 32)).square().sum().backward()
    without = [label for label, weight in network.named_parameters() if weight.grad is None]
    assert not without


def test_an_unknown_network_is_refused_and_the_nearest_is_named() -> None:
    with pytest.raises(UsageError, match="Did you mean 'cmunext'"):
        build("cmunxt")


@pytest.mark.parametrize("size", [200, (224, 230), 0])
def test_a_size_that_the_network_cannot_take_is_refused_with_one_that_fits(
    size: int | tuple[int, int],
) -> None:
    with pytest.raises(UsageError, match="multiples of 16: try"):
        build("cmunext", image_size=size)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_of_a_wrong_size_is_refused_before_it_fails_inside(name: str) -> None:
    network = build(name, image_size=64)
    with pytest.raises(UsageError, match="cannot take 40 x 64 pixels"):
        network(torch.rand(1, 1, 40, 64))


def test_no_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="0 input channels"):
        build("cmunext", in_channels=0)


def test_a_shift_never_wraps_around() -> None:
    from reference_models.networks.unext import Shift  # noqa: PLC0415

    x = torch.rand(1, 6, 7, 10)
    for dim in (1, 2):
        moved = Shift(10, dim)(x)
        for channel in range(10):
            offset = channel // 2 - 2
            expected = torch.zeros_like(x[0, ..., channel])
            source = x[0, ..., channel] if dim == 1 else x[0, ..., channel].T
            target = expected if dim == 1 else expected.T
            length = source.shape[0]
            low, high = max(0, offset), min(length, length + offset)
            target[low:high] = source[low - offset : high - offset]
            assert torch.equal(moved[0, ..., channel], expected)

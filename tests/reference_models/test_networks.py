"""Networks are held to the counts of their papers' code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reference_models.batches import Batches
from reference_models.config import Config, InputSettings
from reference_models.data import load_cases, open_bundle
from reference_models.errors import UsageError
from reference_models.machine import Machine
from reference_models.networks import NETWORKS, attention_by_lines, axial, build
from reference_models.networks.medt import MedT
from reference_models.trainer import FoldPaths, train_fold

pytestmark = pytest.mark.slow

# name, input channels, image size, trainable parameters
COUNTS = [
    ("unet", 1, 224, 34_525_889),
    ("attention_unet", 1, 224, 34_877_421),
    ("unetpp", 1, 224, 26_897_865),
    ("unet3plus", 1, 224, 26_970_625),
    ("cmunet", 1, 224, 49_931_201),
    ("transunet", 1, 224, 105_275_921),
    ("transunet", 1, 256, 105_322_001),
    ("swin_unet", 1, 224, 27_165_060),
    ("medt", 1, 128, 1_553_050),
    ("medt", 1, 224, 1_556_122),
    ("medt", 1, 256, 1_557_146),
    ("cmunext", 1, 224, 3_148_897),
    ("cmunext_s", 1, 224, 417_361),
    ("cmunext_l", 3, 224, 8_286_721),
    ("unext", 1, 224, 1_471_633),
    ("ukan", 1, 224, 25_358_689),
    ("ukan", 3, 224, 25_359_265),
    ("ukan_s", 1, 224, 6_356_401),
]
# name, millions of parameters with three input channels
MILLIONS = [
    ("unet", 34.527),
    ("attention_unet", 34.879),
    ("unetpp", 26.904),
    ("unet3plus", 26.972),
    ("cmunet", 49.932),
    ("cmunext", 3.149),
    ("cmunext_s", 0.418),
    ("cmunext_l", 8.287),
    ("unext", 1.472),
]
# name, convolutions and matrix products in 10^9 multiply-adds at 224 and at 256
GMACS = [
    ("unet", 49.97, 65.27),
    ("attention_unet", 50.80, 66.35),
    ("unetpp", 28.65, 37.42),
    ("unet3plus", 151.27, 197.58),
    ("cmunet", 69.57, 90.86),
    ("transunet", 29.17, 38.38),
    ("swin_unet", 6.06, 8.00),
    # 1.88 and 2.28 with the 16 patches of the paper's code; here patches cover the image. Gated
    # attention over two channels a head is multiplied and added, which the counter does not see.
    (
        "medt",
        1.88 + (49 - 16) * 0.05265 - 12 * 8 * (112**3 + 56**3) / 1e9,
        2.28 + (64 - 16) * 0.05265 - 12 * 8 * (128**3 + 64**3) / 1e9,
    ),
    ("cmunext", 5.52, 7.21),
    ("unext", 0.416, 0.543),
    ("ukan", 8.02, 10.48),
    ("ukan_s", 2.01, 2.63),
]


def smallest(name: str) -> int:
    """A side that the network takes and that is quick."""
    return 128 if name == "swin_unet" else 32


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(("name", "channels", "size", "expected"), COUNTS)
def test_no_network_has_other_parameters_than_its_paper(
    name: str, channels: int, size: int, expected: int
) -> None:
    with torch.device("meta"):
        assert parameters(build(name, channels, size)) == expected


def test_swin_unet_at_256_has_the_millions_of_windows_of_8() -> None:
    with torch.device("meta"):
        assert round(parameters(build("swin_unet", 1, 256)) / 1e6, 2) == 27.17


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
    with torch.device("meta"), torch.no_grad():
        network, image = build(name, image_size=size).eval(), torch.zeros(1, 1, size, size)
        with FlopCounterMode(display=False) as counter:
            network(image)
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("batch", "channels", "turned"), [(2, 1, False), (3, 2, True)])
def test_the_logits_never_have_another_size_than_the_images(
    name: str, batch: int, channels: int, turned: bool
) -> None:
    side = smallest(name)
    height, width = (2 * side, side) if turned else (side, 2 * side)
    network = build(name, channels, (height, width)).eval()
    with torch.no_grad():
        logits = network(torch.rand(batch, channels, height, width))
    assert logits.shape == (batch, 1, height, width)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_that_is_not_said_to_be_idle_has_a_gradient(name: str) -> None:
    side = smallest(name)
    network = build(name, image_size=side)
    network(torch.rand(2, 1, side, side)).square().sum().backward()
    without = {key: value for key, value in network.named_parameters() if value.grad is None}
    # Softmax ignores what all similarities of a pixel share, and so the bias of their norm.
    without = {key: value for key, value in without.items() if "similarity.bias" not in key}
    assert all("idle" in key for key in without)
    assert sum(value.numel() for value in without.values()) == (35_553 if name == "medt" else 0)


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
    side = smallest(name)
    network = build(name, image_size=side)
    with pytest.raises(UsageError, match=f"cannot take 40 x {side} pixels"):
        network(torch.rand(1, 1, 40, side))


@pytest.mark.parametrize("name", ["transunet", "swin_unet", "medt"])
def test_a_network_made_for_one_size_never_takes_another_that_it_could_be_made_for(
    name: str,
) -> None:
    network = build(name, image_size=128)
    with pytest.raises(UsageError, match="It was made for 128 x 128"):
        network(torch.rand(1, 1, 256, 256))


@pytest.mark.parametrize("size", [32, 96, 352, (224, 256)])
def test_a_size_that_no_window_tiles_is_refused_with_those_that_fit(
    size: int | tuple[int, int],
) -> None:
    with pytest.raises(UsageError, match="multiples of one of 128, 160, 192, 224, 256"):
        build("swin_unet", image_size=size)


def test_no_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="0 input channels"):
        build("cmunext", in_channels=0)


def test_a_shift_never_wraps_around() -> None:
    from reference_models.networks.unext import Shift  # noqa: PLC0415

    x = torch.rand(1, 6, 7, 10)
    for dim in (1, 2):
        shifted = Shift(10, dim)(x)
        for channel in range(10):
            offset = channel // 2 - 2
            expected = torch.zeros_like(x[0, ..., channel])
            source = x[0, ..., channel] if dim == 1 else x[0, ..., channel].T
            target = expected if dim == 1 else expected.T
            length = source.shape[0]
            low, high = max(0, offset), min(length, length + offset)
            target[low:high] = source[low - offset : high - offset]
            assert torch.equal(shifted[0, ..., channel], expected)


def test_the_splines_of_u_kan_never_differ_from_scipy() -> None:
    from scipy.interpolate import BSpline  # noqa: PLC0415

    from reference_models.networks.ukan import KANLinear  # noqa: PLC0415

    x = np.linspace(-2.5, 2.5, 501)
    knots = np.arange(-3, 9) * 0.4 - 1  # an interval of 0.4 on [-1, 1], three more at either end
    expected = np.stack([BSpline(knots, row, 3)(x) for row in np.eye(8)], axis=1)
    inside = (x >= -1) & (x <= 1)  # beyond, SciPy extrapolates
    found = KANLinear(2, 2).bases(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-6)
    elements = [BSpline.basis_element(knots[k : k + 5], extrapolate=False)(x) for k in range(8)]
    np.testing.assert_allclose(found, np.nan_to_num(np.stack(elements, axis=1)), atol=1e-6)


@pytest.mark.parametrize("corner", [0, -1])
def test_shifted_windows_never_join_opposite_borders(corner: int) -> None:
    """Windows of 4 on 8 x 8 tokens, rolled by 2: a corner sees the 2 x 2 tokens of its own corner.

    Shifting makes windows of tokens 2 to 5 and of 6, 7, 0 and 1; the last are two pairs.
    """
    from reference_models.networks.swin_unet import SwinBlock  # noqa: PLC0415

    block = SwinBlock(0, (8, 8), 4, shifted=True, drop_path=0.0)
    tokens = torch.rand(1, 64, 96, requires_grad=True)
    block(tokens)[0, corner].sum().backward()
    assert tokens.grad is not None
    reached = tokens.grad.abs().sum(dim=2).reshape(8, 8) > 0
    near = slice(0, 2) if corner == 0 else slice(6, 8)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[near, near] = True
    assert torch.equal(reached, expected)


@pytest.mark.parametrize("shifted", [False, True])
def test_reordering_tokens_never_differs_from_rolling_and_cutting(shifted: bool) -> None:
    from reference_models.networks.swin_unet import window_order  # noqa: PLC0415

    offset = 2 if shifted else 0
    image = torch.rand(8, 12)
    rolled = torch.roll(image, (-offset, -offset), (0, 1))
    windows = rolled.unfold(0, 4, 4).unfold(1, 4, 4).reshape(-1, 16)
    assert torch.equal(image.flatten()[window_order((8, 12), 4, offset)], windows)


@pytest.mark.parametrize("channels", [16, 32])
@pytest.mark.parametrize("axis", [2, 3])
def test_gated_axial_attention_never_differs_from_its_formula(channels: int, axis: int) -> None:
    """The paper's equation, written with sums over every pair of pixels of a row or column."""
    torch.manual_seed(0)
    layer: Any = axial.GatedAxialAttention(channels, (4, 6), axis).eval()
    for norm in (layer.norm_qkv, layer.norm_similarity, layer.norm_content):
        for values in (norm.weight, norm.bias, norm.running_mean):
            assert values is not None
            nn.init.normal_(values)
    x = torch.randn(3, channels, 4, 6)
    lines = x.permute(0, 3, 1, 2) if axis == 2 else x.permute(0, 2, 1, 3)  # N, others, C, T
    wide = layer.norm_qkv(layer.qkv(x))
    wide = wide.permute(0, 3, 1, 2) if axis == 2 else wide.permute(0, 2, 1, 3)
    count, each, length = lines.shape[0] * lines.shape[1], channels // 8, lines.shape[3]
    wide = wide.reshape(count, 8, 2 * each, length)
    q, k, v = wide[:, :, : each // 2], wide[:, :, each // 2 : each], wide[:, :, each:]
    offsets = torch.arange(length)[:, None] - torch.arange(length) + length - 1
    r = layer.relative[:, offsets]
    rq, rk, rv = r[: each // 2], r[each // 2 : each], r[each:]
    gates = layer.gates
    terms = torch.cat(
        [
            torch.einsum("bgci,bgcj->bgij", q, k),
            gates["query"] * torch.einsum("bgci,cij->bgij", q, rq),
            gates["key"] * torch.einsum("bgcj,cji->bgij", k, rk),
        ],
        dim=1,
    )
    likeness = layer.norm_similarity(terms).reshape(count, 3, 8, length, length).sum(dim=1)
    attention = likeness.softmax(dim=3)
    content = torch.stack(
        [
            gates["value"] * torch.einsum("bgij,bgcj->bgci", attention, v),
            gates["position"] * torch.einsum("bgij,cij->bgci", attention, rv),
        ],
        dim=3,
    ).reshape(count, 2 * channels, length, 1)
    found = layer.norm_content(content).reshape(*lines.shape[:2], channels, 2, length).sum(dim=3)
    expected = found.permute(0, 2, 3, 1) if axis == 2 else found.permute(0, 2, 1, 3)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_gated_attention_never_differs_from_finite_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eleven lines of five pixels, taken four at a time."""
    monkeypatch.setattr(attention_by_lines, "CHUNK_CPU", 4 * 5**2)
    torch.manual_seed(0)
    shapes = [(11, 2, 5)] * 4 + [(11, 4, 5)] + [(2, 5, 5)] * 2 + [(4, 5, 5)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(attention_by_lines.ByLines.apply, inputs)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("length", [5, attention_by_lines.SHORT])
def test_attention_of_short_lines_never_differs_from_softmax(channels: int, length: int) -> None:
    torch.manual_seed(0)
    shapes = [(3, width, length) for width in (channels, channels, 2 * channels)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    query, key, value = inputs
    attention = torch.einsum("bci,bcj->bij", query, key).softmax(dim=2)
    expected = torch.einsum("bij,bcj->bci", attention, value)
    torch.testing.assert_close(attention_by_lines.ShortLines.apply(*inputs), expected)
    assert torch.autograd.gradcheck(attention_by_lines.ShortLines.apply, inputs)


@pytest.mark.parametrize("shape", [(3, 8, 1, 7), (5, 8, 2, 4)])
def test_sums_over_pairs_never_differ_from_those_of_every_pair(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, *shape, dtype=torch.float64)
    places = torch.randn(shape[2], shape[3], shape[3], dtype=torch.float64)
    pairs = {
        axial.products(query, key): torch.einsum("lgci,lgcj->lgij", query, key),
        axial.lookups(query, places): torch.einsum("lgci,cij->lgij", query, places),
    }
    for (total, squares), every in pairs.items():
        torch.testing.assert_close(total, every.sum(dim=(0, 2, 3)))
        torch.testing.assert_close(squares, every.square().sum(dim=(0, 2, 3)))


@pytest.mark.parametrize("kind", [axial.AxialAttention, axial.GatedAxialAttention])
def test_the_norm_of_similarities_never_remembers_other_statistics_than_batch_norm(
    kind: type[axial.AxialAttention],
) -> None:
    torch.manual_seed(0)
    layer = kind(32, (4, 6), axial.WIDTH)
    seen: list[torch.Tensor] = []
    layer.norm_qkv.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    layer(torch.randn(3, 32, 4, 6))
    rows = seen[0].permute(0, 2, 1, 3).reshape(-1, 8, 8, 6)
    query, key, _ = rows.split([2, 2, 4], dim=2)
    terms = [torch.einsum("lgci,lgcj->lgij", query, key)]
    if isinstance(layer, axial.GatedAxialAttention):
        own, other, _ = layer._positions()
        terms.append(0.1 * torch.einsum("lgci,cij->lgij", query, own))
        terms.append(0.1 * torch.einsum("lgcj,cji->lgij", key, other))
    expected = nn.BatchNorm2d(8 * len(terms))
    expected(torch.cat(terms, dim=1))
    for name, value in expected.named_buffers():
        torch.testing.assert_close(layer.norm_similarity.get_buffer(name), value)


def test_medt_never_mixes_its_patches_up() -> None:
    network = build("medt", image_size=(64, 96)).eval()
    assert isinstance(network, MedT)
    image = torch.rand(2, 1, 64, 96)
    joined = network._joined(network.patches(network._cut(image)))
    for row, column in ((0, 0), (1, 0), (1, 2)):
        rows, columns = slice(32 * row, 32 * row + 32), slice(32 * column, 32 * column + 32)
        alone = network.patches(image[:, :, rows, columns])
        torch.testing.assert_close(joined[:, :, rows, columns], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opens", [2, 10])
def test_the_gates_of_medt_never_move_before_their_epoch(
    opens: int, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve steps of four cases are three passes over a fold's sixteen."""
    monkeypatch.setattr("reference_models.networks.medt.GATES_FROM", opens)
    size = InputSettings(height=32, width=32)
    config = Config(network="medt", input=size, steps=12, batch=4, keep="last")
    machine = Machine(torch.device("cpu"), torch.float32)
    batches = Batches(config, load_cases(open_bundle(bundle_path), size), machine)
    paths = FoldPaths.under(tmp_path, 0)
    trained = train_fold(config, batches, 0, machine=machine, paths=paths, fingerprint="", start={})
    keys = [value for name, value in trained.weights.items() if name.endswith("gates.key")]
    assert len(keys) == 6
    assert all((value == 0.1) == (opens == 10) for value in keys)

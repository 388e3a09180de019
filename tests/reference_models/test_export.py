"""An exported graph agrees with PyTorch at every batch size, is compact, and passes the gate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from evaluator.documents.input_spec import InputSpec
from evaluator.gate import inspect
from evaluator.inference.separable import is_separable
from reference_models.data import BILINEAR, letterbox
from reference_models.errors import TrainingError
from reference_models.export import OPSET, TOLERANCE, Exported, export_network
from reference_models.networks import build
from reference_models.networks.ukan import KANLinear
from reference_models.networks.unext import UNeXt
from tests.support.corpus.honest import submission
from tests.support.training_bundle import ellipse

pytestmark = pytest.mark.slow

# name: side of the images it is exported for, and the most nodes that its graph may have. Sides are
# small, for speed; at 224 the same is measured by `python -m benchmarks.networks`.
NETWORKS = {
    "unet": (64, 100),
    "attention_unet": (64, 100),
    "unetpp": (64, 250),
    "unet3plus": (48, 110),
    "cmunet": (64, 200),
    "cmunext": (64, 260),
    "unext": (64, 350),
    "ukan": (64, 650),
    "transunet": (64, 1_100),
    "swin_unet": (224, 1_500),
    "medt": (128, 1_500),
}


def phantoms(side: int) -> Tensor:
    """Five images (5, 1, side, side) with a lesion each."""
    rng = np.random.default_rng(0)
    images = [ellipse(rng, empty=False)[0] for _ in range(5)]
    boxed = [letterbox(one, (side, side), BILINEAR) for one in images]
    return torch.from_numpy(np.stack(boxed)).float()[:, None] / 255


def real_images(folder: Path, side: int) -> Tensor:
    """Five images (5, 1, side, side) of BUS-BRA."""
    paths = sorted((folder / "BUSBRA" / "Images").glob("*.png"))[::100][:5]
    boxed = [
        letterbox(np.asarray(Image.open(path).convert("L")), (side, side), BILINEAR)
        for path in paths
    ]
    return torch.from_numpy(np.stack(boxed)).float()[:, None] / 255


def as_if_trained(network: nn.Module) -> nn.Module:
    """Move every weight and statistic: equal ones, as norms begin with, are exported only once."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.02)
        for name, value in network.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
    return network


def cost(network: nn.Module, side: int) -> tuple[int, float]:
    """Parameters that an image passes, and GMACs, as PyTorch counts them.

    Both are held to the papers' numbers elsewhere.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 1, side, side))
    used = (value.numel() for key, value in network.named_parameters() if "idle" not in key)
    return sum(used), counter.get_total_flops() / 2e9


@dataclass(frozen=True)
class Pair:
    """A network and its export."""

    name: str
    side: int
    network: nn.Module
    exported: Exported


@pytest.fixture(scope="module", params=NETWORKS)
def pair(request: pytest.FixtureRequest) -> Pair:
    side, _ = NETWORKS[request.param]
    torch.manual_seed(0)
    network = as_if_trained(build(request.param, image_size=side))
    return Pair(request.param, side, network, export_network(network, phantoms(side), {}))


def test_no_network_has_to_run_one_image_at_a_time(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(pair.exported.data)
    assert is_separable(
        tmp_path / "model.onnx", InputSpec(height=pair.side, width=pair.side, resize="letterbox")
    )


def test_no_network_is_exported_as_another_than_it_is(pair: Pair, tmp_path: Path) -> None:
    parameters, gmacs = cost(pair.network, pair.side)
    with torch.no_grad():
        spread = float(pair.network(phantoms(pair.side)).std())
    assert pair.exported.difference is not None
    assert pair.exported.difference <= min(TOLERANCE, spread / 100)

    model = onnx.load_model_from_string(pair.exported.data)
    assert pair.exported.nodes <= NETWORKS[pair.name][1]
    assert {"Einsum", "Loop", "ScatterND"}.isdisjoint(node.op_type for node in model.graph.node)

    declared = submission(tmp_path, pair.exported.data, opset=OPSET, size=pair.side)
    (passed,) = inspect(tmp_path, declared).models
    assert passed.nodes == pair.exported.nodes
    kan = (layer for layer in pair.network.modules() if isinstance(layer, KANLinear))
    parameters -= sum(layer.factor.numel() for layer in kan)  # multiplied into their splines
    # Batch norms are folded into convolutions, and group norms are written with constants of ones;
    # masks and places of shifted windows are constants, too.
    assert 0.995 * parameters <= passed.parameters <= 1.02 * parameters
    assert passed.gmacs == pytest.approx(gmacs, rel=1e-6)


def test_no_real_image_gets_another_mask_than_from_pytorch(pair: Pair, real_data: Path) -> None:
    images = real_images(real_data, pair.side)
    session = onnxruntime.InferenceSession(pair.exported.data, providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        with torch.no_grad():
            expected = pair.network(images[:count])
        (logits,) = session.run(None, {"image": images[:count].numpy()})
        found = torch.from_numpy(logits)
        assert (found - expected).abs().max() <= 1e-4, count
        far = (expected.sigmoid() - 0.5).abs() > 1e-4
        assert far.float().mean() > 0.9, count
        assert torch.equal((found > 0)[far], (expected > 0)[far]), count


class _BakesTheBatch(nn.Module):
    """Its window count is a number of the graph, as in a careless window partition."""

    def forward(self, image: Tensor) -> Tensor:
        rolled = image.roll(1, 0) if len(image) == 2 else image
        return rolled * 1.5


def test_a_graph_that_is_wrong_at_another_batch_size_never_leaves() -> None:
    with pytest.raises(TrainingError, match="answers differ"):
        export_network(_BakesTheBatch(), torch.rand(5, 1, 8, 8), {})


def test_a_confident_network_is_not_refused_for_bits_that_float32_does_not_hold() -> None:
    torch.manual_seed(0)
    network, images = as_if_trained(build("unext")).eval(), phantoms(64)
    assert isinstance(network, UNeXt) and network.head.bias is not None
    with torch.no_grad():
        network.head.weight *= 300 / network(images).abs().max()
        network.head.bias.zero_()
        expected = network(images)
    exported = export_network(network, images, {})
    session = onnxruntime.InferenceSession(exported.data, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": images.numpy()})
    assert np.abs(found - expected.numpy()).max() > TOLERANCE
    assert exported.difference is not None and exported.difference <= TOLERANCE


class _Pads(nn.Module):
    def __init__(self, mode: str, value: float | None) -> None:
        super().__init__()
        self.mode, self.value = mode, value

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.pad(image, (1, 1, 1, 1), mode=self.mode, value=self.value)


@pytest.mark.parametrize(("mode", "value"), [("reflect", None), ("constant", 1.0)])
def test_a_padding_by_anything_but_zeros_is_refused_rather_than_exported_as_zeros(
    mode: str, value: float | None
) -> None:
    with pytest.raises(TrainingError, match="zeros"):
        export_network(_Pads(mode, value), torch.rand(5, 1, 8, 8), {})

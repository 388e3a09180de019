"""Small sealed test sets and small ONNX networks for the tests of inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyrage
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from evaluator.documents.base import read, write
from evaluator.documents.inference import CountedModel, GateVerdict, Runtime
from evaluator.documents.input_spec import InputSpec, Spacing
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.errors import Code
from evaluator.files import sha256_bytes
from evaluator.inference.backends import InferSettings
from evaluator.inference.infer import infer
from evaluator.inference.placement import place
from evaluator.inference.preprocessing import to_packed_masks
from evaluator.predictions import RUNTIME, bits_file, read_packed, unpack
from evaluator.progress import Progress, quiet
from evaluator.sealed import seal_archive

SIZE = 64
NATIVE: dict[str, Any] = {"mode": "native", "height": None, "width": None, "resize": None}


def network(
    nodes: Sequence[onnx.NodeProto], stored: Sequence[onnx.TensorProto] = (), batch: Any = "n"
) -> bytes:
    """An ONNX file from `x` (batch, 1, H, W) to `y`."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, "k", "h", "w"])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def echo(batch: Any = "n") -> bytes:
    """A network that gives back the image that it sees."""
    return network([helper.make_node("Identity", ["x"], ["y"])], batch=batch)


def mask_of(
    maps: NDArray[np.float32],
    native: tuple[int, ...],
    inputs: InputSpec,
    *,
    outputs: OutputSpec,
    spacing: Spacing = None,
) -> NDArray[np.bool_]:
    """The mask (H, W) that the maps (K, height, width) of one image become."""
    height, width = native
    spot = place(height, width, inputs, spacing=spacing)
    (packed,) = to_packed_masks(maps[None], [(height, width)], [spot], spec=outputs)
    return unpack(packed, height, width)


def blur(weights: int = 5) -> bytes:
    """Convolutions with seeded weights, as logits."""
    rng = np.random.default_rng(weights)
    shapes = {"w1": (8, 1, 3, 3), "w2": (8, 8, 3, 3), "w3": (1, 8, 1, 1)}
    stored = [
        numpy_helper.from_array(rng.normal(0, 0.5, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w3"], ["y"]),
    ]
    return network(nodes, stored)


def half_ends(result: int = TensorProto.FLOAT16, *, size: int | str = "side") -> bytes:
    """A convolution in float16 that takes float16."""
    weight = np.random.default_rng(0).normal(0, 1, (1, 1, 3, 3)).astype(np.float16)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["c"], ["y"], "cast", to=result),
    ]
    graph = helper.make_graph(
        nodes,
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 1, size, size])],
        [helper.make_tensor_value_info("y", result, ["n", 1, size, size])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


def dice_rolling() -> bytes:
    """A network that gives noise; the gate would refuse it."""
    return network([helper.make_node("RandomNormalLike", ["x"], ["y"])])


@dataclass(frozen=True)
class Stage:
    """Everything that an infer stage reads, and where it writes."""

    folder: Path
    submission: Submission
    images: Path
    key: Path
    out: Path
    verdict: GateVerdict

    def infer(
        self, progress: Progress = quiet, *, probabilities: bool = False, **settings: Any
    ) -> dict[str, NDArray[np.bool_]]:
        """Run the stage; the masks of the first model by case id."""
        predictions = infer(
            self.folder,
            self.verdict,
            self.out,
            images=self.images,
            key=self.key,
            settings=InferSettings(**settings),
            probabilities=probabilities,
            progress=progress,
        )
        path = self.out / bits_file(predictions.folds[0])
        return {
            case.case_id: unpack(packed, case.height, case.width)
            for case, packed in read_packed(path, predictions.cases)
        }

    @property
    def runtime(self) -> Runtime:
        """What the last run left of itself."""
        return read(Runtime, self.out / RUNTIME, Code.PREDICTIONS_INVALID, remedy="")


def stage(
    root: Path,
    images: Sequence[NDArray[np.uint8]],
    *models: bytes,
    kind: Any = "logits",
    seed: str | None = None,
    windows: int = 1,
    spacing_mm: tuple[float, float] | None = None,
    **inputs: Any,
) -> Stage:
    """Seal `images`, hand in one model a fold or one for all; a seed adds the second pass."""
    root.mkdir(exist_ok=True)
    identity = pyrage.x25519.Identity.generate()
    (root / "images.key").write_text(str(identity))
    cases = tuple(
        SealedCase(
            case_id=f"c{n:05}",
            height=p.shape[0],
            width=p.shape[1],
            file=f"{n}.grey",
            spacing_mm=spacing_mm,
        )
        for n, p in enumerate(images)
    )
    index = SealedIndex(
        split_digest="0" * 64,
        consistency_seed=seed,
        windows=windows,
        repeat_seed="7" * 64,
        cases=cases,
    )
    sealed = seal_archive(index, (image.tobytes() for image in images), str(identity.to_public()))
    (root / "images.age").write_bytes(sealed)
    folder, out = root / "submission", root / "out"
    folder.mkdir()
    out.mkdir()
    declared, counted = [], []
    for number, data in enumerate(models):
        fold, digest = (None if len(models) == 1 else number), sha256_bytes(data)
        (folder / f"{number}.onnx").write_bytes(data)
        declared.append(ModelFile(fold=fold, file=f"{number}.onnx", sha256=digest))
        counted.append(
            CountedModel(fold=fold, sha256=digest, opset=17, nodes=1, parameters=0, gmacs=None)
        )
    submission = Submission(
        team="Team",
        method="net",
        track="phantom",
        input=InputSpec.model_validate(
            {"height": SIZE, "width": SIZE, "resize": "letterbox"} | inputs
        ),
        output=OutputSpec(kind=kind),
        models=tuple(declared),
        opset=17,
    )
    (folder / "submission.yaml").write_text(yaml.safe_dump(submission.document()))
    verdict = GateVerdict(submission_sha256=submission.digest, models=tuple(counted))
    write(verdict, root / "gate.json")
    return Stage(folder, submission, root / "images.age", root / "images.key", out, verdict)


def speckle(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Noisy images of different sizes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(40, 120, (count, 2))
    return [rng.integers(0, 256, tuple(size), np.uint8) for size in sizes]

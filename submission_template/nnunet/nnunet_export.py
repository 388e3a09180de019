"""Export of trained nnU-Net models: ONNX files that predict as its predictor does.

    python nnunet_export.py RESULTS/TRAINER__PLANS__2d --bundle ../bundles/training --out out

A file contains the network and its mirroring, of one fold or of all; what comes before it (z-score,
tiles) is in submission.yaml. Checkpoints are pickles, which run code when they are opened: export
your own.
"""

import argparse
import contextlib
import copy
import csv
import io
import itertools
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor, nn

from submission import OPSET, write_submission

REFUSED = 3  # the exit status where two lines say why, and what to do
CLOSE = 1e-3  # of logits: ONNX Runtime and PyTorch add in another order
SCALES = {"ZScoreNormalization": None, "RGBTo01Normalization": 1.0, "NoNormalization": 255.0}
CHANNELS = {1: "grey", 3: "rgb"}


class RefusedError(Exception):
    """What cannot be exported and why, in a sentence, and what to do, in another."""


def export(
    results: Path,
    bundle: Path,
    out: Path,
    *,
    checkpoint: str = "final",
    ensemble: bool = False,
    mirroring: bool = True,
) -> None:
    """Write the submission of a trainer's folder.

    Args:
        results: the folder with plans.json and fold_0, fold_1, …
        bundle: the training bundle, whose folds they are.
        checkpoint: `final` or `best`.
        ensemble: one file that averages all folds, instead of one file a fold.
        mirroring: average over the mirrored images that nnU-Net's predictor averages over.

    Raises:
        RefusedError: what its predictor does and a submission cannot say.
    """
    folds = folds_of(results, bundle, f"checkpoint_{checkpoint}.pth")
    trained = load(results, folds, f"checkpoint_{checkpoint}.pth")
    declared, scale = prepared(trained)
    networks = {fold: with_weights(trained, n) for n, fold in enumerate(folds)}
    axes = trained.allowed_mirroring_axes if mirroring else None
    groups = {None: list(networks.values())} if ensemble else {f: [n] for f, n in networks.items()}
    models = {}
    for done, (fold, members) in enumerate(groups.items(), 1):
        models[fold] = to_onnx(Mirrored(members, axes or (), scale), declared)
        what = "all folds" if fold is None else f"fold {fold}"
        print(f"progress {done}/{len(groups)} {what}", flush=True)
        print(f"{what}: {len(models[fold]) / 1e6:.0f} MB, as in PyTorch", flush=True)
    write_submission(out, bundle, models, declared, "softmax")


def folds_of(results: Path, bundle: Path, checkpoint: str) -> list[int | None]:
    """The folds that were trained; [None] where one model was trained on all cases."""
    if not (results / "plans.json").is_file():
        inside = sorted(path.name for path in results.glob("*__2d"))
        hint = f"one of these in it: {', '.join(inside)}" if inside else "TRAINER__PLANS__2d"
        raise RefusedError(f"{results} has no plans.json.", f"Name {hint}.")
    folds = list(cases_of(bundle))
    whole = not any((results / f"fold_{fold}").exists() for fold in folds)
    wanted = ["all"] if whole and (results / "fold_all").exists() else folds
    for fold in wanted:
        if not (results / f"fold_{fold}" / checkpoint).is_file():
            message = (
                f"{results / f'fold_{fold}'} has no {checkpoint}; the bundle has folds {folds}."
            )
            raise RefusedError(message, "Train each of them to its end.")
    return folds if wanted == folds else [None]


def require_same_cases(results: Path, bundle: Path) -> None:
    """Refuse models that were trained on cases which validate them here.

    nnU-Net writes which cases validated a fold when it has predicted them, at the end of training.
    """
    for fold, ours in cases_of(bundle).items():
        summary = results / f"fold_{fold}" / "validation" / "summary.json"
        if not summary.parent.parent.exists():  # one model of all cases
            continue
        if not summary.is_file():
            print(f"fold {fold}: its cases cannot be compared, since {summary} is missing")
            continue
        cases = json.loads(summary.read_text())["metric_per_case"]
        theirs = {Path(case["reference_file"]).name.partition(".")[0] for case in cases}
        if theirs != ours:
            first = min(theirs ^ ours)
            raise RefusedError(
                f"{summary} is of other cases than fold {fold} of the bundle, such as {first}.",
                "Train with the folds of splits_final.json that `busbench export-split` writes.",
            )


def cases_of(bundle: Path) -> dict[int, set[str]]:
    """The ids of the cases that validate each fold of a training bundle, in the folds' order."""
    with (bundle / "cases.csv").open(newline="") as file:
        rows = [(int(row["fold"]), row["case_id"]) for row in csv.DictReader(file)]
    return {fold: {c for f, c in rows if f == fold} for fold in sorted({f for f, _ in rows})}


def load(results: Path, folds: list[int | None], checkpoint: str) -> nnUNetPredictor:
    """The predictor of nnU-Net with the weights of those folds; nothing runs on a GPU."""
    names = tuple("all" if fold is None else fold for fold in folds)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            predictor = nnUNetPredictor(device=torch.device("cpu"))
            predictor.initialize_from_trained_model_folder(str(results), names, checkpoint)
    except Exception as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        remedy = "Export with the nnU-Net, and the trainer class, that it was trained with."
        raise RefusedError(f"nnU-Net cannot open {results}: {text}.", remedy) from error
    return predictor


def prepared(trained: nnUNetPredictor) -> tuple[dict[str, object], float]:
    """`input` of submission.yaml, and what the network multiplies pixels from 0 to 1 with."""
    plans, configuration = trained.plans_manager, trained.configuration_manager
    channels = len(trained.dataset_json.get("channel_names") or trained.dataset_json["modality"])
    schemes = set(configuration.normalization_schemes)
    labels = trained.label_manager
    reasons = {
        "It is no 2d configuration": len(configuration.patch_size) != 2,
        "It continues another stage": configuration.previous_stage_name is not None,
        f"It resamples to a spacing of {configuration.spacing}": set(configuration.spacing) != {1},
        "It swaps the axes of images": list(plans.transpose_forward) != [0, 1, 2],
        f"Its preprocessor is {configuration.preprocessor_name}": configuration.preprocessor_name
        != "DefaultPreprocessor",
        f"It takes {channels} channels": channels not in CHANNELS,
        f"It normalises by {', '.join(sorted(schemes))}": len(schemes) != 1
        or not schemes <= SCALES.keys(),
        "It normalises within a mask of what is not black": any(configuration.use_mask_for_norm),
        "Its labels are not background and lesion alone": labels.has_regions
        or labels.has_ignore_label
        or labels.num_segmentation_heads != 2,
    }
    for reason, holds in reasons.items():
        if holds:
            remedy = (
                "Train the configuration 2d on `busbench export-split --format nnunet`'s dataset."
            )
            raise RefusedError(f"{reason}, which a submission of models cannot say.", remedy)
    height, width = (int(side) for side in configuration.patch_size)
    (scheme,) = schemes
    scale = SCALES[scheme]
    if scale is not None:
        print(
            f"{scheme}: images with black sides are not cropped, as nnU-Net crops them", flush=True
        )
    return {
        "mode": "tiled",
        "height": height,
        "width": width,
        "overlap": 0.5,  # 1 - tile_step_size of its command line
        "blend": "gaussian",
        "channels": CHANNELS[channels],
        **({"normalise": "zscore"} if scale is None else {}),
    }, scale or 1.0


def with_weights(trained: nnUNetPredictor, number: int) -> nn.Module:
    """The network with the weights of a fold."""
    network = copy.deepcopy(trained.network)
    network.load_state_dict(trained.list_of_parameters[number])
    return network


class Mirrored(nn.Module):
    """The mean of logits over networks and mirrored images, as nnU-Net's predictor takes it.

    Args:
        axes: 0 for height, 1 for width; it averages over all their combinations.
        scale: what pixels are multiplied with.
    """

    def __init__(self, networks: list[nn.Module], axes: tuple[int, ...], scale: float) -> None:
        super().__init__()
        self.networks, self.scale = nn.ModuleList(networks), scale
        sides = [axis + 2 for axis in axes]
        some = range(1, len(sides) + 1)
        self.mirrors = [m for n in some for m in itertools.combinations(sides, n)]

    def forward(self, image: Tensor) -> Tensor:
        image = image if self.scale == 1 else image * self.scale
        total = 0
        for network in self.networks:
            total = total + network(image)
            for axes in self.mirrors:
                total = total + network(image.flip(axes)).flip(axes)
        return total / (len(self.networks) * (1 + len(self.mirrors)))


def to_onnx(network: nn.Module, declared: dict[str, object]) -> bytes:
    """One self-contained file with a free batch axis, compared with PyTorch.

    Raises:
        RefusedError: a network that ONNX Runtime computes otherwise.
    """
    depth = next(depth for depth, name in CHANNELS.items() if name == declared["channels"])
    network, buffer = network.eval(), io.BytesIO()
    tiles = torch.randn(2, depth, declared["height"], declared["width"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (tiles,),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["maps"],
            dynamic_axes={"image": {0: "batch"}, "maps": {0: "batch"}},
        )
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": tiles.numpy()})
    with torch.no_grad():
        wanted = network(tiles).numpy()
    apart = float(np.abs(found - wanted).max())
    if not apart <= CLOSE * max(1, float(np.abs(wanted).max())):
        message = f"The ONNX file's logits are {apart:.2g} away from the network's."
        raise RefusedError(
            message, "Report it, with plans.json and the versions of torch and nnunetv2."
        )
    return buffer.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description="Export what nnU-Net trained as a submission.")
    parser.add_argument("results", type=Path, help="TRAINER__PLANS__2d in nnUNet_results/DATASET")
    parser.add_argument("--bundle", type=Path, required=True, help="the training bundle")
    parser.add_argument("--out", type=Path, required=True, help="where the submission goes")
    parser.add_argument("--checkpoint", choices=("final", "best"), default="final")
    parser.add_argument("--ensemble", action="store_true", help="one file that averages all folds")
    parser.add_argument("--no-mirroring", action="store_false", dest="mirroring")
    options = parser.parse_args()
    try:
        folds_of(options.results, options.bundle, f"checkpoint_{options.checkpoint}.pth")
        require_same_cases(options.results, options.bundle)
        export(**vars(options))
    except RefusedError as refused:
        print(*refused.args, sep="\n", file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())

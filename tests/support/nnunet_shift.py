"""Shift of what nnU-Net trained for seconds, so that its masks are neither empty nor whole.

python nnunet_shift.py RESULTS IMAGE    of each fold, a half of the image becomes lesion: most other
                                        pixels have one and the same margin, where half precision,
                                        in which nnU-Net adds up, decides on a mask
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor


def main(results: Path, image: Path) -> None:
    """Change the last layer's bias in each checkpoint."""
    data, properties = NaturalImage2DIO().read_images([str(image)])
    for path in sorted(results.glob("fold_*/checkpoint_final.pth")):
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(results), (int(path.parent.name[5:]),))
        plans, configuration = predictor.plans_manager, predictor.configuration_manager
        seen, _, _ = DefaultPreprocessor(verbose=False).run_case_npy(
            data, None, dict(properties), plans, configuration, predictor.dataset_json
        )
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(seen)).float()
        cut = torch.quantile(logits[1] - logits[0], 0.5).item()
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
        weights = checkpoint["network_weights"]
        last = max(name for name in weights if "seg_layers" in name and name.endswith("bias"))
        weights[last][1] -= cut
        torch.save(checkpoint, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""nnU-Net's own predictor, in a process of its own: it needs packages that nothing else does.

python nnunet_predict.py RESULTS IMAGES OUT FOLDS…    masks of 0 and 1 into OUT/FOLDS: of fold 0,
                                                      of fold 1, and of both where FOLDS is 01
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from PIL import Image


def main(results: Path, images: Path, out: Path, folds: list[str]) -> None:
    """Predict as `nnUNetv2_predict` does, with the default options."""
    for group in folds:
        (out / group).mkdir(parents=True)
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(results), tuple(map(int, group)))
        for path in sorted(images.iterdir()):
            data, properties = NaturalImage2DIO().read_images([str(path)])
            mask = predictor.predict_single_npy_array(data, properties)
            Image.fromarray(mask[0].astype(np.uint8)).save(out / group / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])

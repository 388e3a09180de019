"""nnU-Net's own predictor, in a process of its own: it needs packages that nothing else does.

python nnunet_predict.py RESULTS IMAGES OUT FOLDS    writes a mask of 0 and 1 for each image
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from PIL import Image


def main(results: Path, images: Path, out: Path, folds: str) -> None:
    """Predict as `nnUNetv2_predict` does, with the default options."""
    out.mkdir(parents=True)
    predictor = nnUNetPredictor(device=torch.device("cpu"))
    predictor.initialize_from_trained_model_folder(str(results), tuple(map(int, folds)))
    for path in sorted(images.iterdir()):
        data, properties = NaturalImage2DIO().read_images([str(path)])
        mask = predictor.predict_single_npy_array(data, properties)
        Image.fromarray(mask[0].astype(np.uint8)).save(out / path.name)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), folds=sys.argv[4])

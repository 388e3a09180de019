"""The augmentation of the seed benchmark, case by case, with Albumentations.

Version 2.0.8 is the last under the MIT licence; its successor AlbumentationsX is under the AGPL,
which a project under the MIT licence cannot build on. It works case by case on the CPU, at twice
the time of our own augment.py, which varies whole batches on whatever device trains. So only the
profile that is defined by these transforms uses them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_models.errors import UsageError

Pictures = NDArray[np.uint8]


class SeedAugment:
    """The transforms of the seed's protocol, each group with probability 0.5.

    Raises:
        UsageError: Albumentations is not installed.
    """

    def __init__(self) -> None:
        try:
            import albumentations as A  # noqa: PLC0415  an extra
        except ImportError as error:
            raise UsageError(
                "The seed's augmentation needs the package albumentations.",
                'Install it with pip install "busbench[seed]", or set augment: {style: plain}.',
            ) from error
        bent = [A.ElasticTransform(p=1), A.GridDistortion(p=1), A.OpticalDistortion(p=1)]
        grain = [A.MultiplicativeNoise(elementwise=True, p=1), A.MotionBlur(p=1), A.Sharpen(p=1)]
        self._transforms: Any = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.Rotate(limit=(-10, 10), p=0.5),
                A.OneOf(bent, p=0.5),
                A.RandomBrightnessContrast(p=0.5),
                A.CLAHE(p=0.5),
                A.GaussNoise(p=0.5),
                A.CoarseDropout(p=0.5),
                A.OneOf(grain, p=0.5),
            ]
        )

    def __call__(
        self, images: Pictures, masks: Pictures, seed: np.random.SeedSequence
    ) -> tuple[Pictures, Pictures]:
        """Vary images and masks (N, H, W) uint8; the same seed gives the same pictures."""
        pairs = []
        for image, mask, own in zip(images, masks, seed.generate_state(len(images)), strict=True):
            self._transforms.set_random_seed(int(own))
            varied = self._transforms(image=image, mask=mask)
            pairs.append((varied["image"], varied["mask"]))
        return np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])

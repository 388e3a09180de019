"""The Awesome-BUS benchmark's augmentation and resampling, as its code has them.

Measured against that repository's commits f11110a to c800d5b, from which nine rows of its table
stem. It works case by case on the CPU with Albumentations and OpenCV. Version 2.0.8 of the former
is the last under the MIT licence; its successor is under the AGPL, on which an MIT project cannot
build.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_models.errors import UsageError

Bytes = NDArray[np.uint8]
_INSTALL = "Run pip install -e '.[awesome-bus]' in your checkout of BUSBench, or {instead}."


class AwesomeBusAugment:
    """All transforms inside one frame of probability 0.5, so that more than half stay as they are.

    Raises:
        UsageError: Albumentations is not installed.
    """

    def __init__(self) -> None:
        try:
            import albumentations as A  # noqa: PLC0415  an extra
        except ImportError as error:
            raise UsageError(
                "The Awesome-BUS augmentation needs the package albumentations.",
                _INSTALL.format(instead="set augment: {style: plain}"),
            ) from error
        bent = [
            A.ElasticTransform(p=1),
            A.GridDistortion(distort_limit=0.2, p=1),
            A.OpticalDistortion(distort_limit=0.2, p=1),
        ]
        grain = [_speckle(A), A.MotionBlur(blur_limit=3, p=1), A.Sharpen(alpha=(0.3, 0.3), p=1)]
        self._transforms: Any = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.Rotate(limit=(-10, 10), p=0.2),
                A.RandomBrightnessContrast(p=0.2),
                A.CLAHE(clip_limit=1.2, p=0.2),
                A.GaussNoise(p=0.2),
                A.CoarseDropout(p=0.2),
                A.OneOf(bent, p=0.1),
                A.OneOf(grain, p=0.2),
            ],
            p=0.5,
        )

    def __call__(
        self, images: Bytes, masks: Bytes, seed: np.random.SeedSequence
    ) -> tuple[Bytes, Bytes]:
        """Vary images and masks (N, H, W) uint8; the same seed gives the same arrays."""
        pairs = []
        for image, mask, own in zip(images, masks, seed.generate_state(len(images)), strict=True):
            varied = self._varied(image, mask, int(own))
            pairs.append((varied["image"], varied["mask"]))
        return np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])

    def _varied(self, image: Bytes, mask: Bytes, seed: int) -> dict[str, Any]:
        """Image, mask and, where the frame saves them, the transforms that were applied."""
        # Shared by all transforms: `set_random_seed` would start each with the same number, so
        # that all of them are applied or none is.
        self._transforms.set_random_state(np.random.default_rng(seed), random.Random(seed))
        varied: dict[str, Any] = self._transforms(image=image, mask=mask)
        return varied


def _speckle(library: Any) -> Any:
    """The transform x (1 + n), n normal with a standard deviation of 0.05 to 0.15 a pixel."""

    class Speckle(library.ImageOnlyTransform):  # type: ignore[misc]
        def get_params_dependent_on_data(
            self,
            params: dict[str, Any],
            data: dict[str, Any],  # noqa: ARG002  the library passes it by name
        ) -> dict[str, Any]:
            strength = self.py_random.uniform(0.05, 0.15)
            return {"noise": self.random_generator.normal(0, strength, params["shape"])}

        def apply(self, img: Bytes, noise: NDArray[np.float64], **_: Any) -> Bytes:
            return np.clip(img * (1 + noise), 0, 255).round().astype(np.uint8)

    return Speckle(p=1)


def resized(image: Bytes, size: tuple[int, int], *, smooth: bool) -> Bytes:
    """An image (h, w) at `size` (height, width) by OpenCV's LANCZOS4, or its nearest.

    Neither averages where it shrinks, and its nearest lies half a pixel right and down of Pillow's.

    Raises:
        UsageError: OpenCV is not installed.
    """
    try:
        import cv2  # noqa: PLC0415  comes with the extra
    except ImportError as error:
        raise UsageError(
            "resample: lanczos4 needs OpenCV.", _INSTALL.format(instead="set resample: bilinear")
        ) from error
    kind = cv2.INTER_LANCZOS4 if smooth else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, size[::-1], interpolation=kind), dtype=np.uint8)

"""Tiny cases of patients with two views each, and the secret that their splits are frozen with."""

from __future__ import annotations

import numpy as np

from harness.store import Sample

SECRET = bytes(range(32))
LABELS = ("benign", "malignant", "normal")


def samples(patients: int = 24, spacing: tuple[float, float] | None = None) -> list[Sample]:
    """Two views a patient; the first image of patient 0 is patient 1's, too.

    Args:
        spacing: of each image, (row, column) in millimetres.
    """
    made = []
    for number in range(patients):
        label = LABELS[number % 3]
        for view in "lr":
            rng = np.random.RandomState(
                1000 * number + ord(view) if number > 1 or view == "r" else 0
            )
            image = rng.randint(0, 256, (24, 32)).astype(np.uint8)
            mask = np.zeros((24, 32), dtype=bool)
            mask[4 : 6 + number % 9, 4:12] = label != "normal"
            case_id = f"case_{number:03d}-{view}"
            name = f"{case_id}.png"
            made.append(
                Sample(
                    case_id,
                    label,  # type: ignore[arg-type]
                    f"p{number}",
                    image,
                    mask,
                    name,
                    name,
                    spacing=spacing,
                )
            )
    return made

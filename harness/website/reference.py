"""What did the benchmark that this one grew out of publish? Shown apart, never ranked.

The best values of its table, a dataset a row, and how many of its test images leak: counted on the
real files by drawing its split anew (20 % by image, stratified by class, seed 42).
"""

from __future__ import annotations

from dataclasses import dataclass

READ = "November 2026"


@dataclass(frozen=True)
class Published:
    """The best published values on one dataset; HD95 in pixels of a 224 x 224 grid."""

    dataset: str
    title: str
    dice: float
    iou: float
    overlap_by: str  # the network with the best Dice, and the best IoU
    hd95: float
    hd95_by: str
    leak: str | None  # None where nobody has counted


PUBLISHED = (
    Published(
        *("busi", "BUSI", 0.7400, 0.6631, "Attention U-Net", 32.34, "TransUNet"),
        leak="31.4 % (49 of 156), near-duplicates",
    ),
    Published(
        *("busbra", "BUS-BRA", 0.8789, 0.8064, "U-Net++", 10.67, "U-Net++"),
        leak="69.6 % (261 of 375), same patient",
    ),
    Published(
        *("bus-uclm", "BUS-UCLM", 0.8214, 0.7908, "U-Net++", 25.39, "U-Net++"),
        leak="100 % (137 of 137), same patient",
    ),
    Published("bus-uc", "BUS-UC", 0.9113, 0.8463, "U-Net++", 10.84, "U-Net++", leak=None),
    Published("yap2018", "Yap2018", 0.6715, 0.5806, "TransUNet", 32.02, "U-Net 3+", leak=None),
)

"""Frozen splits for other people's code: images, masks and lists in the layouts that it reads.

`export_split` writes a folder for nnU-Net, MONAI, the name lists of U-Bench and CMU-Net, COCO, or a
CSV table. `CITATION` and `split.json`, with the split's digest, are in each of them.
"""

from harness.export.cases import TestPart, choose_test_part
from harness.export.exporting import DATASET_ID, SplitExport, export_split
from harness.export.formats import FORMATS, Format

__all__ = [
    "DATASET_ID",
    "FORMATS",
    "Format",
    "SplitExport",
    "TestPart",
    "choose_test_part",
    "export_split",
]

"""Loads an export in nnU-Net, in a process of its own: it needs packages that nothing else does.

python nnunet_check.py EXPORT    raises where nnU-Net does; else prints what its trainer would read
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main(export: Path) -> None:
    """Verify the raw dataset as `nnUNetv2_plan_and_preprocess` does, then ask for each fold."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(export / name)
    from nnunetv2.experiment_planning.verify_dataset_integrity import (  # noqa: PLC0415
        verify_dataset_integrity,
    )
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO  # noqa: PLC0415
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: PLC0415
    from nnunetv2.utilities.dataset_name_id_conversion import (  # noqa: PLC0415
        maybe_convert_to_dataset_name,
    )

    (raw,) = (export / "nnUNet_raw").iterdir()
    verify_dataset_integrity(str(raw), num_processes=1)
    name = maybe_convert_to_dataset_name(int(raw.name[7:10]))
    folds = []
    for fold in range(len(json.loads(next(export.rglob("splits_final.json")).read_text()))):
        trainer = _Trainer()
        trainer.fold = fold
        trainer.preprocessed_dataset_folder_base = str(export / "nnUNet_preprocessed" / name)
        folds.append(nnUNetTrainer.do_split(trainer))
    reader = NaturalImage2DIO()
    sums = {
        label.stem: int(reader.read_seg(str(label))[0].sum())
        for label in sorted((raw / "labelsTr").iterdir())
    }
    print(json.dumps({"folds": folds, "sums": sums}))


class _Trainer:
    """What `do_split` asks of a trainer, without a network and preprocessed arrays."""

    fold = 0
    preprocessed_dataset_folder = preprocessed_dataset_folder_base = ""
    folder_with_segs_from_previous_stage = None

    @staticmethod
    def dataset_class(*_: object, **__: object) -> None:
        """The preprocessed cases, which are read only where no folds are given."""

    @staticmethod
    def print_to_log_file(*_: object) -> None:
        """The log."""


if __name__ == "__main__":
    main(Path(sys.argv[1]))

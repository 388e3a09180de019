"""Writer of a submission: ONNX files, and `submission.yaml`, which declares each.

All fields of that file, their defaults and their meanings: submission_template/submission.yaml.
"""

import hashlib
import json
import shutil
from pathlib import Path

import yaml

OPSET = 17


def write_submission(
    out: Path,
    bundle: Path,
    models: dict[int | None, bytes],
    size: int | dict[str, object],
    output: str,
) -> None:
    """Write the folder that is handed in; then no checkpoint is needed any more.

    Args:
        models: fold -> ONNX bytes; the key None is one model for all folds.
        size: side of the square that images are stretched to, or all of `input` where they are not.
        output: `logits`, `probabilities`, `softmax` or `mask`: what the model gives.
    """
    stretched = {"height": size, "width": size, "resize": "stretch", "channels": "grey"}
    out.mkdir(parents=True, exist_ok=True)
    declared = []
    for fold, data in models.items():
        name = "model.onnx" if fold is None else f"fold-{fold}.onnx"
        (out / name).write_bytes(data)
        declared.append({"fold": fold, "file": name, "sha256": hashlib.sha256(data).hexdigest()})
    about = yaml.safe_load((Path(__file__).parent / "about.yaml").read_text())
    document = {
        "schema": "busbench/submission/v2",
        **about,
        "track": json.loads((bundle / "bundle.json").read_text())["track"],
        "input": size if isinstance(size, dict) else stretched,
        "output": {"kind": output},
        "models": declared,
        "opset": OPSET,
    }
    (out / "submission.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    shutil.rmtree(out / "work", ignore_errors=True)

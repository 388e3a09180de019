"""The evaluator: everything that runs inside the evaluator's containers.

File contracts, the gate for ONNX files, preprocessing, inference backends, metrics and scoring.
It imports no other component.
"""

import os

# ONNX Runtime's official builds report to their maker, models' names included, unless told not to
# before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

"""The evaluator: everything that runs inside the evaluator's containers.

Documents, the gate for ONNX files, preprocessing, inference backends, metrics and scoring.
It imports no other package of the project.
"""

import os

# ONNX Runtime's official builds report to their maker, models' names included, unless this is set
# before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

"""Reference networks, their trainer and their ONNX exporter.

A participant like any other: it reads the training bundle and leaves a submission folder.
"""

import os

# ONNX Runtime's official builds report to their maker, models' names included, unless this is set
# before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

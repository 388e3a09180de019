"""The model zoo: reference networks, their trainer and their ONNX exporter.

A participant like any other: it reads the training bundle and leaves a submission folder.
"""

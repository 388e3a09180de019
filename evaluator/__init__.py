"""The evaluator: everything that runs inside the evaluator's containers.

File contracts, the gate for ONNX files, preprocessing, inference backends, metrics and scoring.
It imports no other room.
"""

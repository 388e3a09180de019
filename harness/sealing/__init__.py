"""Sealing: the public training bundle, and the sealed bundle that only the evaluator opens.

Test images and test labels are encrypted with age to two different keys, so that no stage that runs
a participant's model can open a label.
"""

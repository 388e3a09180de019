"""Documents that cross the containers' walls: one pydantic model for each, validated at both ends.

A module has what passes between two stages, so that an image contains the documents of its stages
alone. A document that only the harness writes and reads is in the harness.
"""

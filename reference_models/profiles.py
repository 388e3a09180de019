"""Whose protocol is a recipe: ours, or that of the benchmark this project grew from?

A profile gives the settings that a recipe does not state. `default` is the fields' own defaults in
config.py. It differs from `seed`, for the better:

- 45 epochs on one cycle instead of up to 300 on a cosine: the same quality in a sixth of the time;
- pictures are resized as the evaluator resizes them, so training sees what scoring will see;
- the augmentation runs on the device in one go, and changes nothing that makes no other breast
  (no dropped squares, no CLAHE on some images only);
- the gradient is clipped, so that one odd batch cannot spoil a run;
- the model is chosen by the metric it is ranked by, on folds that keep patients apart.

`seed` follows what is known of that protocol. Not known, and chosen here: the strengths of the
transforms and which exclude each other (the library's defaults; groups of alternatives), whether a
last, smaller batch is dropped (passes follow each other without a gap), what counts for the
patience (validations since the kept one), and how ties of the mean rank end (the earlier stays).
Its split by image cannot be had: the folds are the training bundle's.
"""

from __future__ import annotations

from typing import Any

from reference_models.errors import chosen

EPOCHS = 45  # of a recipe that states no length

PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "seed": {
        "resample": "lanczos",
        "augment": {"style": "seed"},
        "batch": 16,
        "epochs": 300,
        "loss": "bce_dice",
        "optimiser": "adamw",
        "schedule": "cosine",
        "rate": 1e-3,
        "final_rate": 1e-5,
        "weight_decay": 1e-4,
        "clip": None,
        "keep": "rank",
        "patience": 25,
        "precision": "fp32",
    },
}


def with_profile(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    """The recipe, its missing keys filled in from the profile `name`.

    Raises:
        UsageError: there is no such profile.
    """
    below = dict(chosen("profile", name, PROFILES))
    if "steps" in recipe:
        below.pop("epochs", None)
    return {**below, **recipe, "profile": name}

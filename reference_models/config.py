"""Training recipes: a strict YAML file, completed by a profile.

A profile gives the settings that a recipe does not state. Profile `default` is the fields' own
defaults; `awesome-bus-2025` is the protocol of the Awesome-BUS benchmark, as far as it is known.
How they differ, and what was chosen where the protocol is silent, is in docs/train.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reference_models.errors import UsageError, chosen, nearest

AWESOME_BUS = "awesome-bus-2025"
RENAMED = {"seed": AWESOME_BUS}  # `seed` is the random number generator's alone
EPOCHS = 45  # of a recipe that states no length
PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    AWESOME_BUS: {
        "resample": "lanczos4",
        "augment": {"style": AWESOME_BUS},
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


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSettings(Settings):
    """What the network sees; declared in the submission in the same words."""

    height: int = Field(default=224, ge=16, le=2048)
    width: int = Field(default=224, ge=16, le=2048)
    resize: Literal["letterbox"] = "letterbox"
    channels: Literal["grey", "rgb"] = "grey"
    mean: float = 0.0  # after division by 255
    std: float = Field(default=1.0, gt=0)

    @property
    def channel_count(self) -> int:
        """1 for grey, 3 for grey repeated three times."""
        return 1 if self.channels == "grey" else 3


class AugmentSettings(Settings):
    """How far a training image may be changed; zero switches a change off."""

    flip: float = Field(default=0.5, ge=0, le=1)  # probability of a left-right mirror
    shift: float = Field(default=0.06, ge=0, le=0.5)  # of the side, each way
    scale: float = Field(default=0.1, ge=0, lt=1)  # 0.1: from 0.9 to 1.1
    rotate: float = Field(default=10.0, ge=0, le=180)  # degrees, each way
    brightness: float = Field(default=0.15, ge=0, le=1)  # of the full range, each way
    contrast: float = Field(default=0.2, ge=0, lt=1)  # 0.2: from 0.8 to 1.2
    style: Literal["plain", "awesome-bus-2025"] = "plain"  # the latter: its transforms instead


class Config(Settings):
    """One training recipe, the same for every fold. What is not stated is profile `default`'s."""

    network: str
    profile: str = "default"
    input: InputSettings = InputSettings()
    # bilinear: the evaluator's; lanczos4: OpenCV's, and its nearest for masks
    resample: Literal["bilinear", "lanczos4"] = "bilinear"
    augment: AugmentSettings = AugmentSettings()
    steps: int | None = Field(default=None, ge=2)  # optimiser steps of one fold, or
    epochs: float | None = Field(default=None, gt=0)  # passes over the fold's training cases
    batch: int = Field(default=16, ge=2)
    loss: str = "bce_dice"
    optimiser: str = "adamw"
    schedule: str = "one_cycle"
    rate: float = Field(default=0.002, gt=0)  # the highest
    final_rate: float = Field(default=1e-5, ge=0)  # of cosine
    warm_up: float = Field(default=0.25, gt=0, lt=1)  # of one_cycle: the share up to the peak
    weight_decay: float = Field(default=1e-4, ge=0)
    clip: float | None = Field(default=1.0, gt=0)  # largest norm of the gradient
    encoder_rate: float = Field(default=1.0, ge=0, le=1)  # times the rate; 0 freezes the encoder
    freeze_epochs: float = Field(default=0.0, ge=0)  # at first, the encoder rests
    validate_every: int | None = Field(default=None, ge=1)  # steps; else each epoch, and at the end
    patience: int | None = Field(default=None, ge=1)  # validations without a better one, then stop
    keep: Literal["best", "last", "rank"] = "best"  # best: by Dice; rank: see validation.py
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: fp32 on the CPU
    checkpoint_seconds: float = Field(default=5.0, ge=0)
    threshold: float = Field(default=0.5, gt=0, lt=1)  # on probabilities
    mirrored: bool = False  # the exported model averages an image and its mirror image
    seed: int = Field(default=42, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _some_length(cls, value: object) -> object:
        if isinstance(value, dict) and not {"steps", "epochs"} & value.keys():
            return {**value, "epochs": EPOCHS}
        return value

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("state either steps or epochs")
        return self

    def total_steps(self, cases: int) -> int:
        """Optimiser steps of one fold with `cases` training cases."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # by _one_length
        return max(2, round(self.epochs * cases / self.batch))

    def epoch(self, step: int, cases: int) -> int:
        """Whole passes over `cases` training cases after `step` steps."""
        return step * self.batch // cases

    def validates(self, step: int, cases: int) -> bool:
        """Whether the model is validated after `step` steps."""
        if self.validate_every is not None:
            return step % self.validate_every == 0
        return self.epoch(step, cases) > self.epoch(step - 1, cases)


def load_config(name: str, profile: str | None = None, changes: Sequence[str] = ()) -> Config:
    """Read a recipe: a YAML file, or the name of one that comes with this package.

    Args:
        profile: whose settings to take instead of the file's, but for network and input; None
            takes the file's, and those of its `profile` where it states none.
        changes: settings that go before all others, each as `KEY=VALUE` or `KEY.KEY=VALUE`.

    Raises:
        UsageError: it is missing, no YAML, has an unknown key or a value out of bounds.
    """
    text = _text(name)
    remedy = "Correct the file; the keys are in reference_models/config.py."
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{name} is no YAML: {str(error).splitlines()[0]}.", remedy) from error
    if isinstance(value, dict):
        if profile is not None:
            value = {key: value[key] for key in ("network", "input") if key in value}
        for change in changes:
            _change(value, change, name)
        value = _with_profile(value, str(profile or value.get("profile", "default")))
    return validated(Config, value, name, remedy=remedy)


def _with_profile(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    """The recipe, its missing keys filled in from the profile `name`."""
    if name in RENAMED:
        raise UsageError(
            f"Profile `{name}` is now `{RENAMED[name]}`.", "Write the new name instead."
        )
    below = dict(chosen("profile", name, PROFILES))
    if "steps" in recipe:
        below.pop("epochs", None)
    return {**below, **recipe, "profile": name}


def _change(recipe: dict[str, Any], change: str, name: str) -> None:
    key, equals, text = change.partition("=")
    *path, last = key.split(".")
    try:
        for part in path:
            recipe = recipe.setdefault(part, {})
        recipe[last] = yaml.safe_load(text)
    except (yaml.YAMLError, AttributeError, TypeError):
        equals = ""
    if not equals:
        raise UsageError(
            f"{name} cannot be changed by {change!r}.", "Write KEY=VALUE, as in --set steps=200."
        )


def packaged_configs() -> list[str]:
    """The names of the recipes that come with this package."""
    folder = resources.files("reference_models") / "configs"
    return sorted(e.name.removesuffix(".yaml") for e in folder.iterdir() if e.name[-5:] == ".yaml")


def _text(name: str) -> str:
    if name in packaged_configs():
        packaged = resources.files("reference_models") / "configs" / f"{name}.yaml"
        return packaged.read_text(encoding="utf-8")
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The config {name} cannot be read.",
            f"Name a YAML file or a recipe of this package. {nearest(name, packaged_configs())}",
        ) from error


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], value: object, where: str, *, remedy: str) -> Model:
    """`value` as settings of kind `model`.

    Raises:
        UsageError: naming the first key that is wrong, and the nearest where it is unknown.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the document"
        if first["type"] == "extra_forbidden":
            known = _keys_beside(model, first["loc"])
            remedy = nearest(str(first["loc"][-1]), known)
        raise UsageError(f"{where}: {key}: {first['msg']}.", remedy) from error


def _keys_beside(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location[:-1]:
        inner = model.model_fields[str(part)].annotation
        assert isinstance(inner, type) and issubclass(inner, BaseModel)
        model = inner
    return list(model.model_fields)

"""A recipe says what it means, or is refused with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_models.config import Config, load_config, packaged_configs
from reference_models.errors import UsageError
from reference_models.networks import NETWORKS
from reference_models.trainer import build_network


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("network: unext\nsteps: 5\nbach: 4\n", "bach.*Did you mean 'batch'"),
        ("network: unext\nsteps: 5\ninput: {heigth: 64}\n", "heigth.*Did you mean 'height'"),
        ("network: unext\nsteps: 5\nbatch: 1\n", "batch"),
        ("network: unext\n", "either steps or epochs"),
        ("network: unext\nsteps: 5\nepochs: 2\n", "either steps or epochs"),
        ("network: [", "is no YAML"),
        ("- a list\n", "the document"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused_with_the_nearest_right(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=complaint):
        load_config(str(path))


def test_a_missing_recipe_names_those_that_come_along() -> None:
    with pytest.raises(UsageError, match="Did you mean 'demo'"):
        load_config("demos")


@pytest.mark.parametrize("name", packaged_configs())
def test_every_packaged_recipe_can_be_built(name: str) -> None:
    build_network(load_config(name))


def test_no_network_is_without_a_recipe_of_its_name() -> None:
    named = {name: load_config(name).network for name in packaged_configs() if name != "demo"}
    assert named == {name: name for name in NETWORKS}


def test_epochs_become_steps_of_the_folds_own_length() -> None:
    config = Config(network="unext", epochs=3, batch=4)
    assert config.total_steps(40) == 30
    assert config.total_steps(1) == 2

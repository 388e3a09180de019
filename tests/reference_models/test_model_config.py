"""A recipe says what it means, or is refused with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_models.config import AWESOME_BUS, Config, load_config, packaged_configs
from reference_models.errors import UsageError
from reference_models.networks import NETWORKS
from reference_models.run import build_network, check


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("network: unext\nsteps: 5\nbach: 4\n", "bach.*Did you mean 'batch'"),
        ("network: unext\nsteps: 5\ninput: {heigth: 64}\n", "heigth.*Did you mean 'height'"),
        ("network: unext\nsteps: 5\nbatch: 1\n", "batch"),
        ("network: unext\nsteps: 5\nepochs: 2\n", "either steps or epochs"),
        (
            "network: unext\nprofile: awesome-bus\n",
            "mean 'awesome-bus-2025'",
        ),
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


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"network": "unnext"}, "no network.*'unext'"),
        ({"loss": "lovas"}, "no loss.*'lovasz'"),
        ({"optimiser": "adam_w"}, "no optimiser.*'adamw'"),
        ({"schedule": "onecycle"}, "no schedule.*'one_cycle'"),
        ({"input": {"height": 100, "width": 96}}, "multiples of 32: try 96 x 96"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_data_are_read(
    changes: dict[str, object], complaint: str
) -> None:
    config = Config.model_validate({"network": "unext", **changes})
    with pytest.raises(UsageError, match=complaint):
        check(config)


def test_a_recipe_without_a_length_has_the_known_good_one() -> None:
    config = Config(network="unext")
    assert (config.epochs, config.batch) == (45, 16)
    assert (config.rate, config.schedule) == (0.002, "one_cycle")


def test_a_profile_in_a_recipe_never_overrides_what_the_recipe_states(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("network: unext\nprofile: awesome-bus-2025\nsteps: 7\nbatch: 4\n")
    config = load_config(str(path))
    assert (config.steps, config.epochs, config.batch, config.rate) == (7, None, 4, 1e-3)


def test_the_old_name_of_a_profile_is_refused_with_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("network: unext\nprofile: seed\n")
    for name, profile in ((str(path), None), ("unext", "seed")):
        with pytest.raises(UsageError, match="rofile `seed` is now `awesome-bus-2025`"):
            load_config(name, profile)


def test_a_change_goes_before_the_recipe_and_its_profile() -> None:
    changes = ["steps=7", "input.height=96", "augment={flip: 0}", "clip=null"]
    config = load_config("unext", None, changes)
    assert (config.steps, config.epochs, config.clip) == (7, None, None)
    assert (config.input.height, config.input.width, config.augment.flip) == (96, 224, 0)
    assert load_config("unext", AWESOME_BUS, ["batch=4"]).batch == 4


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("steps", "Write KEY=VALUE"),
        ("network.name=unet", "Write KEY=VALUE"),
        ("steps=[", "Write KEY=VALUE"),
        ("bach=4", "bach.*Did you mean 'batch'"),
        ("input.heigth=4", "heigth.*Did you mean 'height'"),
        ("steps=many", "steps"),
    ],
)
def test_a_change_that_is_wrong_is_refused_with_the_right(change: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        load_config("unext", None, [change])


@pytest.mark.parametrize("name", packaged_configs())
def test_no_recipe_bends_the_awesome_bus_protocol(name: str) -> None:
    config = load_config(name, AWESOME_BUS)
    assert (config.steps, config.epochs, config.batch, config.patience) == (None, 300, 16, 25)
    assert (config.schedule, config.rate, config.final_rate) == ("cosine", 1e-3, 1e-5)
    assert (config.keep, config.resample, config.validate_every) == ("rank", "lanczos4", None)
    assert (config.network, config.input) == (load_config(name).network, load_config(name).input)


def test_a_validation_never_falls_twice_into_an_epoch() -> None:
    config = Config(network="unext", epochs=5, batch=4)
    steps = [step for step in range(1, 26) if config.validates(step, cases=18)]
    assert steps == [5, 9, 14, 18, 23]


def test_epochs_become_steps_of_the_folds_own_length() -> None:
    config = Config(network="unext", epochs=3, batch=4)
    assert config.total_steps(40) == 30
    assert config.total_steps(1) == 2

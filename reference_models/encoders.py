"""Which weights of a network are its encoder? One row each, by the beginning of their names."""

from __future__ import annotations

from torch import nn

from reference_models.config import Config
from reference_models.networks import Staged

ENCODERS: dict[str, tuple[str, ...]] = {
    "unet": ("encoder.",),
    "attention_unet": ("encoder.",),
    "unetpp": ("encoder.",),
    "unet3plus": ("encoder.",),
    "cmunet": ("encoder.", "bottom."),
    "transunet": ("stem.", "stages.", "transformer."),
    "swin_unet": ("embed.", "norm_embedded.", "encoder.", "merge.", "norm_deepest."),
    "medt": ("whole.stem.", "whole.levels.", "patches.stem.", "patches.levels.", "patches.bottom."),
    "cmunext": ("stem.", "encoder."),
    "cmunext_s": ("stem.", "encoder."),
    "cmunext_l": ("stem.", "encoder."),
    "unext": ("conv_down.", "token_down."),
}


def is_encoder(network: str, name: str) -> bool:
    """Whether the weight or module `name` of a network of this name belongs to its encoder."""
    return f"{name}.".startswith(ENCODERS[network])


def rest(network: nn.Module, config: Config, epoch: int) -> None:
    """Let the weights rest that do not learn in `epoch`, and the others learn.

    A resting encoder's batch norms and dropouts act as in evaluation: call it after `train()`.
    """
    network.requires_grad_(True)
    if isinstance(network, Staged):
        network.at_epoch(epoch)
    if config.encoder_rate > 0 and epoch >= config.freeze_epochs:
        return
    for name, weight in network.named_parameters():
        if is_encoder(config.network, name):
            weight.requires_grad_(False)
    for name, module in network.named_modules():
        if name and is_encoder(config.network, name):
            module.train(False)

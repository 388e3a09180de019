"""Optimisers and schedules by name, and which weights learn at which rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, LRScheduler, OneCycleLR, PolynomialLR

from reference_models.config import Config
from reference_models.networks import NETWORKS, Staged

Groups = list[dict[str, object]]


def _settings(config: Config) -> dict[str, Any]:
    # Fused: one kernel for all weights, on the CPU too.
    return {"lr": config.rate, "weight_decay": config.weight_decay, "fused": True}


OPTIMISERS: dict[str, Callable[[Groups, Config], Optimizer]] = {
    "adamw": lambda groups, config: AdamW(groups, **_settings(config)),
    "adam": lambda groups, config: Adam(groups, **_settings(config)),
    "sgd": lambda groups, config: SGD(groups, momentum=0.9, nesterov=True, **_settings(config)),
}


@dataclass(frozen=True)
class Plan:
    """What a schedule runs over.

    Args:
        total: optimiser steps in all.
        cases: training cases of the fold.
    """

    config: Config
    total: int
    cases: int


def _one_cycle(optimiser: Optimizer, plan: Plan) -> LRScheduler:
    """Up to the rate and down again, step by step (L. N. Smith, N. Topin, arXiv:1708.07120)."""
    peaks = [group["lr"] for group in optimiser.param_groups]
    # A way up of exactly one step would divide by zero.
    warm_up = max(plan.config.warm_up, 1.5 / plan.total)
    return OneCycleLR(optimiser, peaks, total_steps=plan.total, pct_start=warm_up)


def _cosine(optimiser: Optimizer, plan: Plan) -> LRScheduler:
    """Down to the final rate by half a cosine, epoch by epoch (Loshchilov, arXiv:1608.03983)."""
    config = plan.config
    final = config.final_rate / config.rate
    epochs = max(1, config.epoch(plan.total, plan.cases))

    def factor(step: int) -> float:
        done = min(1.0, config.epoch(step, plan.cases) / epochs)
        return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2

    return LambdaLR(optimiser, factor)


def _poly(optimiser: Optimizer, plan: Plan) -> LRScheduler:
    """Down towards zero by (1 - t / T)^0.9, step by step (L. Chen et al., arXiv:1606.00915)."""
    return PolynomialLR(optimiser, plan.total, power=0.9)


def _constant(optimiser: Optimizer, plan: Plan) -> LRScheduler:
    """The rate as it is."""
    return ConstantLR(optimiser, factor=1.0, total_iters=plan.total)


# Each makes a schedule that is stepped every step.
SCHEDULES: dict[str, Callable[[Optimizer, Plan], LRScheduler]] = {
    "one_cycle": _one_cycle,
    "cosine": _cosine,
    "poly": _poly,
    "constant": _constant,
}


def groups_of(network: nn.Module, config: Config) -> Groups:
    """The weights in groups with their rates: one, or encoder and rest where their rates differ.

    Weights of a zero rate are left out, and so never change.
    """
    named = list(network.named_parameters())
    if config.encoder_rate == 1:
        return [{"params": [weight for _, weight in named], "lr": config.rate}]
    parts: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for name, weight in named:
        parts[is_encoder(config.network, name)].append(weight)
    rest: Groups = [{"params": parts[False], "lr": config.rate}]
    if config.encoder_rate == 0:
        return rest
    return [{"params": parts[True], "lr": config.rate * config.encoder_rate}, *rest]


def is_encoder(network: str, name: str) -> bool:
    """Whether the weight or module `name` of a network of this name belongs to its encoder."""
    return f"{name}.".startswith(NETWORKS[network].encoder)


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

"""Cost of training beyond the network itself: loader, step, both, and a bare loop.

Run from the project's root: `python -m benchmarks.training`. It prints a section in Markdown. The
bare loop is what anyone would write: forward, loss, backward, clip, AdamW, one-cycle, on tensors
that are ready; the trainer's own step adds drawing and varying the batch, and the watch for NaN.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import cycle

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.timing import head, interleaved, machine, row
from reference_models.batches import Batches
from reference_models.config import AWESOME_BUS, AugmentSettings, Config, InputSettings
from reference_models.data import LoadedCases
from reference_models.losses import bce_dice
from reference_models.machine import Machine, prepare_machine
from reference_models.networks import build
from reference_models.run import Run

STEPS = 10_000  # never reached: the schedules only need an end
Step = Callable[[int], object]
Ready = list[tuple[Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["unext", "cmunext"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    here = prepare_machine("auto", args.threads, "auto")
    on_cpu = here.device.type == "cpu"
    print(f"## Training at {args.size} x {args.size}, batch {args.batch}\n")
    counted = "CPU seconds of this process" if on_cpu else "seconds"
    print(f"{machine('torch')}; {torch.get_num_threads()} threads, device {here.device}.")
    print(f"Medians of {args.rounds}, in turns, of {counted}.\n")
    print(head("network", "part", "ms a batch", "images a second", "times the bare loop", text=2))
    for name in args.networks:
        square = InputSettings(height=args.size, width=args.size)
        config = Config(network=name, input=square, batch=args.batch, steps=STEPS)
        parts = {part: call if on_cpu else waiting(call) for part, call in steps(config, here)}
        clock = time.process_time if on_cpu else time.perf_counter
        medians = interleaved(parts, range(args.rounds), 1, clock=clock)
        for part, taken in medians.items():
            images, ratio = args.batch / taken, taken / medians["bare loop"]
            print(row(name, part, f"{1000 * taken:.1f}", f"{images:.1f}", f"{ratio:.3f}"))


def steps(config: Config, here: Machine) -> list[tuple[str, Step]]:
    """One step of each part of a training."""
    loaded = some_cases(config.input.height)
    batches = Batches(config, loaded, here)
    ready = [batches.training(0, step) for step in range(4)]
    whole = Run(config, batches, 0, machine=here, start={})
    step_only = Run(config, ReadyBatches(batches, ready), 0, machine=here, start={})
    style = AugmentSettings(style=AWESOME_BUS)
    by_case = Batches(config.model_copy(update={"augment": style}), loaded, here)
    found: list[tuple[str, Step]] = [
        ("loader", lambda step: batches.training(0, step)),
        ("trainer, batch ready", lambda step: step_only.advance()),
        ("trainer", lambda step: whole.advance()),
        # The loop's own batches are in the layout of its network, as the trainer's are.
        ("bare loop", bare_loop(config, ready, here, layout=here.layout)),
        (f"loader of profile {AWESOME_BUS}", lambda step: by_case.training(0, step)),
    ]
    layouts = {"first": torch.contiguous_format, "last": torch.channels_last}
    for name, layout in layouts.items():
        if layout != here.layout:
            laid_out = [(x.contiguous(memory_format=layout), y) for x, y in ready]
            loop = bare_loop(config, laid_out, here, layout=layout)
            found.append((f"bare loop, channels {name}", loop))
    return found


class ReadyBatches(Batches):
    """Batches that were made before."""

    def __init__(self, batches: Batches, ready: Ready) -> None:
        self._count, self._ready = batches.training_count(0), cycle(ready)

    def training_count(self, fold: int) -> int:
        return self._count

    def training(self, fold: int, step: int) -> tuple[Tensor, Tensor]:
        return next(self._ready)


def bare_loop(config: Config, ready: Ready, here: Machine, *, layout: torch.memory_format) -> Step:
    """One step of the plainest training of the same network."""
    network = build(config.network, 1, (config.input.height, config.input.width)).to(here.device)
    network = network.to(memory_format=layout).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), config.rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, total_steps=STEPS)
    batches = cycle(ready)

    def step(number: int) -> None:
        images, masks = next(batches)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(here.device.type, here.dtype, enabled=here.autocast):
            logits = network(images)
        bce_dice(logits.float(), masks).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()

    return step


def waiting(call: Step) -> Step:
    """The call, ended only when the device has done it."""

    def finished(step: int) -> None:
        call(step)
        torch.cuda.synchronize()

    return finished


def some_cases(size: int, count: int = 160) -> LoadedCases:
    """Noise with a bright box each, at the network's size already."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (count, size, size), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[:, size // 3 : size // 2, size // 4 : size // 2] = 1
    return LoadedCases(images + 100 * masks, masks, np.arange(count) % 5)


if __name__ == "__main__":
    main()

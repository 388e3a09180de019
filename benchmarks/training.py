"""How much does training cost beyond the network itself? Loader, step, both, and a bare loop.

Run from the project's root: `python -m benchmarks.training`. It prints a section in Markdown. The
bare loop is what anyone would write: forward, loss, backward, clip, AdamW, one-cycle, on tensors
that lie ready; the trainer's own step adds drawing and varying the batch, and the watch for NaN.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import cycle

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.timing import interleaved, machine, versions
from reference_models.batches import Batches
from reference_models.config import AugmentSettings, Config, InputSettings
from reference_models.data import LoadedCases
from reference_models.losses import bce_dice
from reference_models.machine import Machine, prepare_machine
from reference_models.networks import build
from reference_models.run import Run

STEPS = 10_000  # never reached: the schedules only need an end
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["unext", "cmunext"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    here = prepare_machine("auto", arguments.threads, "auto")
    print(f"## Training at {arguments.size} x {arguments.size}, batch {arguments.batch}\n")
    threads = f"{torch.get_num_threads()} threads, device {here.device}"
    print(f"{machine()}; {versions('torch')}; {threads}. Median of {arguments.rounds}, in turns.\n")
    counted = "CPU seconds of this process" if here.device.type == "cpu" else "seconds"
    print(f"Counted are {counted}.\n")
    print("| network | part | ms a batch | images a second | times the bare loop |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in arguments.networks:
        medians = measure(name, arguments.size, arguments.batch, arguments.rounds, here)
        bare = medians["bare loop"]
        for part, taken in medians.items():
            images = f"{arguments.batch / taken:.1f}"
            print(f"| {name} | {part} | {1000 * taken:.1f} | {images} | {taken / bare:.3f} |")


def measure(name: str, size: int, batch: int, rounds: int, here: Machine) -> dict[str, float]:
    """Median seconds a batch of each part."""
    square = InputSettings(height=size, width=size)
    config = Config(network=name, input=square, batch=batch, steps=STEPS)
    pictures = some_pictures(size)
    batches = Batches(config, pictures, here)
    ready = [batches.training(0, step) for step in range(4)]
    run = Run(config, batches, 0, here, start={})
    step_only = Run(config, Ready(batches, ready), 0, here, start={})
    # The loop's own batches are in the layout of its network, as the trainer's are.
    candidates: dict[str, Callable[[int], object]] = {
        "loader": lambda step: batches.training(0, step),
        "trainer, batch ready": lambda step: step_only.advance(),
        "trainer": lambda step: run.advance(),
        "bare loop": bare_loop(name, config, ready, here, here.layout),
    }
    for layout, memory_format in LAYOUTS.items():
        if memory_format != here.layout:
            laid_out = [(x.contiguous(memory_format=memory_format), y) for x, y in ready]
            loop = bare_loop(name, config, laid_out, here, memory_format)
            candidates[f"bare loop, {layout}"] = loop
    seed = config.model_copy(update={"augment": AugmentSettings(style="seed")})
    seeds = Batches(seed, pictures, here)
    candidates["loader of profile seed"] = lambda step: seeds.training(0, step)
    clock = time.process_time if here.device.type == "cpu" else time.perf_counter
    finished = {label: waiting(call, here) for label, call in candidates.items()}
    return interleaved(finished, range(rounds), warm_up=1, clock=clock)


class Ready(Batches):
    """Batches that were made before."""

    def __init__(self, batches: Batches, ready: list[tuple[Tensor, Tensor]]) -> None:
        self._count = batches.training_count(0)
        self._ready = cycle(ready)

    def training_count(self, fold: int) -> int:
        return self._count

    def training(self, fold: int, step: int) -> tuple[Tensor, Tensor]:
        return next(self._ready)


def bare_loop(
    name: str,
    config: Config,
    ready: list[tuple[Tensor, Tensor]],
    here: Machine,
    layout: torch.memory_format,
) -> Callable[[int], object]:
    """One step of the plainest training of the same network."""
    network = build(name, 1, (config.input.height, config.input.width)).to(here.device)
    network = network.to(memory_format=layout).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), config.rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, total_steps=STEPS)
    batches: Iterator[tuple[Tensor, Tensor]] = cycle(ready)

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


def waiting(call: Callable[[int], object], here: Machine) -> Callable[[int], object]:
    """The call, ended only when the device has done what it was told."""
    if here.device.type == "cpu":
        return call

    def finished(step: int) -> None:
        call(step)
        torch.cuda.synchronize()

    return finished


def some_pictures(size: int, count: int = 160) -> LoadedCases:
    """Noise with a bright box each, at the network's size already."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (count, size, size), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[:, size // 3 : size // 2, size // 4 : size // 2] = 1
    return LoadedCases(images + 100 * masks, masks, np.arange(count) % 5)


if __name__ == "__main__":
    main()

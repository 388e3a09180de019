"""Coverage of the ranking's confidence sets and intervals, on simulated challenges.

Methods differ by a constant step of Dice; patients differ in difficulty, methods and patients
interact, images of one patient resemble each other, and one image in fifty fails. A challenge is
one test set drawn from that: what is true is known, so it is counted how often the sets of ranks
contain the true ranks, the intervals the true means, and how often the groups separate methods that
are equally good. Where all are equal, every rank is a true one. Run from the project's root:
`python -m benchmarks.coverage`; prints a section in Markdown.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import head, row
from evaluator.scoring.intervals import mean_intervals
from harness.ranking.orders import exact, smallest_ranks
from harness.ranking.rank_sets import rank_sets
from harness.ranking.resampling import Patients, groups

PATIENTS = (7, 10, 20, 40, 99)
METHODS = (10, 50)
STEPS = (0.0, 0.001, 0.01)  # of Dice, from each method to the next
FAILURES = 0.02
COLUMNS = (
    "methods",
    "step",
    "patients",
    "best in its set",
    "all in their joint sets",
    "a pair separated wrongly",
    "pairs separated rightly",
    "mean in its interval",
)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counted:
    """What one simulated challenge showed."""

    best: bool  # the best method's set contains a true rank of it
    everyone: bool  # every method is in a group that its true rank allows
    wrong: bool  # some pair that is equal, or the other way round, was separated
    right: float  # share of unequal pairs that were separated rightly
    mean: float  # share of methods whose interval contains the true mean


def challenge(
    random: np.random.Generator, *, methods: int, step: float, patients: int
) -> tuple[Floats, tuple[str, ...]]:
    """Dice of each image, (images, methods), and the patient of each image: one to three each."""
    images = random.integers(1, 4, patients)
    of_image = np.repeat(np.arange(patients), images)
    skill = -step * np.arange(methods)
    difficulty = random.normal(0, 0.1, (patients, 1))
    interaction = random.normal(0, 0.03, (patients, methods))
    noise = random.normal(0, 0.04, (len(of_image), methods))
    dice = 0.75 + skill + (difficulty + interaction)[of_image] + noise
    dice[random.random(dice.shape) < FAILURES] = 0
    return dice, tuple(f"p{n:03}" for n in of_image)


def count(dice: Floats, names: tuple[str, ...], step: float) -> Counted:
    """What holds of one challenge, ranked by Dice and by a distance that follows it."""
    methods, patients = dice.shape[1], Patients.of(names)
    ranks = sum(smallest_ranks(-exact(values)) for values in (dice, np.round(dice, 2)))
    sets = rank_sets(patients.sums(np.asarray(ranks, np.float64)))
    true = np.arange(1, methods + 1)
    inside = (sets.joint[0] <= true) & (true <= sets.joint[1])
    first, last = groups(*sets.joint)
    apart = last[:, None] < first  # the row's method is called better
    better = true[:, None] < true
    low, high = mean_intervals(patients.sums(dice), patients.sizes)
    means = (1 - FAILURES) * (0.75 - step * np.arange(methods))
    return Counted(
        best=step == 0 or bool(sets.own[0][0] == 1),
        everyone=bool((inside if step else sets.joint[1] - sets.joint[0] == methods - 1).all()),
        wrong=bool((apart & ~better).any() if step else apart.any()),
        right=float(apart[better].mean()) if step else float("nan"),
        mean=float(((low <= means) & (means <= high)).mean()),
    )


def simulate(runs: int, *, methods: int, step: float, patients: int) -> dict[str, float]:
    """The share of challenges in which each holds."""
    random = np.random.default_rng([methods, patients, round(step * 1e4)])
    found = [
        count(*challenge(random, methods=methods, step=step, patients=patients), step)
        for _ in range(runs)
    ]
    return {
        name: float(np.mean([getattr(one, name) for one in found]))
        for name in ("best", "everyone", "wrong", "right", "mean")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="simulated challenges a row")
    args = parser.parse_args()
    print(f"## Coverage of the ranking's intervals\n\n{args.runs} simulated challenges a row.\n")
    print(head(*COLUMNS, text=0), flush=True)
    for methods in METHODS:
        for step in STEPS:
            for patients in PATIENTS:
                found = simulate(args.runs, methods=methods, step=step, patients=patients)
                cells = ("–" if np.isnan(value) else f"{value:.2f}" for value in found.values())
                print(row(methods, step, patients, *cells), flush=True)


if __name__ == "__main__":
    main()

"""An attacker who climbs to hidden labels by handing in again and again.

For each hidden case he holds two masks, one good (Dice 0.9) and one bad (0.6), and cannot tell
which is which. Whatever the feedback teaches him, he hands in next. What he gained, in the true
mean Dice, is what leaked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BusbenchError
from harness.challenge import Phase
from harness.quotas.policy import Submitted, admit, show
from tests.support.factories import digest_of, make_report

CASES = 174  # lesions of the BUS-BRA subset's test part
GOOD, BAD = 0.9, 0.6
Choice = NDArray[np.bool_]
Attack = Callable[["Oracle", np.random.Generator], Choice]


class OutOfQuotaError(Exception):
    """The policy takes no more submissions within the challenge."""


@dataclass
class Oracle:
    """The organiser, as the attacker meets it: masks in, feedback out."""

    phase: Phase
    truth: Choice
    days: int
    log: list[Submitted] = field(default_factory=list)

    def dice(self, choice: Choice) -> float:
        """The true mean Dice, which nobody shows."""
        return float(np.where(choice == self.truth, GOOD, BAD).mean())

    def ask(self, choice: Choice) -> float:
        """Hand in `choice` on the first day that the quota allows; the Dice that is shown."""
        digest = digest_of(choice.tobytes().hex())
        for day in (date(2026, 1, 1) + timedelta(n) for n in range(self.days)):
            new = Submitted(
                submission_sha256=digest,
                team="climber",
                method="m",
                track="busbra",
                phase=self.phase.name,
                day=day,
            )
            try:
                own = admit(self.log, new, self.phase)
            except BusbenchError:
                continue
            if own.shown is None:
                shown = show(self.log, own, make_report(dice=self.dice(choice)), phase=self.phase)
                own = own.model_copy(update={"shown": shown})
                self.log.append(own)
            return (own.shown or {})["all"]["dice"]
        raise OutOfQuotaError


def one_by_one(oracle: Oracle, chance: np.random.Generator) -> Choice:
    """Swap one mask after the other and keep each swap that is shown to help."""
    return _climb(oracle, chance, lambda: iter([[case] for case in range(CASES)]))


def by_blocks(oracle: Oracle, chance: np.random.Generator) -> Choice:
    """Swap large random sets of masks, whose effect exceeds a rounding step."""

    def sets() -> Iterator[list[int]]:
        for size in [64, 48, 32, 24, 16] * 60:
            yield list(chance.choice(CASES, size, replace=False))

    return _climb(oracle, chance, sets)


def by_majority(oracle: Oracle, chance: np.random.Generator) -> Choice:
    """Hand in random choices and let those that score above the middle vote (Blum & Hardt)."""
    start = _start(oracle, chance)
    votes = np.zeros(CASES)
    try:
        best = oracle.ask(start)
        for _ in range(300):
            choice = chance.random(CASES) < 0.5
            shown = oracle.ask(choice)
            if shown != best:  # on a ladder only a better one shows
                votes += (1 if shown > (GOOD + BAD) / 2 else -1) * np.where(choice, 1, -1)
    except OutOfQuotaError:
        pass
    return np.where(votes == 0, start, votes > 0)


def _climb(
    oracle: Oracle, chance: np.random.Generator, sets: Callable[[], Iterator[list[int]]]
) -> Choice:
    choice = _start(oracle, chance)
    try:
        best = oracle.ask(choice)
        for cases in sets():
            tried = choice.copy()
            tried[cases] ^= True
            shown = oracle.ask(tried)
            if shown > best:
                choice, best = tried, shown
    except OutOfQuotaError:
        pass
    return choice


def _start(oracle: Oracle, chance: np.random.Generator) -> Choice:
    """As wrong as right: exactly half of the cases."""
    order = chance.permutation(CASES)
    return np.where(np.isin(np.arange(CASES), order[: CASES // 2]), oracle.truth, ~oracle.truth)


ATTACKS: dict[str, Attack] = {
    "one by one": one_by_one,
    "by blocks": by_blocks,
    "by majority": by_majority,
}
POLICIES: dict[str, Phase] = {
    "no policy": Phase(name="p"),
    "rounded to 0.01": Phase(name="p", steps={"dice": 0.01}, ladder=False),
    "ladder, step 0.01": Phase(name="p", steps={"dice": 0.01}),
    "ladder, step 0.01, 30 in all": Phase(
        name="p", steps={"dice": 0.01}, quota_per_day=2, quota=30
    ),
    "ladder, step 0.02, 10 in all": Phase(
        name="p", steps={"dice": 0.02}, quota_per_day=1, quota=10
    ),
}


def leaked(attack: str, policy: str, repeats: int = 6) -> float:
    """The mean gain in true Dice; 0.15 would be every label."""
    gains = []
    for seed in range(repeats):
        chance = np.random.default_rng(seed)
        oracle = Oracle(POLICIES[policy], chance.random(CASES) < 0.5, days=60)
        end = ATTACKS[attack](oracle, chance)
        gains.append(oracle.dice(end) - (GOOD + BAD) / 2)
    return float(np.mean(gains))


def table() -> dict[str, dict[str, float]]:
    """What each attack gains under each policy."""
    return {
        policy: {attack: round(leaked(attack, policy), 3) for attack in ATTACKS}
        for policy in POLICIES
    }

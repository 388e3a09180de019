"""Attackers who climb to hidden labels by handing in again and again, and what they gain.

For each hidden case an attacker has two masks, one good (Dice 0.9) and one bad (0.6), and cannot
tell which is which; an empty one is worth 0. Whatever the feedback teaches is used. The gain in the
true mean Dice is what leaked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BusbenchError
from harness.challenge import Phase
from harness.quotas.policy import Submitted, admit, show
from tests.support.factories import digest_of, make_report

CASES = 174  # lesions of the BUS-BRA subset's test part
GOOD, BAD = 0.9, 0.6
MIDDLE = (GOOD + BAD) / 2
SPREAD = (GOOD - BAD) / 2 / math.sqrt(CASES)  # of the mean Dice of a random choice
HEIGHT = 0.5  # of the mean Dice, for a staircase
SUBMISSIONS = 300  # where no quota ends it before
EMPTY = -1
Choice = NDArray[np.int8]  # of each case: mask 0, mask 1, or none
Attack = Callable[["Oracle", np.random.Generator], Choice]


class OutOfQuotaError(Exception):
    """The policy takes no more submissions within the challenge, or has nothing to say of them."""


@dataclass
class Oracle:
    """The organiser, as the attacker meets it: masks in, feedback out."""

    phase: Phase
    truth: Choice
    days: int
    log: list[Submitted] = field(default_factory=list)

    def dice(self, choice: Choice) -> float:
        """The true mean Dice, which nobody shows."""
        scores = np.where(choice == self.truth, GOOD, BAD)
        return float(np.where(choice == EMPTY, 0.0, scores).mean())

    @property
    def quota(self) -> int:
        """How often anybody may submit, as far as anybody would."""
        return self.phase.quota or SUBMISSIONS

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
            if not own.shown:
                break
            return own.shown["all"]["dice"]
        raise OutOfQuotaError


def one_by_one(oracle: Oracle, chance: np.random.Generator) -> Choice:
    """Swap one mask after the other and keep each swap that is shown to help."""
    return _climb(oracle, chance, lambda: iter([[case] for case in range(CASES)]))


def by_blocks(oracle: Oracle, chance: np.random.Generator) -> Choice:
    """Swap large random sets of masks, whose effect exceeds a rounding step."""

    def sets() -> Iterator[list[int]]:
        for size in [64, 48, 32, 24, 16] * (SUBMISSIONS // 5):
            yield list(chance.choice(CASES, size, replace=False))

    return _climb(oracle, chance, sets)


def by_majority(oracle: Oracle, chance: np.random.Generator) -> Choice:
    """Hand in random choices and let those that score above the middle vote (Blum & Hardt)."""
    start = _start(oracle, chance)
    votes = np.zeros(CASES)
    try:
        best = oracle.ask(start)
        for _ in range(SUBMISSIONS):
            choice = _random(chance)
            shown = oracle.ask(choice)
            if shown != best:  # on a ladder only a better one shows
                votes += (1 if shown > MIDDLE else -1) * np.where(choice == 1, 1, -1)
    except OutOfQuotaError:
        pass
    return _elected(votes, start)


def by_staircase(oracle: Oracle, chance: np.random.Generator) -> Choice:
    """Let random choices vote, with so many masks left empty that each is at the edge of a step.

    A ladder shows nothing but a step forward. So the attacker begins low, and expects each next
    choice to be as good as would just be shown: every answer is then one about the labels, also
    that nothing is shown. Without a ladder no mask has to be left empty.
    """
    start = _start(oracle, chance)
    step = (oracle.phase.steps or {}).get("dice", 0.0)
    stride = 1.5 * step if oracle.phase.ladder else 0.0  # of the best that is shown, at a success
    share = min(0.5, HEIGHT / stride / oracle.quota) if stride else 0.5  # of successes
    edge = NormalDist().inv_cdf(1 - share)
    up, down = (NormalDist().pdf(edge) / part for part in (share, share - 1))
    votes = np.zeros(CASES)
    try:
        low = MIDDLE - share * oracle.quota * stride
        best = oracle.ask(_emptied(_random(chance), low, chance))
        for _ in range(oracle.quota):
            spread = SPREAD * math.sqrt(min(1.0, (best + step) / MIDDLE))
            level = best + step - edge * spread if stride else MIDDLE
            choice = _emptied(_random(chance), level, chance)
            shown = oracle.ask(choice)
            surprise = (up if shown > best else down) * SPREAD if stride else shown - MIDDLE
            votes += surprise * np.where(choice == EMPTY, 0, np.where(choice == 1, 1, -1))
            best = shown
    except OutOfQuotaError:
        pass
    return _elected(votes, start)


def _random(chance: np.random.Generator) -> Choice:
    return chance.integers(0, 2, CASES, dtype=np.int8)


def _emptied(choice: Choice, level: float, chance: np.random.Generator) -> Choice:
    """`choice` with so many masks left empty that a mean Dice of `level` is expected."""
    number = round(CASES * min(1.0, max(0.0, 1 - level / MIDDLE)))
    choice = choice.copy()
    choice[chance.choice(CASES, number, replace=False)] = EMPTY
    return choice


def _elected(votes: NDArray[np.float64], start: Choice) -> Choice:
    return np.where(votes == 0, start, votes > 0).astype(np.int8)


def _climb(
    oracle: Oracle, chance: np.random.Generator, sets: Callable[[], Iterator[list[int]]]
) -> Choice:
    choice = _start(oracle, chance)
    try:
        best = oracle.ask(choice)
        for cases in sets():
            tried = choice.copy()
            tried[cases] ^= 1
            shown = oracle.ask(tried)
            if shown > best:
                choice, best = tried, shown
    except OutOfQuotaError:
        pass
    return choice


def _start(oracle: Oracle, chance: np.random.Generator) -> Choice:
    """As wrong as right: exactly half of the cases."""
    order = chance.permutation(CASES)
    return np.where(np.isin(np.arange(CASES), order[: CASES // 2]), oracle.truth, 1 - oracle.truth)


ATTACKS: dict[str, Attack] = {
    "one by one": one_by_one,
    "by blocks": by_blocks,
    "by majority": by_majority,
    "by staircase": by_staircase,
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
    "ladder, step 0.05, 5 in all": Phase(name="p", steps={"dice": 0.05}, quota_per_day=1, quota=5),
    "nothing shown, 30 in all": Phase(name="p", steps={}, quota_per_day=2, quota=30),
}


def leaked(attack: str, policy: str, repeats: int = 8) -> float:
    """The mean gain in true Dice; 0.15 would be every label."""
    gains = []
    for seed in range(repeats):
        chance = np.random.default_rng(seed)
        oracle = Oracle(POLICIES[policy], _random(chance), days=60)
        end = ATTACKS[attack](oracle, chance)
        gains.append(oracle.dice(end) - MIDDLE)
    return float(np.mean(gains))


def bits_used(gain: float, phase: Phase) -> float:
    """Bits about the labels behind a gain, each submission: fewer do not allow it (Shannon)."""
    right = 0.5 + max(0.0, gain) / (GOOD - BAD)
    entropy = -sum(p * math.log2(p) for p in (right, 1 - right) if p > 0)
    return CASES * (1 - entropy) / (phase.quota or SUBMISSIONS)


def bits_sent(phase: Phase) -> float:
    """Bits that the answers can carry at most, each submission: the log of their number."""
    if phase.steps is None:
        return 53.0  # of a double
    if "dice" not in phase.steps:
        return 0.0
    levels, number = round(1 / phase.steps["dice"]) + 1, phase.quota or SUBMISSIONS
    if not phase.ladder:
        return math.log2(levels)
    return math.log2(math.comb(levels - 1 + number, number)) / number  # they never fall


def table() -> dict[str, list[float]]:
    """Of each policy: what each attack gains, bits used by the best of them, bits sent."""
    rows = {}
    for policy, phase in POLICIES.items():
        gains = [leaked(attack, policy) for attack in ATTACKS]
        bits = (bits_used(max(gains), phase), bits_sent(phase))
        rows[policy] = [round(gain, 3) + 0.0 for gain in gains] + [round(each, 2) for each in bits]
    return rows

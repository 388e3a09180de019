"""Simulation of a challenge: how many slots it needs, and what breaks first.

    python -m tests.support.studies.capacity [--seconds 40] [--append 0.02 0.0006]

Submissions arrive by chance, more by day than by night; each takes a free slot, or waits its turn.
A result is then recorded by one writer, whose append takes longer the longer the ledger is, because
it is verified each time. All figures that decide come from measurements (docs/scale.md).
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

DAY = 86400.0


@dataclass(frozen=True)
class Load:
    """What comes, and how fast it is dealt with.

    Args:
        a_day: submissions of all teams.
        job_seconds: mean of one evaluation on one slot, its spread being `spread` (lognormal).
        append_seconds: of a record in an empty ledger.
        append_seconds_an_entry: what each entry that is there adds.
    """

    a_day: float
    days: float
    slots: int
    job_seconds: float
    spread: float = 0.3
    append_seconds: float = 0.0
    append_seconds_an_entry: float = 0.0
    day_and_night: float = 0.8  # 0: as many by night as by day; 1: none at the quietest moment
    seed: int = 42


@dataclass(frozen=True)
class Found:
    """What came of a load; seconds."""

    submissions: int
    busy: float  # share of the slots' time until the last job ended
    mean_wait: float  # until a slot was free
    median_wait: float
    late_wait: float  # 95th percentile
    record_wait: float  # 95th percentile, from the job's end to its record
    finished: float  # when the last was recorded


def arrivals(load: Load) -> Iterator[float]:
    """Times of a Poisson process whose rate goes up and down with the day (thinning)."""
    draw = np.random.default_rng(load.seed)
    highest = load.a_day / DAY * (1 + load.day_and_night)
    now = 0.0
    while (now := now + draw.exponential(1 / highest)) < load.days * DAY:
        rate = 1 - load.day_and_night * math.cos(2 * math.pi * now / DAY)
        if draw.random() < rate / (1 + load.day_and_night):
            yield now


def simulate(load: Load, times: Sequence[float] | None = None) -> Found:
    """First come, first served, on `slots` slots and one writer of the ledger.

    Args:
        times: when submissions arrive, instead of by chance.
    """
    came = np.array(list(arrivals(load)) if times is None else times)
    draw = np.random.default_rng(load.seed + 1)
    middle = math.log(load.job_seconds) - load.spread**2 / 2
    taken = draw.lognormal(middle, load.spread, len(came))
    free = [0.0] * load.slots
    ends = np.empty(len(came))
    for index, (arrived, seconds) in enumerate(zip(came, taken, strict=True)):
        begun = max(arrived, heapq.heappop(free))
        ends[index] = begun + seconds
        heapq.heappush(free, ends[index])
    waits = ends - taken - came
    records = _record(np.sort(ends), load)
    return Found(
        submissions=len(came),
        busy=float(taken.sum() / (load.slots * ends.max())),
        mean_wait=float(waits.mean()),
        median_wait=float(np.median(waits)),
        late_wait=float(np.quantile(waits, 0.95)),
        record_wait=float(np.quantile(records - np.sort(ends), 0.95)),
        finished=float(records[-1]),
    )


def _record(ends: np.ndarray, load: Load) -> np.ndarray:
    records = np.empty(len(ends))
    now = 0.0
    for entries, end in enumerate(ends):
        append = load.append_seconds + entries * load.append_seconds_an_entry
        now = records[entries] = max(now, end) + append
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--a-day", type=float, default=10_000, help="submissions of all teams")
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--seconds", type=float, default=40, help="of one evaluation on a slot")
    parser.add_argument("--append", type=float, nargs=2, default=(0.0, 0.0), metavar=("A", "B"))
    args = parser.parse_args()
    load = Load(args.a_day, args.days, 1, args.seconds, append_seconds=args.append[0])
    load = replace(load, append_seconds_an_entry=args.append[1])
    least = math.ceil(load.a_day * load.job_seconds / DAY)
    print("| slots | busy | median wait | 95 % wait | 95 % wait for the ledger |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for slots in sorted({least, *(math.ceil(least * more) for more in (1.25, 1.5, 2.0))}):
        found = simulate(replace(load, slots=slots))
        waits = (found.median_wait, found.late_wait, found.record_wait)
        cells = " | ".join(f"{seconds / 60:,.1f} min" for seconds in waits)
        print(f"| {slots} | {found.busy:.0%} | {cells} |")


if __name__ == "__main__":
    main()

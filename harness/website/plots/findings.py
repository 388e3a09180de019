"""Findings of a track's plots: what each shows, in a sentence computed from what it is drawn from.

It is the plot's alternative text, and its caption begins with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

from harness.ranking.document import Significance
from harness.ranking.metrics import BY_KEY, MISSING
from harness.website.plots.charts import FAILURES, failures
from harness.website.plots.frontier import frontier, points
from harness.website.plots.shown import Shown
from harness.website.rendering import gmacs

ENDS = ("dice", "hd95")  # an overlap and a boundary metric: what is said in words
NAMED = 4  # results that a sentence names, at most
OFTEN = 0.01  # share of the draws from which on a rank is spoken of
SCHEME = {"mean-rank": "mean rank", "aggregate": "means", "test-based": "tests"}


def listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`, `A, B, C, D and 3 more`."""
    more = len(names) - NAMED
    *first, last = [*names[:NAMED], f"{more} more"] if more > 0 else names
    return f"{', '.join(first)} and {last}" if first else last


def extent(shown: Shown) -> str:
    """The best and the lowest mean, and whose they are."""
    said = []
    for metric in (BY_KEY[key] for key in ENDS):
        means = {label: row.groups["all"].metrics[metric.key].mean for label, row in shown.each()}
        order = sorted(means, key=lambda name: means[name], reverse=metric.higher_is_better)
        unit = shown.track.units.get(metric.key)
        best, worst = (f"{metric.number(means[name])} ({name})" for name in (order[0], order[-1]))
        said.append(f"Mean {metric.label}{f' in {unit}' if unit else ''}: {best} to {worst}.")
    return " ".join(said)


def firsts(shown: Shown) -> str:
    """Who was at rank 1, and how often."""
    statistics = shown.track.statistics
    if statistics is None:
        return ""
    found = {
        label: row.ranked.resamples_first / statistics.resamples
        for label, row in shown.each()
        if row.ranked
    }
    often = [
        f"{name} in {_percent(share)}"
        for name, share in sorted(found.items(), key=lambda one: -one[1])
        if share >= OFTEN
    ]
    return (
        f"At rank 1 in the draws: {listed(often)}." if often else "None is at rank 1 in 1\u00a0%."
    )


def variation(shown: Shown) -> str:
    """Where half of the first ranked one's images lie, and how large the shares of failures are."""
    said = []
    label, row = next(shown.each())
    dice = BY_KEY["dice"]
    if row.ranked and (found := row.ranked.metrics.get("dice")):
        lowest, low, _, high, _ = map(dice.number, found.quantiles)
        said.append(
            f"{label}: Dice is between {low} and {high} on half of the images, and below {lowest} "
            "on one in twenty."
        )
    for kind in FAILURES:
        shares = [share[kind] for _, row in shown.each() if kind in (share := failures(row))]
        if shares:
            ends = f"{_percent(min(shares))} to {_percent(max(shares))}"
            said.append(f"{kind.capitalize()}: {ends}.")
    return " ".join(said)


def differences(shown: Shown) -> str:
    """Who is better than all others, and how many pairs differ, by metric."""
    statistics = shown.track.statistics
    if statistics is None:
        return ""
    tests = statistics.significance
    rows = {row.entry_digest: row for row in shown.track.ranked}
    names = Shown(shown.track, tuple(rows[e] for e in tests.entries), shown.characters).labels
    ranked, said = len(shown.track.ranked), []
    if len(names) < ranked:
        said.append(f"Among {len(names)} of {ranked} results, evenly spread over the order:")
    for metric in (BY_KEY[key] for key in ENDS):
        adjusted, wins = tests.adjusted[metric.key], _wins(tests, metric.key)
        real = sum(
            min(adjusted[one][other], adjusted[other][one]) < tests.level
            for one, other in combinations(range(len(names)), 2)
        )
        apart = leaders(tests, metric.key)
        best = wins.index(max(wins))
        ahead = f"{names[best]} is better than {wins[best]} of {len(names) - 1} others"
        if apart:
            verb = "is" if len(apart) == 1 else "are each"
            ahead = f"{listed([names[place] for place in apart])} {verb} better than the rest"
        pairs = math.comb(len(names), 2)
        said.append(f"{metric.label}: {ahead}; {real} of {pairs} pairs differ significantly.")
    return " ".join(said)


def leaders(tests: Significance, metric: str) -> list[int]:
    """The smallest set of entries of which each is significantly better than every other one.

    Places in `tests.entries`; empty where only all of them together would be such a set.
    """
    adjusted, count = tests.adjusted[metric], len(tests.entries)
    wins = _wins(tests, metric)
    order = sorted(range(count), key=lambda place: -wins[place])
    for size in range(1, count):
        inside, rest = order[:size], order[size:]
        if all(adjusted[one][other] < tests.level for one in inside for other in rest):
            return sorted(inside)
    return []


def _wins(tests: Significance, metric: str) -> list[int]:
    """How many others each entry is significantly better than."""
    return [sum(p < tests.level for p in line) for line in tests.adjusted[metric]]


def weakest(shown: Shown) -> str:
    """The parts on which the results are lowest and highest on average."""
    means = {}
    for title, part in shown.parts.items():
        found = [one.mean for row in shown.rows if (one := row.summary("dice", part))]
        if found:
            means[title] = fmean(found)
    low, high = (pick(means, key=lambda title: means[title]) for pick in (min, max))
    dice = BY_KEY["dice"]
    return (
        f"Mean Dice of all shown is lowest on {low}, {dice.number(means[low])}, and highest on "
        f"{high}, {dice.number(means[high])}."
    )


def bargains(shown: Shown) -> str:
    """Those on the Pareto line, cheapest first."""
    found = points(shown)
    line = [
        f"{point.name} ({gmacs(point.gmacs)} GMACs, Dice {BY_KEY['dice'].number(point.dice)})"
        for point in frontier(found)
    ]
    return f"For less work no other has the Dice of {listed(line)}."


def agreement(shown: Shown) -> str:
    """How far the orders agree, and each with itself on other patients; empty for one result."""
    statistics = shown.track.statistics
    if statistics is None or all(one.tau is None for one in statistics.agreement):
        return ""
    pairs = [
        f"{' and '.join(SCHEME[scheme] for scheme in one.schemes)} {_tau(one.tau)}"
        for one in statistics.agreement
    ]
    selves = [
        f"{SCHEME[one.scheme]} {_tau(one.tau)}"
        + (f" ({_tau(one.interval.low)} to {_tau(one.interval.high)})" if one.interval else "")
        for one in statistics.stability
    ]
    return (
        "How far the orders agree, as Kendall's τ (1: the same order; −1: the reverse): "
        f"{', '.join(pairs)}. Each order and its own on patients drawn anew, with "
        f"where the middle 95\u00a0% of draws lie: {', '.join(selves)}."
    )


def too_few(shown: Shown) -> str:
    """How many patients it would take, where no pair can be significant; else empty."""
    found = shown.track.statistics
    if found is None or found.patients >= found.significance.patients_needed:
        return ""
    return (
        f"With {found.patients} patients no pair can be significant, however large the difference: "
        f"after the adjustment for so many pairs it takes {found.significance.patients_needed}."
    )


def _tau(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"

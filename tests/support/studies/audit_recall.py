"""Does the audit find every copy, and nothing else? Recall and precision on planted copies.

Every image of the three real subsets gets one copy of one kind; originals and copies are written
to one store, and the audit looks at all of them without knowing patients. Run from the project's
root: `python -m tests.support.studies.audit_recall --data ../shared/data`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from harness.audit import audit, connected_groups
from harness.store import write_store
from tests.support.studies.audit_plants import KINDS
from tests.support.studies.audit_real import natural_links, planted, real_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=1, help="how often all is done anew")
    arguments = parser.parse_args()
    totals, found, wrong = Counter[str](), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        samples = real_samples(arguments.data, Path(folder))
        natural = natural_links(samples)
        for seed in range(arguments.seeds):
            copies = planted(samples, seed)
            everything = [*samples, *(copy for _, copy in copies)]
            store = write_store(Path(folder) / f"planted-{seed}", "planted", everything)
            pairs = {(pair.first, pair.second) for pair in audit(store).pairs}
            kinds = {copy.case_id: kind for kind, copy in copies}
            count(pairs, kinds, natural, totals, found, wrong)
    show(totals, found, wrong)


def count(
    pairs: set[tuple[str, str]],
    kinds: dict[str, str],
    natural: list[tuple[str, str]],
    totals: Counter[str],
    found: Counter[str],
    wrong: Counter[str],
) -> None:
    """Add one audit's hits and misses, by the kind of the copies concerned."""
    planted_pairs = {(name.removeprefix("copy."), name): kind for name, kind in kinds.items()}
    groups = connected_groups([*natural, *planted_pairs])
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    for (first, second), kind in planted_pairs.items():
        totals[kind] += 1
        hit = tuple(sorted((first, second))) in pairs
        found[kind] += hit
        if not hit:
            print(f"missed: {first} {kind}")
    for first, second in sorted(pairs):
        if group_of[first] != group_of[second]:
            of = {kinds[name] for name in (first, second) if name in kinds} or {"no copy"}
            wrong.update(of)
            print(f"wrong: {first} {second} {' and '.join(sorted(of))}")


def show(totals: Counter[str], found: Counter[str], wrong: Counter[str]) -> None:
    """Print the table; precision is over pairs that a copy of the kind is part of."""
    print("| kind | planted | found | recall | wrong pairs | precision |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in (*KINDS, "no copy"):
        precision = found[kind] / max(1, found[kind] + wrong[kind])
        share = f"{found[kind] / totals[kind]:.3f} " if totals[kind] else "– "
        exact = f"{precision:.3f}" if totals[kind] else "–"
        print(f"| {kind} | {totals[kind]} | {found[kind]} | {share}| {wrong[kind]} | {exact} |")


if __name__ == "__main__":
    main()

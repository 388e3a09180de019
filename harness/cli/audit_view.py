"""An audit's report, certificate or comparison of datasets on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from evaluator.harmless import harmless
from harness.audit import AuditReport, Pair, Verdict
from harness.audit.report import unknown_patients
from harness.cli.app import out
from harness.cli.screen import Grid

if TYPE_CHECKING:
    from harness.audit.across import CrossAudit
    from harness.audit.certificate import LeakCertificate
    from harness.store import CaseStore

SHOWN = 10  # lines of each sort; the report written to --out has them all


def show(store: CaseStore, report: AuditReport, certificate: LeakCertificate | None) -> None:
    """Print a report for people: the first pairs and groups, counts, the verdicts on a split."""
    # pairs of a patient are many, and the groups show them
    named = {case.case_id: case.shown for case in store.cases}
    twins = [pair for pair in report.pairs if pair.kind != "same-patient"]
    lines([f"pair: {described(pair, named)}" for pair in twins])
    lines([f"group: {' '.join(group)}" for group in report.groups])
    grouped = sum(map(len, report.groups))
    counted = (
        f"{report.cases} cases, {len(report.pairs)} pairs, "
        f"{len(report.groups)} groups of {grouped} cases, {len(report.conflicts)} conflicts"
    )
    out.print(harmless(counted))
    if certificate:
        return show_certificate(certificate, named)
    if report.excluded:
        out.print(harmless(f"{len(report.excluded)} cases were left out on request."))
    if report.without_patient:
        out.print(harmless(unknown_patients(report.without_patient, report.cases)))
    return None


def show_certificate(certificate: LeakCertificate, named: Mapping[str, str]) -> None:
    """Print the verdicts on a split, and the first cases that leak."""
    heads = ("split", "held out", "leaking", "share", "both", "patient", "identical", "near")
    judged = Grid(harmless(""), *map(harmless, heads))
    for name, verdict in certificate.verdicts.items():
        counts = (verdict.test, verdict.leaking, f"{verdict.share:.1%}", len(verdict.both))
        judged.row(*map(harmless, (name, *counts, *verdict.by_kind.values())))
    leaks = [leak for name, v in certificate.verdicts.items() for leak in leaks_of(name, v, named)]
    lines([f"leak: {leak}" for leak in leaks])
    out.draw(judged)
    for sentence in (f"{certificate.split}: {certificate.headline}", *certificate.limits):
        out.print(harmless(sentence))


def leaks_of(name: str, verdict: Verdict, named: Mapping[str, str]) -> list[str]:
    """Each leak of a split in one line."""
    twice = [f"{name}: {named[case_id]} is in training too" for case_id in verdict.both]
    ends = ((pair, *ends) for pair in verdict.pairs for ends in _both_ways(pair))
    return twice + [
        f"{name}: {named[case_id]} {pair.kind} {named[other]} in training"
        for pair, case_id, other in ends
        if case_id in verdict.cases
    ]


def _both_ways(pair: Pair) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair.first, pair.second), (pair.second, pair.first)


def show_across(report: CrossAudit, pairs: Sequence[Pair], named: Mapping[str, str]) -> None:
    """Print the frames that datasets share, and how many a network would have seen.

    Args:
        pairs: those of the report, by the ids that `named` has.
    """
    lines(
        [
            f"pair: {named[pair.first]}, {named[pair.second]}: {pair.kind}, {pair.similarity:.3f}"
            + (f"; conflict: {pair.conflict}" if pair.conflict else "")
            for pair in sorted(pairs)
        ]
    )
    heads = ("trained on", "tested on", "cases", "with a twin in training")
    grid = Grid(harmless(""), *map(harmless, heads))
    for one in report.shared:
        grid.row(*map(harmless, (one.trained_on, one.tested_on, one.cases, one.twins)))
    out.draw(grid)
    out.print(harmless("Patients are not compared: each release numbers its own."))
    if not report.near:
        out.print(harmless("Near-duplicates were not looked for."))


def described(pair: Pair, named: Mapping[str, str]) -> str:
    """A pair in one line: who, what kind, how similar, how transformed, what contradicts itself."""
    ends = f"{named[pair.first]} {named[pair.second]}"
    parts = (f"{ends} {pair.kind}", f"{pair.similarity:.3f}", pair.transform)
    conflict = f"; conflict: {pair.conflict}" if pair.conflict else ""
    return ", ".join(part for part in parts if part) + conflict


def lines(texts: list[str]) -> None:
    """Print the first of these as they are, however narrow the terminal: scripts look for them."""
    for text in texts[:SHOWN]:
        out.print(harmless(text))
    if texts[SHOWN:]:
        more = f"... and {len(texts) - SHOWN} more: the report has them all, see --out."
        out.print(harmless(more))

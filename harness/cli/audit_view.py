"""An audit's report, certificate or comparison of datasets on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.harmless import harmless
from harness.audit import AuditReport, Pair, Verdict
from harness.audit.report import unknown_patients
from harness.cli.app import out
from harness.cli.screen import Grid

if TYPE_CHECKING:
    from harness.audit.across import CrossAudit
    from harness.audit.certificate import LeakCertificate

SHOWN = 10  # lines of each sort; the report written to --out has them all


def show(report: AuditReport, certificate: LeakCertificate | None) -> None:
    """Print a report for people: the first pairs and groups, counts, the verdicts on a split."""
    # pairs of a patient are many, and the groups show them
    lines([f"pair: {described(pair)}" for pair in report.pairs if pair.kind != "same-patient"])
    lines([f"group: {' '.join(group)}" for group in report.groups])
    grouped = sum(map(len, report.groups))
    counted = (
        f"{report.cases} cases, {len(report.pairs)} pairs, "
        f"{len(report.groups)} groups of {grouped} cases, {len(report.conflicts)} conflicts"
    )
    out.print(harmless(counted))
    if certificate:
        return show_certificate(certificate)
    if report.excluded:
        out.print(harmless(f"{len(report.excluded)} cases were left out on request."))
    if report.without_patient:
        out.print(harmless(unknown_patients(report.without_patient, report.cases)))
    return None


def show_certificate(certificate: LeakCertificate) -> None:
    """Print the verdicts on a split, and the first cases that leak."""
    heads = ("split", "held out", "leaking", "share", "both", "patient", "identical", "near")
    judged = Grid(harmless(""), *map(harmless, heads))
    for name, verdict in certificate.verdicts.items():
        counts = (verdict.test, verdict.leaking, f"{verdict.share:.1%}", len(verdict.both))
        judged.row(*map(harmless, (name, *counts, *verdict.by_kind.values())))
    lines(
        [f"leak: {leak}" for name, v in certificate.verdicts.items() for leak in leaks_of(name, v)]
    )
    out.draw(judged)
    for sentence in (f"{certificate.split}: {certificate.headline}", *certificate.limits):
        out.print(harmless(sentence))


def leaks_of(name: str, verdict: Verdict) -> list[str]:
    """Each leak of a split in one line."""
    twice = [f"{name}: {case_id} is in training too" for case_id in verdict.both]
    ends = ((pair, *ends) for pair in verdict.pairs for ends in _both_ways(pair))
    return twice + [
        f"{name}: {case_id} {pair.kind} {other} in training"
        for pair, case_id, other in ends
        if case_id in verdict.cases
    ]


def _both_ways(pair: Pair) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair.first, pair.second), (pair.second, pair.first)


def show_across(report: CrossAudit) -> None:
    """Print the frames that datasets share, and how many a network would have seen."""
    lines(
        [
            f"pair: {pair.first_dataset} {pair.first}, {pair.second_dataset} {pair.second}: "
            f"{pair.kind}, {pair.similarity:.3f}"
            + (f"; conflict: {pair.conflict}" if pair.conflict else "")
            for pair in report.pairs
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


def described(pair: Pair) -> str:
    """A pair in one line: who, what kind, how similar, how transformed, what contradicts itself."""
    parts = (f"{pair.first} {pair.second} {pair.kind}", f"{pair.similarity:.3f}", pair.transform)
    conflict = f"; conflict: {pair.conflict}" if pair.conflict else ""
    return ", ".join(part for part in parts if part) + conflict


def lines(texts: list[str]) -> None:
    """Print the first of these as they are, however narrow the terminal: scripts look for them."""
    for text in texts[:SHOWN]:
        out.print(harmless(text))
    if texts[SHOWN:]:
        more = f"... and {len(texts) - SHOWN} more: the report has them all, see --out."
        out.print(harmless(more))

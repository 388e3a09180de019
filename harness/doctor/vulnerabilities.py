"""Known vulnerabilities by version: a table, and a pure comparison.

A distribution repairs vulnerabilities without a new version number, so a version that bears its
mark is a warning to read its changelog, not a failure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.doctor.finding import Finding

_NUMBER = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_DISTRIBUTION = re.compile(r"[+~-](?:ds|dfsg|deb|\d*ubuntu|el\d|fc\d|amzn)")


@dataclass(frozen=True)
class Vulnerability:
    """Versions of a component that should not be used."""

    name: str
    fixed: Sequence[tuple[int, ...]]  # the first good version of each maintained branch
    why: str
    remedy: str
    fatal: bool  # whether an evaluation of strangers' work should not run on it


_KNOWN = (
    Vulnerability(
        "engine",
        ((25, 0, 0),),
        "it gets no repairs any more; without BUSBench's filter, containers may use io_uring",
        "Update Docker to a release that is maintained, 25.0 or later.",
        fatal=False,
    ),
    Vulnerability(
        "runc",
        ((1, 2, 8), (1, 3, 3), (1, 4, 0)),
        "CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881: a container can write to the host",
        "Update runc to 1.2.8, 1.3.3, 1.4.0 or later.",
        fatal=True,
    ),
    Vulnerability(
        "nvidia-container-toolkit",
        ((1, 17, 8),),
        "CVE-2025-23266: an image's LD_PRELOAD runs with the host's rights",
        "Update the NVIDIA container toolkit to 1.17.8 or later.",
        fatal=True,
    ),
    Vulnerability(
        "onnx",
        ((1, 21, 0),),
        "CVE-2026-27489 and CVE-2026-34445: a model file can lead out of its folder, or crash",
        "Install onnx 1.21 or later; in containers, make their images anew.",
        fatal=False,
    ),
    Vulnerability(
        "triton",
        ((2, 59),),  # the server in container release 25.07
        "CVE-2025-23319 and others: whoever reaches the server can take it over",
        "Use Triton 25.07 (server 2.59) or later, and read NVIDIA's bulletins for newer ones.",
        fatal=False,
    ),
)
VULNERABILITIES: Mapping[str, Vulnerability] = {
    vulnerability.name: vulnerability for vulnerability in _KNOWN
}


def version_of(text: str) -> tuple[int, ...] | None:
    """The numbers of a version; None where there are none."""
    found = _NUMBER.search(text)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def has_hole(version: tuple[int, ...], vulnerability: Vulnerability) -> bool:
    """Whether `version` is older than the first good one of its branch, or of the last branch."""
    good = sorted(vulnerability.fixed)
    same = [fixed for fixed in good if fixed[:2] == version[:2]]
    return version < (same or [good[0] if version[:2] < good[0][:2] else good[-1]])[0]


def judge(name: str, text: str) -> Finding:
    """The finding on a component of version `text`."""
    vulnerability, version = VULNERABILITIES[name], version_of(text)
    if version is None:
        says = f"its version ({text or 'none'}) cannot be read; {vulnerability.why}"
        return Finding(name, "warn", says, vulnerability.remedy)
    if not has_hole(version, vulnerability):
        return Finding(name, "ok", text)
    if _DISTRIBUTION.search(text):
        remedy = f"See the distribution's changelog for a repair, or: {vulnerability.remedy}"
        return Finding(name, "warn", f"{text}: {vulnerability.why}", remedy)
    return Finding(
        name,
        "fail" if vulnerability.fatal else "warn",
        f"{text}: {vulnerability.why}",
        vulnerability.remedy,
    )

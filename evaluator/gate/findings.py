"""What does the gate say when it refuses? Findings, and the error that carries them.

Names inside a model are a participant's text: they reach logs and terminals only through `label`.
"""

from __future__ import annotations

from dataclasses import dataclass

from evaluator.errors import BusbenchError, Code

_SHOWN = 3  # findings in the message; the rest travel on the error
_LONGEST = 80


@dataclass(frozen=True)
class Finding:
    """One reason to refuse a file.

    Args:
        code: stable, `G-...`.
        file: the declared file's name.
        node: the node's name, operator and place, where there is one.
        sentence: what is wrong and what to do.
    """

    code: str
    file: str
    node: str | None
    sentence: str

    def __str__(self) -> str:
        where = f" at {self.node}" if self.node else ""
        return f"{self.code}{where}: {self.sentence}"


class GateRefused(BusbenchError):  # noqa: N818 - named after its code, gate-refused
    """`gate-refused`, with every finding of the file or files concerned."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        first = findings[0]
        shown = " ".join(str(finding) for finding in findings[:_SHOWN])
        more = f" And {len(findings) - _SHOWN} more." if len(findings) > _SHOWN else ""
        super().__init__(
            Code.GATE_REFUSED,
            f"{first.file} was refused: {shown}{more}",
            "Export the model again as the participants' guide describes.",
        )
        self.findings = findings


def label(text: str, longest: int = _LONGEST) -> str:
    """A participant's text, safe to print: printable ASCII, at most `longest` characters."""
    tame = "".join(sign if 32 <= ord(sign) < 127 else "?" for sign in text[: longest + 1])
    return tame if len(tame) <= longest else tame[: longest - 3] + "..."

"""Release notes: the changelog's section of a tag, or an error where versions disagree.

python ci/release_notes.py v1.2.3 > notes.md

Imports nothing of the project, so that a fresh machine can run it before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def release_notes(tag: str, root: Path = ROOT) -> str:
    """The text below the heading of the tag's version in CHANGELOG.md, without that heading.

    Raises:
        ValueError: where pyproject.toml or CITATION.cff states another version than the tag, or
            the changelog has no such section, or it is empty.
    """
    version = tag.removeprefix("v")
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    citation = re.search(r"^version: (\S+)$", (root / "CITATION.cff").read_text("utf-8"), re.M)
    stated = {"pyproject.toml": project, "CITATION.cff": citation[1] if citation else "none"}
    for name, found in stated.items():
        if found != version:
            raise ValueError(f"{name} states version {found}, the tag is {tag}.")
    sections = re.split(r"^## ", (root / "CHANGELOG.md").read_text("utf-8"), flags=re.M)
    for section in sections[1:]:
        heading, _, text = section.partition("\n")
        if heading.split() and heading.split()[0] == version and text.strip():
            return text.strip() + "\n"
    raise ValueError(f"CHANGELOG.md has no text below a heading `## {version}`.")


def main() -> int:
    """Print the notes of the tag that the command line names; status 2 where there are none."""
    try:
        print(release_notes(sys.argv[1] if len(sys.argv) > 1 else ""), end="")
    except ValueError as error:
        print(f"error {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

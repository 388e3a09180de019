"""Hooks of mkdocs: the changelog is the repository's own, and the example board is published."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"
BOARD = ROOT / "docs" / "examples" / "board"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page; of the changelog, with links that begin in this folder."""
    if page.file.src_uri != "changelog.md":
        return markdown
    text = CHANGELOG.read_text("utf-8").replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[A-Z]+\.md\)", r"`\1`", text)


def on_post_build(config: Any, **_: Any) -> None:
    """Publish the example board beside the pages, from what is kept of it."""
    files = ("--splits", ROOT / "splits", "--challenge", BOARD / "challenge.yaml")
    words = ("publish", BOARD / "ledger.jsonl", "--out", Path(config.site_dir) / "example-board")
    command = [sys.executable, "-m", "harness", *map(str, (*words, *files))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The example board cannot be published:\n{done.stderr}")

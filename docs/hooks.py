"""Hook of mkdocs: the changelog's page is the repository's own file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page; of the changelog, with links that begin in this folder."""
    if page.file.src_uri != "changelog.md":
        return markdown
    text = CHANGELOG.read_text("utf-8").replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[A-Z]+\.md\)", r"`\1`", text)

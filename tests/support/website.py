"""Editions of a site from reports, a page as a browser would see it, and a browser's tab."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from playwright.sync_api import BrowserContext, Dialog
from playwright.sync_api import Page as BrowserPage

from harness.ledger import append, sign, verify_ledger
from harness.ledger.report import Report
from harness.sealing.keys import Keys
from harness.splits.lock import SplitLock
from harness.website.edition import Edition

ROWS = "table[data-board] tbody tr:not(.divider)"
PATIENCE = 120_000  # milliseconds: a machine may be very busy
VOID = {"meta", "link", "br", "img", "source", "input", "mspace"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=//evil.example onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "\u202e\u2067evil\u200f",
    "🦉" * 50,
    "x" * 100,
    "&lt;b&gt; ]]> -->",
    "javascript:alert(1)",
    "\ufffe\uffff no XML",
    "'+alert(1)+' datum.name",
]


def edition_of(
    keys: Keys, folder: Path, *reports: Report, lock: SplitLock | None = None
) -> Edition:
    """The edition of a ledger in `folder` that these reports were added to."""
    ledger = folder / "ledger.jsonl"
    for report in reports:
        append(ledger, sign(report, keys), keys)
    locks = {} if lock is None else {lock.digest: lock}
    return Edition.of(verify_ledger(ledger), ledger.read_bytes(), locks)


@dataclass
class Page(HTMLParser):
    """What a browser would see of a page: elements with attributes, text, and open elements."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    stack: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, html: bytes) -> Page:
        page = cls()
        HTMLParser.__init__(page)
        page.feed(html.decode())
        page.close()
        assert page.stack == []
        return page

    @property
    def all_text(self) -> str:
        return " ".join(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())


def wait_until(page: BrowserPage, expression: str) -> None:
    """Wait for an expression to be true; `wait_for_function` is what a page's policy forbids."""
    for _ in range(PATIENCE // 100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{expression} never was true")


@dataclass
class Tab:
    """A page that remembers what went wrong and what was asked for."""

    page: BrowserPage
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refused: dict[str, str | None] = field(default_factory=dict)  # address -> why

    @classmethod
    def of(cls, context: BrowserContext) -> Tab:
        context.set_default_timeout(PATIENCE)
        tab = cls(context.new_page())
        tab.page.on("console", lambda message: tab.said.append(message.text))
        tab.page.on("pageerror", lambda error: tab.said.append(str(error)))
        tab.page.on("dialog", tab.dismiss)
        tab.page.on("request", lambda request: tab.asked.append(request.url))
        tab.page.on("requestfailed", lambda r: tab.refused.update({r.url: r.failure}))
        return tab

    def dismiss(self, dialog: Dialog) -> None:
        self.said.append("a dialog")
        dialog.dismiss()

    def column(self, kind: str) -> list[str]:
        """The text of every shown row's `.kind`, in order.

        Its content: of a row that was not drawn yet, being out of sight, no text is rendered.
        """
        rows = self.page.locator(f"{ROWS} .{kind}").all()
        return [(row.text_content() or "").strip() for row in rows if row.is_visible()]

    def keys(self, name: str) -> list[float | None]:
        """What each ranked row is sorted by, in order."""
        script = "(rows, key) => rows.map((row) => row.dataset[key] ?? null)"
        rows = self.page.locator("table[data-board] tbody:not(.unranked) tr")
        found = rows.evaluate_all(script, name)
        return [None if value is None else float(value) for value in found]

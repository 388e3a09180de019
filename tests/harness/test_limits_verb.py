"""`busbench limits` shows what challenge.yaml declares; `busbench open` what publish wrote."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest

from tests.support.command_line import busbench_in

DECLARED = """
limits: {model: {megabytes: 77}, infer: {seconds: 1234}}
tracks:
  bus: {dataset: busbra, split_version: v1, efficiency: {device_name: Card, latency_ms: 9}}
phases:
  - {name: dev, opens: 2026-01-01, closes: 2026-02-01, quota: 55}
  - {name: end, opens: 2026-03-01, closes: 2026-03-09, part: final, steps: {}}
"""


@pytest.mark.parametrize(
    "shown", ["77", "1,234", "latency_ms 9 on Card", "2026-01-01", "55", "final"]
)
def test_no_declared_limit_is_left_out(
    shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = tmp_path / "challenge.yaml"
    declared.write_text(DECLARED)
    done = busbench_in(capsys, "limits", "--challenge", declared)
    assert done.status == 0 and shown in done.out
    document = json.loads(busbench_in(capsys, "limits", "--challenge", declared, "--json").out)
    assert document["limits"]["model"]["megabytes"] == 77


def test_a_folder_without_a_site_is_never_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def pretend(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", pretend)
    assert busbench_in(capsys, "open", tmp_path).status == 2 and not opened
    (tmp_path / "index.html").write_text("")
    assert busbench_in(capsys, "open", tmp_path).status == 0
    assert opened == [(tmp_path / "index.html").as_uri()]


def test_a_machine_without_a_browser_gets_the_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index.html").write_text("")
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    done = busbench_in(capsys, "open", tmp_path)
    assert done.status == 2 and "file://" in done.err

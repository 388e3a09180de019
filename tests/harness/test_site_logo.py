"""The logo of a challenge: on every page as it is, and nothing else passes for one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from evaluator.errors import BusbenchError, Code
from harness.challenge import load_challenge
from harness.ledger import append, sign
from harness.sealing.keys import Keys
from harness.website import publish
from harness.website.images.logo import read_logo
from tests.support.factories import make_report
from tests.support.website import Page


def png(width: int = 64, height: int = 32, frames: int = 1) -> bytes:
    data, first = io.BytesIO(), Image.effect_noise((width, height), 80)
    more = [Image.effect_noise((width, height), 40) for _ in range(1, frames)]
    first.save(data, "PNG", save_all=frames > 1, append_images=more)
    return data.getvalue()


def challenge_file(folder: Path, logo: bytes) -> Path:
    folder.mkdir()
    (folder / "logo.png").write_bytes(logo)
    path = folder / "challenge.yaml"
    path.write_text(
        "schema: busbench/challenge/v1\ntitle: Lesions\norganiser: A & <B>\nlogo: logo.png\n"
    )
    return path


def test_no_page_lacks_the_logo_or_its_text(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.website.pages.site.plots", lambda track: iter(()))
    ledger, site = tmp_path / "ledger.jsonl", tmp_path / "site"
    append(ledger, sign(make_report(), keys), keys)
    path = challenge_file(tmp_path / "declared", png())
    publish(ledger, site, challenge=load_challenge(path))
    assert (site / "logo.png").read_bytes() == png_of(path)
    pages = [*site.rglob("*.html")]
    assert len(pages) > 4
    for page in pages:
        elements = Page.of(page.read_bytes()).elements
        (logo,) = (
            found for tag, found in elements if tag == "img" and found.get("class") == "logo"
        )
        assert (page.parent / str(logo["src"])).resolve() == (site / "logo.png").resolve()
        assert logo["alt"] == "Logo of A & <B>"
        assert (logo["width"], logo["height"]) == ("64", "32")
    path.write_text("schema: busbench/challenge/v1\n")
    publish(ledger, site, challenge=load_challenge(path))
    assert not (site / "logo.png").exists()
    assert b"Logo of" not in (site / "index.html").read_bytes()


def png_of(challenge: Path) -> bytes:
    return (challenge.parent / "logo.png").read_bytes()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("logo", "why"),
    [
        (SVG, "no PNG file"),
        (b"", "no PNG file"),
        (png()[:-40], "cannot be the challenge's logo"),
        (png(2001, 8), "2001 × 8 pixels"),
        (png(frames=2), "animated"),
        (png(700, 700), "larger than 262144 bytes"),
        (None, "cannot be read"),
    ],
    ids=["svg", "empty", "cut", "wide", "animated", "heavy", "missing"],
)
def test_nothing_but_a_small_png_is_published_as_a_logo(
    keys: Keys, tmp_path: Path, logo: bytes | None, why: str
) -> None:
    path = challenge_file(tmp_path / "declared", logo or b"")
    if logo is None:
        (path.parent / "logo.png").unlink()
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(make_report(), keys), keys)
    with pytest.raises(BusbenchError, match=why) as refused:
        publish(ledger, tmp_path / "site", challenge=load_challenge(path))
    assert refused.value.code is Code.CHALLENGE_INVALID
    assert str(path.parent / "logo.png") in str(refused.value)
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_no_kind_of_png_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "logo.png"
    Image.new(mode, (2000, 10)).save(path)
    found = read_logo(path)
    assert (found.data, found.width, found.height) == (path.read_bytes(), 2000, 10)

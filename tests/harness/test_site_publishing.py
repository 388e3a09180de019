"""A new site takes the old one's place whole or not at all, and nothing but a site is replaced."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.errors import BusbenchError
from harness.ledger import append, sign, verify_ledger
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit
from harness.website import publish, publishing
from tests.support import ROOT
from tests.support.factories import make_report

PROGRAM = """
import sys
from pathlib import Path
from harness.website import publish
publish(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture
def ledger(keys: Keys, tmp_path: Path) -> Path:
    path = tmp_path / "ledger.jsonl"
    add(path, keys, "first")
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plots, which take a second."""
    monkeypatch.setattr("harness.website.pages.site.plots", lambda track: iter(()))


def add(ledger: Path, keys: Keys, method: str) -> None:
    append(ledger, sign(make_report(method=method), keys), keys)


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_the_same_ledger_gives_the_same_bytes_in_another_process(
    ledger: Path, keys: Keys, tmp_path: Path
) -> None:
    for method in ("second", "third"):  # from three on there are plots that compare
        add(ledger, keys, method)
    publish(ledger, tmp_path / "here")
    publish(ledger, tmp_path / "again")
    changed = {"PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    command = [sys.executable, "-c", PROGRAM, str(ledger), str(tmp_path / "there")]
    subprocess.run(command, check=True, env=os.environ | changed, cwd=ROOT)
    here = contents(tmp_path / "here")
    assert any(name.startswith("plots/") for name in here)
    assert here == contents(tmp_path / "again") == contents(tmp_path / "there")


def test_a_site_is_replaced_whole_and_nothing_is_left_beside_it(
    ledger: Path, keys: Keys, tmp_path: Path, quick: None
) -> None:
    site = tmp_path / "out" / "site"
    publish(ledger, site)
    before = contents(site)
    add(ledger, keys, "new")
    publish(ledger, site)
    assert contents(site).keys() > before.keys()
    assert [path.name for path in site.parent.iterdir()] == ["site"]
    for path in (site, *site.rglob("*")):
        assert path.stat().st_mode & 0o044 == 0o044  # a web server can read it


def test_a_kill_at_any_moment_leaves_a_whole_site(
    ledger: Path, keys: Keys, tmp_path: Path, quick: None
) -> None:
    """Publishes of two ledgers in turn, each killed: what is left is the whole site of one."""
    site = tmp_path / "site"
    other = tmp_path / "other.jsonl"
    add(other, keys, "second")
    ledgers = (ledger, other)
    heads = [verify_ledger(path).head for path in ledgers]
    publish(ledger, site)
    whole = [contents(site)]
    publish(other, site, replaces=heads[0])
    whole.append(contents(site))
    outcomes = set()
    for turn in range(40):
        now = whole.index(contents(site))
        child = multiprocessing.get_context("fork").Process(
            target=publish, args=(ledgers[1 - now], site), kwargs={"replaces": heads[now]}
        )
        child.start()
        child.join(0.005 * turn)  # some before, some in the middle, some after the exchange
        child.kill()
        child.join()
        outcomes.add(child.exitcode)
        assert contents(site) in whole
    assert -signal.SIGKILL in outcomes
    now = whole.index(contents(site))
    publish(ledgers[1 - now], site, replaces=heads[now])
    assert contents(site) == whole[1 - now]
    assert not any(path.name.startswith(".site") for path in tmp_path.iterdir())


def test_readers_find_a_site_at_every_moment(
    ledger: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    """No step of a publish renames or removes the folder that is served."""
    site = tmp_path / "site"
    publish(ledger, site)
    moved = []
    monkeypatch.setattr(Path, "rename", lambda self, target: moved.append((self, target)))
    add(ledger, keys, "new")
    publish(ledger, site)
    assert (site / "submissions" / "2.html").is_file()
    assert moved == []


def test_a_system_that_cannot_exchange_folders_still_publishes(
    ledger: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    publish(ledger, tmp_path / "site")
    add(ledger, keys, "new")
    monkeypatch.setattr(publishing, "EXCHANGE", 1 << 30)  # a flag that no kernel knows
    publish(ledger, tmp_path / "site")
    assert (tmp_path / "site" / "submissions" / "2.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"site", "ledger.jsonl"}


@pytest.mark.parametrize("content", ["notes.txt", "index.html", "site.json", ".git"])
def test_a_folder_that_is_no_site_is_left_alone(ledger: Path, tmp_path: Path, content: str) -> None:
    site = tmp_path / "mine"
    site.mkdir()
    (site / content).write_text("mine")
    with pytest.raises(BusbenchError) as caught:
        publish(ledger, site)
    assert caught.value.code == "output-exists"
    assert contents(site) == {content: b"mine"}


@pytest.mark.parametrize("added", ["CNAME", "tracks/notes.txt", "private/notes.txt"])
def test_a_site_that_someone_added_to_is_left_alone(
    ledger: Path, tmp_path: Path, quick: None, added: str
) -> None:
    publish(ledger, tmp_path / "site")
    (tmp_path / "site" / added).parent.mkdir(exist_ok=True)
    (tmp_path / "site" / added).write_text("example.org")
    with pytest.raises(BusbenchError, match="not a site"):
        publish(ledger, tmp_path / "site")


def test_a_file_in_the_way_is_left_alone(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine")
    with pytest.raises(BusbenchError, match="not a site"):
        publish(ledger, tmp_path / "site")


def test_a_link_to_a_served_folder_stays_a_link(ledger: Path, tmp_path: Path, quick: None) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "site").symlink_to("served")
    publish(ledger, tmp_path / "site")
    assert (tmp_path / "site").is_symlink()
    assert (tmp_path / "served" / "index.html").is_file()


def test_a_broken_ledger_or_a_full_disk_leaves_the_old_site(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    site = tmp_path / "site"
    publish(ledger, site)
    before = contents(site)

    def no_space(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", no_space)
        with pytest.raises(BusbenchError) as caught:
            publish(ledger, site)
    assert caught.value.code == "disk-full"
    ledger.write_bytes(ledger.read_bytes()[:-2])
    with pytest.raises(BusbenchError, match="half-written"):
        publish(ledger, site)
    assert contents(site) == before


def test_only_splits_that_hold_are_shown(ledger: Path, tmp_path: Path, quick: None) -> None:
    with pytest.raises(BusbenchError, match="contains no frozen split") as caught:
        publish(ledger, tmp_path / "site", [tmp_path / "nowhere"])
    assert caught.value.code == "split-invalid"


def test_a_split_that_was_tampered_with_stops_the_publish(
    keys: Keys, tmp_path: Path, quick: None
) -> None:
    frozen = ROOT / "splits" / "busi" / "subset-v1"
    copy = tmp_path / "splits" / "busi"
    copy.mkdir(parents=True)
    for name in ("lock.json", "split.csv"):
        (copy / name).write_bytes((frozen / name).read_bytes())
    digest = FrozenSplit.open(copy).lock.digest
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(make_report(split_digest=digest), keys), keys)
    publish(ledger, tmp_path / "site", [tmp_path / "splits"])
    (page,) = (tmp_path / "site" / "splits").iterdir()
    assert "cannot be seen" in page.read_text()
    lines = (copy / "split.csv").read_text().splitlines(keepends=True)
    (copy / "split.csv").write_text("".join(lines[:-1]))
    with pytest.raises(BusbenchError) as caught:
        publish(ledger, tmp_path / "site", [tmp_path / "splits"])
    assert caught.value.code == "split-invalid"


@pytest.mark.usefixtures("quick")
def test_a_folder_with_the_public_key_is_not_refused_and_keeps_it(
    keys: Keys, ledger: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    published = (keys.path / "report.pub").read_bytes()
    (site / "report.pub").write_bytes(published)
    for _ in range(2):
        publish(ledger, site)
        assert (site / "report.pub").read_bytes() == published


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("found", ["another", "no key"])
def test_another_key_is_never_written_over(
    other_keys: Keys, ledger: Path, tmp_path: Path, found: str
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    stranger = (other_keys.path / "report.pub").read_bytes()
    (site / "report.pub").write_bytes(stranger if found == "another" else b"words")
    before = contents(site)
    with pytest.raises(BusbenchError, match=r"report\.pub"):
        publish(ledger, site)
    assert contents(site) == before

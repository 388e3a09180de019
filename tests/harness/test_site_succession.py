"""A site's ledger only ever grows: no older, forked or changed ledger takes its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from evaluator.files import sha256_bytes
from harness.cli import app
from harness.ledger import append, require_witnessed, sign, verify_ledger
from harness.sealing.keys import Keys
from harness.website import publish
from tests.support.factories import make_report

ENTRIES = 6  # the genesis among them
Edit = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def ledger(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    grow(path, keys, ENTRIES)
    return path


@pytest.fixture(scope="module")
def published(keys: Keys, ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of the whole ledger, without plots and with a checkpoint."""
    site = tmp_path_factory.mktemp("published") / "site"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("harness.website.pages.site.plots", lambda track: iter(()))
        publish(ledger, site, keys=keys)
    return site


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.website.pages.site.plots", lambda track: iter(()))


def grow(path: Path, keys: Keys, entries: int, method: str = "net") -> None:
    """Append reports until the ledger has so many entries."""
    for number in count(len(path.read_bytes().splitlines()) if path.exists() else 1):
        if number >= entries:
            return
        append(path, sign(make_report(method=f"{method}-{number}", folds=1), keys), keys)


def cut(ledger: Path, entries: int, to: Path) -> Path:
    to.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:entries]))
    return to


def refused(ledger: Path, site: Path, **how: object) -> BusbenchError:
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    with pytest.raises(BusbenchError) as caught:
        publish(ledger, site, **how)  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before
    return caught.value


@pytest.mark.parametrize("entries", range(1, ENTRIES))
def test_no_older_ledger_takes_the_place_of_a_newer(
    ledger: Path, published: Path, tmp_path: Path, entries: int
) -> None:
    error = refused(cut(ledger, entries, tmp_path / "older.jsonl"), published)
    assert error.code == "ledger-invalid"
    assert f"it has {entries} of {ENTRIES} entries" in error.message
    assert verify_ledger(ledger).head in error.remedy


@pytest.mark.parametrize("entries", range(1, ENTRIES))
@pytest.mark.parametrize("longer", [0, 3])
def test_no_fork_takes_its_place(
    keys: Keys, ledger: Path, published: Path, tmp_path: Path, entries: int, longer: int
) -> None:
    fork = cut(ledger, entries, tmp_path / "fork.jsonl")
    grow(fork, keys, ENTRIES + longer, "other")
    error = refused(fork, published)
    assert error.code == "ledger-invalid" and f"entry {entries} is another" in error.message


def test_no_ledger_begun_anew_takes_its_place(
    keys: Keys, other_keys: Keys, published: Path, tmp_path: Path
) -> None:
    for name, owner in (("same", keys), ("other", other_keys)):
        path = tmp_path / f"{name}.jsonl"
        grow(path, owner, ENTRIES + 2, name)
        assert "entry 0 is another" in refused(path, published).message or owner is keys


EDITS: dict[str, Edit] = {
    "emptied": lambda data: b"",
    "cut by a byte": lambda data: data[:-1],
    "cut by an entry": lambda data: b"".join(data.splitlines(keepends=True)[:-1]),
    "cut to the genesis": lambda data: data.splitlines(keepends=True)[0],
    "extended": lambda data: data + data.splitlines(keepends=True)[-1],
    **{
        f"byte at {part} of 23": lambda data, part=part: (  # type: ignore[misc]
            data[: (at := len(data) * part // 23)] + bytes([data[at] ^ 1]) + data[at + 1 :]
        )
        for part in range(23)
    },
}


@pytest.mark.parametrize("edit", EDITS)
def test_no_edited_copy_lets_a_rollback_through(
    ledger: Path, published: Path, tmp_path: Path, edit: str
) -> None:
    site = Path(shutil.copytree(published, tmp_path / "site"))
    copy = site / "ledger.jsonl"
    copy.write_bytes(EDITS[edit](copy.read_bytes()))
    for candidate in (ledger, cut(ledger, 2, tmp_path / "older.jsonl")):
        assert "not as it was published" in refused(candidate, site).message


def test_no_removed_copy_lets_a_rollback_through(
    ledger: Path, published: Path, tmp_path: Path
) -> None:
    site = Path(shutil.copytree(published, tmp_path / "site"))
    (site / "ledger.jsonl").unlink()
    for candidate in (ledger, cut(ledger, 2, tmp_path / "older.jsonl")):
        assert "not as it was published" in refused(candidate, site).message


@pytest.mark.parametrize("entries", range(1, ENTRIES))
def test_no_site_that_was_cut_with_its_index_forgets_its_checkpoint(
    ledger: Path, published: Path, tmp_path: Path, entries: int
) -> None:
    site = Path(shutil.copytree(published, tmp_path / "site"))
    cut(ledger, entries, site / "ledger.jsonl")
    index = json.loads((site / "site.json").read_text())
    index["files"]["ledger.jsonl"] = sha256_bytes((site / "ledger.jsonl").read_bytes())
    (site / "site.json").write_text(json.dumps(index))
    older = cut(ledger, entries, tmp_path / "older.jsonl")
    assert f"has seen {ENTRIES} entries" in refused(older, site).message


def test_what_goes_on_is_published_and_again(
    keys: Keys, ledger: Path, published: Path, tmp_path: Path
) -> None:
    site = Path(shutil.copytree(published, tmp_path / "site"))
    longer = Path(shutil.copy(ledger, tmp_path / "longer.jsonl"))
    grow(longer, keys, ENTRIES + 1)
    for _ in range(2):
        publish(longer, site, keys=keys)
        assert (site / "ledger.jsonl").read_bytes() == longer.read_bytes()


def test_no_ledger_is_given_up_by_another_head_than_its_own(
    ledger: Path, published: Path, tmp_path: Path
) -> None:
    older = cut(ledger, 3, tmp_path / "older.jsonl")
    head = verify_ledger(ledger).head
    for wrong in (verify_ledger(older).head, "0" * 64, head[:16], ""):
        assert refused(older, published, replaces=wrong).code == "usage"
    site = Path(shutil.copytree(published, tmp_path / "site"))
    publish(older, site, replaces=head)
    assert (site / "ledger.jsonl").read_bytes() == older.read_bytes()


def test_no_option_is_ignored_where_nothing_is_given_up(
    ledger: Path, published: Path, tmp_path: Path
) -> None:
    head = verify_ledger(ledger).head
    assert refused(ledger, published, replaces=head).code == "usage"
    assert refused(ledger, tmp_path / "new", replaces=head).code == "usage"


def test_the_page_names_the_checkpoint_where_there_is_one(
    ledger: Path, published: Path, tmp_path: Path
) -> None:
    verdict = verify_ledger(ledger)
    assert require_witnessed(verdict, (published / "ledger.checkpoint").read_bytes(), "site")
    assert "ledger.checkpoint" in (published / "index.html").read_text()
    publish(ledger, tmp_path / "site")
    assert not (tmp_path / "site" / "ledger.checkpoint").exists()
    assert "ledger.checkpoint" not in (tmp_path / "site" / "index.html").read_text()


def test_no_checkpoint_is_signed_by_another_key(
    ledger: Path, other_keys: Keys, tmp_path: Path
) -> None:
    assert "another key" in refused(ledger, tmp_path / "site", keys=other_keys).message


def test_no_rollback_by_the_command(ledger: Path, published: Path, tmp_path: Path) -> None:
    older = cut(ledger, 3, tmp_path / "older.jsonl")
    command = ["publish", str(older), "--out", str(published)]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, BusbenchError) and int(done.exception.fault) == 20
    assert "--replaces" in done.exception.remedy


def test_no_site_without_a_ranking_goes_unsaid(ledger: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["publish", str(ledger), "--out", str(tmp_path / "site")])
    assert done.exit_code == 0, done.output
    assert "has no ranking" in done.stderr and "rank --cases" in done.stderr

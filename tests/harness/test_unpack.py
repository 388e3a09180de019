"""Output of a container: nothing but regular files, within the limits."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sandbox.unpack import pack, unpack

NAMES = st.text("abc./-", min_size=1, max_size=12)
KINDS = st.sampled_from(
    (
        *(tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE),
        *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.CONTTYPE),
    )
)


def archive(*members: tuple[str, bytes, bytes]) -> bytes:
    """A tar of (name, kind, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            member.linkname = "/etc/passwd"
            tar.addfile(member, io.BytesIO(content) if member.size else None)
    return buffer.getvalue()


def chunks(data: bytes, size: int = 700) -> list[bytes]:
    return [data[place : place + size] for place in range(0, len(data), size)]


def test_files_and_folders_come_out_as_they_are(tmp_path: Path) -> None:
    data = archive(
        ("out", tarfile.DIRTYPE, b""),
        ("out/a", tarfile.REGTYPE, b"x" * 5000),
        ("out/d/e", tarfile.REGTYPE, b"y"),
    )
    found = unpack(chunks(data), tmp_path, 10**6, max_files=10)
    assert (found.files, found.oddity, found.too_much) == (2, "", False)
    assert found.bytes == 3 * 4096  # whole pages
    assert (tmp_path / "a").read_bytes() == b"x" * 5000
    assert (tmp_path / "d/e").read_bytes() == b"y"


@pytest.mark.parametrize(
    "kind, words",
    [
        (tarfile.SYMTYPE, "a symbolic link (a)"),
        (tarfile.LNKTYPE, "a hard link (a)"),
        (tarfile.FIFOTYPE, "a named pipe (a)"),
        (tarfile.CHRTYPE, "a device (a)"),
        (tarfile.BLKTYPE, "a device (a)"),
    ],
)
def test_what_is_no_regular_file_never_reaches_the_host(
    tmp_path: Path, kind: bytes, words: str
) -> None:
    found = unpack(chunks(archive(("out/a", kind, b""))), tmp_path, 10**6, max_files=10)
    assert found.oddity == words and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out/../../a", "out/a\nb", "out/\x1b[2J", "out/a\udcff"])
def test_a_name_that_could_mislead_is_refused(tmp_path: Path, name: str) -> None:
    data = archive((name, tarfile.REGTYPE, b"x"))
    found = unpack(chunks(data), tmp_path / "inner", 10**6, max_files=10)
    assert "unusable name" in found.oddity and found.oddity.isprintable()
    assert not list(tmp_path.iterdir())


def test_no_more_is_read_than_was_granted(tmp_path: Path) -> None:
    many = archive(*((f"out/{n}", tarfile.REGTYPE, b"") for n in range(50)))
    assert unpack(chunks(many), tmp_path, 10**6, max_files=20).too_much
    assert len(list(tmp_path.iterdir())) == 20
    large = archive(("out/large", tarfile.REGTYPE, b"x" * 20000))
    assert unpack(chunks(large), tmp_path, 10000, max_files=20).too_much
    assert not (tmp_path / "large").exists()


def test_a_stream_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    data = archive(("out/a", tarfile.REGTYPE, b"x" * 5000))
    with pytest.raises(tarfile.TarError):
        unpack(chunks(data[:3000]), tmp_path, 10**6, max_files=10)


@given(members=st.lists(st.tuples(NAMES, KINDS), max_size=8))
def test_whatever_an_archive_holds_nothing_lands_outside(
    members: list[tuple[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    (root / "inner").mkdir()
    data = archive(*((f"out/{name}", kind, b"x") for name, kind in members))
    with suppress(tarfile.TarError, OSError):  # a name that is a file and a folder
        unpack(chunks(data), root / "inner", 10**6, max_files=100)
    assert [path.name for path in root.iterdir()] == ["inner"]
    assert not any(path.is_symlink() or path.is_fifo() for path in root.rglob("*"))


def test_what_was_saved_goes_back_in_without_links(tmp_path: Path) -> None:
    saved, again = tmp_path / "saved", tmp_path / "again"
    (saved / "d").mkdir(parents=True)
    again.mkdir()
    (saved / "d/checkpoint").write_bytes(b"z" * 9000)
    (saved / "link").symlink_to("/etc/passwd")
    buffer = io.BytesIO()
    pack(saved, buffer, 65532)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        assert {member.name: member.uid for member in tar} == {"d": 65532, "d/checkpoint": 65532}

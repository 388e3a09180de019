"""Output of a container: nothing but regular files, within the limits."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.sandbox.unpack import pack, unpack

NAMES = st.text("abc./-", min_size=1, max_size=12)
# Any name that shows on paper, in one byte to the 255 that a file system takes.
COMPONENT = (
    st.text(st.characters(categories=["L", "M", "N", "P", "S"], exclude_characters="/"), min_size=1)
    .flatmap(lambda name: st.sampled_from((name, name * (255 // len(name.encode())) or name)))
    .filter(lambda name: len(name.encode()) <= 255 and name[0] != "." and name.isprintable())
    .filter(lambda name: name.casefold() != "head")
)
TREE = st.dictionaries(
    st.lists(COMPONENT, min_size=1, max_size=12).map(tuple), st.binary(max_size=600), max_size=5
)
ACTED_ON = (".git", ".envrc", ".vscode", ".hg", ".GIT", "...", ".x" * 100)
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


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


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


@given(
    parts=st.lists(COMPONENT, max_size=3),
    hidden=COMPONENT.map(lambda name: f".{name}"[:80]) | st.sampled_from(ACTED_ON),
    below=st.lists(COMPONENT, max_size=2),
)
def test_no_name_that_a_tool_of_the_host_acts_on_is_written(
    parts: list[str], hidden: str, below: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("host")
    name = "/".join(("out", *parts, hidden, *below))
    for kind in (tarfile.REGTYPE, tarfile.DIRTYPE):
        found = unpack(chunks(archive((name, kind, b"x"))), folder, 10**6, max_files=10)
        assert "begins with a dot" in found.oddity
        assert not list(folder.iterdir())


@pytest.mark.parametrize("head", ["HEAD", "a/HEAD", "b.git/HEAD", "Head"])
def test_no_bare_repository_is_written(tmp_path: Path, head: str) -> None:
    data = archive((f"out/{head}", tarfile.REGTYPE, b"ref: refs/heads/main"))
    found = unpack(chunks(data), tmp_path, 10**6, max_files=10)
    assert "Git would act on" in found.oddity and not list(tmp_path.iterdir())


def test_a_folder_of_that_name_is_no_repository(tmp_path: Path) -> None:
    data = archive(("out/head/weights", tarfile.REGTYPE, b"x"))
    assert unpack(chunks(data), tmp_path, 10**6, max_files=10).oddity == ""


@settings(max_examples=60, deadline=None)
@given(tree=TREE, form=st.sampled_from((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)))
def test_no_honest_file_is_lost_whatever_the_length_of_its_path(
    tree: dict[tuple[str, ...], bytes], form: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there = tmp_path_factory.mktemp("there")
    for parts, content in tree.items():
        with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            path = there.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        tar.add(there, "out")
    here = tmp_path_factory.mktemp("here")
    found = unpack(chunks(buffer.getvalue(), 9000), here, 10**7, max_files=1000)
    assert (found.oddity, found.too_much) == ("", False)
    assert contents(here) == contents(there)


def test_a_path_up_to_the_systems_limit_arrives_and_a_longer_one_is_named(tmp_path: Path) -> None:
    left = 4095 - len(str(tmp_path)) - 1
    parts = ["é" * 127] * (left // 255 - 1)
    deep = "/".join(parts)
    rest = left - len(deep.encode()) - 1
    for name in ("x" * min(rest, 255), "x" * (rest + 1)):
        data = archive((f"out/{deep}/{name}", tarfile.REGTYPE, b"deep"))
        found = unpack(chunks(data), tmp_path, 10**6, max_files=100)
        if len(name) <= min(rest, 255):
            assert found.oddity == "" and (tmp_path / deep / name).read_bytes() == b"deep"
        else:
            assert "too long" in found.oddity and len(found.oddity) < 200
    long = archive(("out/" + "é" * 128, tarfile.REGTYPE, b"x"))
    assert "too long" in unpack(chunks(long), tmp_path, 10**6, max_files=10).oddity


@pytest.mark.parametrize("kinds", [(0, 0), (0, 5), (5, 0)])
def test_two_things_of_one_name_are_named(tmp_path: Path, kinds: tuple[int, int]) -> None:
    members = ((f"out/a{'/b' if kind else ''}", tarfile.REGTYPE, b"x") for kind in kinds)
    found = unpack(chunks(archive(*members)), tmp_path, 10**6, max_files=10)
    assert found.oddity.startswith("two things of one name")


def test_what_may_not_leave_is_left_out_while_a_stage_runs(tmp_path: Path) -> None:
    data = archive(
        ("out/.half-written", tarfile.REGTYPE, b"x" * 5000),
        ("out/link", tarfile.SYMTYPE, b""),
        ("out/checkpoint", tarfile.REGTYPE, b"whole"),
    )
    found = unpack(chunks(data), tmp_path, 10**6, max_files=10, pass_over=True)
    assert found.oddity == "" and contents(tmp_path) == {"checkpoint": b"whole"}


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

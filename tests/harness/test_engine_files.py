"""Files that the engine opens at a start: the pure judgement, on every kind of file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sandbox.engine_files import (
    FOLDER,
    KINDS,
    LINK,
    MAX_BYTES,
    MAX_LINE,
    MOUNTED,
    OPENED,
    File,
    home_of,
    problems,
)

SMALL = File(size=5, content=lambda: b"a:b:c")
BY_LINE = [path for path, by_line in OPENED.items() if by_line]


def found(**files: File | None) -> list[str]:
    return list(problems(files.get))


def text(data: bytes) -> File:
    return File(size=len(data), content=lambda: data)


@pytest.mark.parametrize("path", OPENED)
@pytest.mark.parametrize("kind", sorted(set(KINDS.values()) - {LINK}))
def test_no_file_that_is_not_regular_is_opened(path: str, kind: str) -> None:
    for files in (
        {path: File(kind)},
        {path: File(LINK, target="/srv/x"), "/srv/x": File(kind)},
    ):
        assert found(**files) == [f"its {path} is {kind}"]


@pytest.mark.parametrize("path", OPENED)
@given(size=st.integers(MAX_BYTES + 1, 2**63))
def test_no_large_file_is_opened_or_read_to_find_out(path: str, size: int) -> None:
    def content() -> bytes:
        raise AssertionError("read")

    (said,) = found(**{path: File(size=size, content=content)})
    assert path in said and str(size) in said


@pytest.mark.parametrize("path", BY_LINE)
@given(
    before=st.binary(max_size=50),
    length=st.integers(MAX_LINE + 1, MAX_LINE * 3),
    after=st.binary(max_size=50),
)
def test_no_long_line_is_read_by_the_engine(
    path: str, before: bytes, length: int, after: bytes
) -> None:
    (said,) = found(**{path: text(before + b"\n" + b"x" * length + after)})
    assert path in said


@pytest.mark.parametrize("path", OPENED)
@pytest.mark.parametrize("place", MOUNTED)
@pytest.mark.parametrize("below", ["", "/x", "/self/fd/0"])
def test_no_link_leads_to_what_another_file_takes_the_place_of(
    path: str, place: str, below: str
) -> None:
    target = place + below
    for behind in (None, SMALL):  # what the image has there does not matter
        (said,) = found(**{path: File(LINK, target=target), target: behind})
        assert path in said and target not in said.replace(path, "")


@pytest.mark.parametrize("path", OPENED)
def test_no_link_leads_nowhere(path: str) -> None:
    assert found(**{path: File(LINK, target="/nowhere")})
    assert found(**{path: File(LINK, target="/a"), "/a": File(LINK, target="/b")})


@given(st.lists(st.binary(max_size=200)))
def test_an_ordinary_image_is_not_refused(lines: list[bytes]) -> None:
    assert found() == []
    assert found(**dict.fromkeys(OPENED, text(b"\n".join(lines)))) == []
    linked = {path: File(LINK, target=f"/usr{path}") for path in OPENED}
    assert found(**linked, **{f"/usr{path}": SMALL for path in OPENED}) == []
    assert found(**{"/etc/passwd": File(LINK, target="/process"), "/process": SMALL}) == []


def test_every_reason_is_given_at_once() -> None:
    assert len(found(**dict.fromkeys(OPENED, File("a named pipe")))) == len(OPENED)


@pytest.mark.parametrize("place", MOUNTED)
def test_no_working_folder_is_one_that_only_a_running_container_has(place: str) -> None:
    """CVE-2024-21626: runc changed into a descriptor of the host's."""
    files = {"/": File(FOLDER), "/app": File(LINK, target=f"{place}/self/fd/8")}
    (said,) = problems(files.get, "/app")
    assert "WORKDIR" in said and place not in said
    (said, *_) = problems(files.get, "/app/inside")
    assert "WORKDIR" in said


def test_no_ordinary_working_folder_is_refused() -> None:
    files = {"/": File(FOLDER), "/opt": File(FOLDER), "/app": File(LINK, target="/opt")}
    for folder in ("/", "/opt", "/opt/made/by/the/engine", "/app"):
        assert list(problems(files.get, folder)) == []
    assert list(problems({**files, "/opt": File()}.get, "/opt/app"))


@pytest.mark.parametrize(
    ("user", "home"),
    [
        ("user", "/home/user"),
        ("user:group", "/home/user"),
        ("1000", "/home/user"),
        ("1000:1000", "/home/user"),
        ("ghost", ""),
        ("77", ""),
        ("", ""),
        ("odd", ""),
    ],
)
def test_no_home_is_taken_but_that_of_the_images_user(user: str, home: str) -> None:
    table = b"root:x:0:0:root:/root:/bin/sh\n\xff\nshort:x:77\n"
    table += b"user:x:1000:1000::/home/user/:/bin/sh\nodd:x:5:5::relative:/bin/sh\n"
    assert home_of(user, table) == home

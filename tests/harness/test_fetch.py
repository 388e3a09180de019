"""Downloads from a server on loopback that answers as Zenodo, Mendeley Data and plain pages do."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from harness.cli.main import app
from harness.datasets import ADAPTERS
from harness.datasets.fetching import CHUNK, fetch
from harness.datasets.records import ON_REQUEST, SOURCES
from tests.support import ROOT


@dataclass
class Remote:
    """A repository on loopback: what it has, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    url: str = ""
    damaged: set[str] = field(default_factory=set)  # sent with another first byte
    stops: dict[str, int] = field(default_factory=dict)  # bytes after which it hangs up, once
    slow: bool = False
    ranges: bool = True
    status: dict[str, int] = field(default_factory=dict)
    record: Callable[[object], object] = lambda document: document
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def zenodo(self) -> object:
        return {
            "id": 8231412,
            "files": [
                {
                    "key": name,
                    "size": len(data),
                    "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                    "links": {"self": f"{self.url}/data/{name}"},
                }
                for name, data in self.files.items()
            ],
        }

    def folders(self) -> list[dict[str, str]]:
        paths = {str(Path(name).parent) for name in self.files} - {"."}
        paths |= {str(parent) for path in paths for parent in Path(path).parents} - {"."}
        return [
            {
                "id": f"id-{path.replace('/', '-')}",
                "name": Path(path).name,
                **(
                    {}
                    if str(Path(path).parent) == "."
                    else {"parent_id": f"id-{str(Path(path).parent).replace('/', '-')}"}
                ),
            }
            for path in sorted(paths)
        ]

    def mendeley(self, folder: str) -> object:
        def of(name: str) -> str:
            parent = str(Path(name).parent)
            return "root" if parent == "." else f"id-{parent.replace('/', '-')}"

        return [
            {
                "filename": Path(name).name,
                "size": len(data),
                "content_details": {
                    "sha256_hash": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "download_url": f"{self.url}/data/{name}",
                },
            }
            for name, data in self.files.items()
            if of(name) == folder
        ]

    def document(self, path: str, query: dict[str, list[str]]) -> object | None:
        if path == "/api/records/8231412":
            return self.zenodo()
        for dataset in ("3ksd7w7jkx/1", "7fvgj4jsp7/3"):
            name, version = dataset.split("/")
            if path == f"/public-api/datasets/{name}/folders/{version}":
                return self.folders()
            if path == f"/public-api/datasets/{name}/files" and query["version"] == [version]:
                return self.mendeley(query["folder_id"][0])
        return None


def handler_of(remote: Remote) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return None

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = unquote(parts.path)
            remote.asked.append((path, self.headers["Range"]))
            document = remote.document(path, parse_qs(parts.query))
            name = path.rsplit("/data/", 1)[-1] if "/data/" in path else Path(path).name
            if path in remote.status:
                self.send_error(remote.status[path])
            elif document is not None:
                self._send(200, json.dumps(remote.record(document)).encode(), {})
            elif name in remote.files:
                self._file(name, remote.files[name])
            else:
                self.send_error(404)

        def _file(self, name: str, data: bytes) -> None:
            if name in remote.damaged:
                data = bytes([data[0] ^ 1]) + data[1:]
            asked = self.headers["Range"]
            first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            if not remote.ranges:
                first = 0
            if first >= len(data) > 0:
                self.send_error(416)
                return
            headers = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
            status, headers = (206, headers) if first else (200, {})
            self._send(status, data[first:], headers, stop=remote.stops.pop(name, None))

        def _send(
            self, status: int, body: bytes, headers: dict[str, str], *, stop: int | None = None
        ) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            for start in range(0, len(body[:stop]), 1 << 16):
                self.wfile.write(body[:stop][start : start + (1 << 16)])
                if remote.slow:
                    time.sleep(0.02)

    return Handler


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, bytes]], Remote]]:
    """Serve files as a repository."""
    monkeypatch.setenv("NO_PROXY", "*")
    servers = []

    def start(files: dict[str, bytes]) -> Remote:
        remote = Remote(files)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(remote))
        server.daemon_threads = True
        remote.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return remote

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, data in files.items():
            made.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


NOISE = bytes(range(256)) * 12_000  # 3 MB
INSIDE = {"BUSBRA/bus_data.csv": b"ID\n", "BUSBRA/Images/bus_0001-l.png": NOISE}
TIA = "BrEaST-Lesions"
RELEASES: dict[str, dict[str, bytes]] = {
    "busbra": {"BUSBRA.zip": archive(INSIDE)},
    "busi": {"Dataset_BUSI.zip": archive({"Dataset_BUSI_with_GT/benign/benign (1).png": b"x"})},
    "bus-uc": {
        "read me.txt": b"hello",
        **{f"BUS_UC/{k}/{f}/001.png": f"{k}{f}".encode() for k in "BM" for f in ("i", "m")},
    },
    "bus-uclm": {"BUS-UCLM.zip": archive({"BUS-UCLM/INFO.csv": b"Image;\n"})},
    "breast": {
        f"{TIA}_USG-images_and_masks-Dec-15-2023.zip": archive({"images/case001.png": b"1"}),
        f"{TIA}-USG-clinical-data-Dec-15-2023.xlsx": archive({"xl/workbook.xml": b"<>"}),
    },
}
Serve = Callable[[dict[str, bytes]], Remote]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def expected(name: str) -> dict[str, bytes]:
    """What of a release lies in OUT/release: files, and what its archives contain."""
    found = dict[str, bytes]()
    for path, data in RELEASES[name].items():
        if path.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                stem = path.removesuffix(".zip")
                found |= {f"{stem}/{inside}": packed.read(inside) for inside in packed.namelist()}
        else:
            found[path] = data
    return found


@pytest.mark.parametrize("name", sorted(RELEASES))
def test_no_byte_of_a_release_is_lost_or_unchecked(serve: Serve, tmp_path: Path, name: str) -> None:
    assert set(RELEASES) == set(SOURCES)
    remote = serve(RELEASES[name])
    fetched = fetch(ADAPTERS[name], tmp_path / "out", server=remote.url)
    assert contents(tmp_path / "out" / "release") == expected(name)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fetched.json", "release"]
    assert json.loads((tmp_path / "out" / "fetched.json").read_text()) == fetched.document()
    assert {file.name: file.sha256 for file in fetched.files} == {
        path: hashlib.sha256(data).hexdigest() for path, data in RELEASES[name].items()
    }
    for file in fetched.files:
        data = RELEASES[name][file.name]
        md5, sha256 = hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()
        stated = {"busbra": f"md5:{md5}", "busi": None, "breast": None}
        assert file.stated == stated.get(name, f"sha256:{sha256}")
    count = len(remote.asked)
    assert fetch(ADAPTERS[name], tmp_path / "out", server=remote.url) == fetched
    assert len(remote.asked) == count  # nothing is asked again


@pytest.mark.parametrize("name", ["busbra", "bus-uc", "bus-uclm"])
def test_no_file_with_another_digest_is_kept(serve: Serve, tmp_path: Path, name: str) -> None:
    remote = serve(RELEASES[name])
    bad = sorted(RELEASES[name])[-1]
    remote.damaged = {bad}
    with pytest.raises(BusbenchError, match="is not what its record states") as caught:
        fetch(ADAPTERS[name], tmp_path / "out", server=remote.url)
    assert (caught.value.code, int(caught.value.fault)) == ("download-failed", 30)
    assert not (tmp_path / "out" / "release").exists()
    remote.damaged = set()
    fetch(ADAPTERS[name], tmp_path / "out", server=remote.url)
    assert contents(tmp_path / "out" / "release") == expected(name)


@pytest.mark.parametrize(
    ("name", "suffix"), [("busi", ".zip"), ("breast", ".zip"), ("breast", ".xlsx")]
)
@pytest.mark.parametrize("answer", [b"<html>Sign in</html>", b"", None])
def test_no_page_or_damaged_archive_is_a_release(
    serve: Serve, tmp_path: Path, name: str, suffix: str, answer: bytes | None
) -> None:
    files = dict(RELEASES[name])
    for path in [path for path in files if path.endswith(suffix)]:
        middle = len(files[path]) // 3
        changed = bytearray(files[path])
        changed[36 + len(path) // 99 : middle] = b"?" * (middle - 36 - len(path) // 99)
        files[path] = bytes(changed) if answer is None else answer
    remote = serve(files)
    with pytest.raises(BusbenchError, match="is not a whole archive") as caught:
        fetch(ADAPTERS[name], tmp_path / "out", server=remote.url)
    assert caught.value.code == "download-failed"
    remote.files = RELEASES[name]
    fetch(ADAPTERS[name], tmp_path / "out", server=remote.url)
    assert contents(tmp_path / "out" / "release") == expected(name)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("at", [1, 1_000_000, len(RELEASES["busbra"]["BUSBRA.zip"]) - 1])
def test_no_more_than_a_piece_is_downloaded_twice_after_a_broken_line(
    serve: Serve, tmp_path: Path, at: int, ranges: bool
) -> None:
    remote = serve(RELEASES["busbra"])
    remote.stops, remote.ranges = {"BUSBRA.zip": at}, ranges
    with pytest.raises(BusbenchError, match=r"127\.0\.0\.1 .*Run the same command") as caught:
        fetch(ADAPTERS["busbra"], tmp_path / "out", server=remote.url)
    assert caught.value.code == "download-failed"
    remote.asked.clear()
    fetch(ADAPTERS["busbra"], tmp_path / "out", server=remote.url)
    assert contents(tmp_path / "out" / "release") == expected("busbra")
    path, first = remote.asked[-1]
    assert path == "/data/BUSBRA.zip"
    assert at - CHUNK < int((first or "bytes=0-")[6:-1]) <= at


def test_no_leftover_as_long_as_the_file_stops_a_download(serve: Serve, tmp_path: Path) -> None:
    remote = serve(RELEASES["busbra"])
    part = tmp_path / "out" / ".fetching-busbra" / "files" / "BUSBRA.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(NOISE * 2)
    fetch(ADAPTERS["busbra"], tmp_path / "out", server=remote.url)
    assert contents(tmp_path / "out" / "release") == expected("busbra")


def test_no_kill_loses_what_was_downloaded(serve: Serve, tmp_path: Path) -> None:
    remote = serve({"BUSBRA.zip": archive({"BUSBRA/a": NOISE * 4})})
    remote.slow = True
    code = (
        "import sys; from pathlib import Path; from harness.datasets import ADAPTERS;"
        "from harness.datasets.fetching import fetch;"
        "fetch(ADAPTERS['busbra'], Path(sys.argv[1]), server=sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out"), remote.url]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    part = tmp_path / "out" / ".fetching-busbra" / "files" / "BUSBRA.zip.part"
    while not (part.exists() and part.stat().st_size > 2_000_000):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    have = part.stat().st_size
    remote.slow = False
    remote.asked.clear()
    fetch(ADAPTERS["busbra"], tmp_path / "out", server=remote.url)
    assert remote.asked[-1] == ("/data/BUSBRA.zip", f"bytes={have}-")
    assert contents(tmp_path / "out" / "release") == {"BUSBRA/BUSBRA/a": NOISE * 4}


@pytest.mark.parametrize("left", ["release/old", ".fetching-busbra/release/old"])
def test_no_file_of_a_run_that_was_killed_while_unpacking_is_kept(
    serve: Serve, tmp_path: Path, left: str
) -> None:
    remote = serve(RELEASES["busbra"])
    whole = tmp_path / "out" / ".fetching-busbra" / "files" / "BUSBRA.zip"
    for path, data in ((whole, RELEASES["busbra"]["BUSBRA.zip"]), (tmp_path / "out" / left, b"")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    fetch(ADAPTERS["busbra"], tmp_path / "out", server=remote.url)
    assert contents(tmp_path / "out" / "release") == expected("busbra")
    assert [path for path, _ in remote.asked] == ["/api/records/8231412"]


def test_no_release_that_is_gone_is_said_to_be_there(serve: Serve, tmp_path: Path) -> None:
    remote = serve(RELEASES["busi"])
    fetch(ADAPTERS["busi"], tmp_path / "out", server=remote.url)
    (tmp_path / "out" / "release").rename(tmp_path / "elsewhere")
    with pytest.raises(BusbenchError, match="release is not"):
        fetch(ADAPTERS["busi"], tmp_path / "out", server=remote.url)


def first_file(change: dict[str, object]) -> Callable[[object], object]:
    def changed(document: object) -> object:
        assert isinstance(document, dict)
        document["files"][0] |= change
        return document

    return changed


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (lambda _: {}, "its form is not known"),
        (lambda _: [], "its form is not known"),
        (lambda _: {"files": []}, "names no file"),
        (first_file({"key": "../../BUSBRA.zip"}), "it names the file"),
        (first_file({"key": "/etc/passwd"}), "it names the file"),
        (first_file({"key": "a\\..\\b"}), "it names the file"),
        (first_file({"links": {}}), "its form is not known"),
        (first_file({"links": {"self": "http://example.org/x"}}), "not encrypted"),
        (first_file({"links": {"self": "file:///etc/passwd"}}), "not encrypted"),
        (first_file({"size": 7}), "has .* bytes, its record states 7"),
        (lambda d: {"files": [*d["files"], *d["files"]]}, "names BUSBRA.zip twice"),
    ],
)
def test_no_strange_record_is_followed(
    serve: Serve, tmp_path: Path, record: Callable[[object], object], expected: str
) -> None:
    remote = serve(RELEASES["busbra"])
    remote.record = record
    with pytest.raises(BusbenchError, match=expected) as caught:
        fetch(ADAPTERS["busbra"], tmp_path / "out", server=remote.url)
    assert caught.value.code == "download-failed"
    assert not (tmp_path / "out" / "release").exists()


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
@pytest.mark.parametrize("path", ["/api/records/8231412", "/data/BUSBRA.zip"])
def test_an_answer_that_is_none_is_named(
    serve: Serve, tmp_path: Path, path: str, status: int
) -> None:
    remote = serve(RELEASES["busbra"])
    remote.status = {path: status}
    with pytest.raises(BusbenchError, match=f"answered {status}.*10.5281/zenodo.8231412") as caught:
        fetch(ADAPTERS["busbra"], tmp_path / "out", server=remote.url)
    assert int(caught.value.fault) == 30


def test_no_archive_writes_outside_its_folder(serve: Serve, tmp_path: Path) -> None:
    remote = serve({"BUSBRA.zip": archive({"../../../../evil": b"x", "/abs/evil": b"y"})})
    fetch(ADAPTERS["busbra"], tmp_path / "out", server=remote.url)
    assert not list(tmp_path.glob("evil"))
    inside = tmp_path / "out" / "release" / "BUSBRA"
    assert set(tmp_path.rglob("evil")) == {inside / "evil", inside / "abs" / "evil"}


@pytest.mark.parametrize("found", ["mine.txt", "release/mine.txt", ".fetching-busi/files/x"])
def test_no_folder_of_others_is_written_to(serve: Serve, tmp_path: Path, found: str) -> None:
    path = tmp_path / "out" / found
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(BusbenchError, match="which is not of this download") as caught:
        fetch(ADAPTERS["busbra"], tmp_path / "out", server=serve(RELEASES["busbra"]).url)
    assert caught.value.code == "output-exists"
    assert contents(tmp_path / "out") == {found: b"mine"}


def test_another_dataset_s_download_is_refused(serve: Serve, tmp_path: Path) -> None:
    fetch(ADAPTERS["busi"], tmp_path / "out", server=serve(RELEASES["busi"]).url)
    with pytest.raises(BusbenchError, match="made with another dataset"):
        fetch(ADAPTERS["busbra"], tmp_path / "out", server=serve(RELEASES["busbra"]).url)


# --- the command -----------------------------------------------------------------------------


def served(serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str) -> Remote:
    from dataclasses import replace  # noqa: PLC0415

    remote = serve(RELEASES[name])
    monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], server=remote.url))
    return remote


def test_no_file_is_asked_for_before_the_terms_are_accepted(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remote = served(serve, monkeypatch, "busbra")
    command = ["fetch", "busbra", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, BusbenchError)
    assert int(result.exception.fault) == 2
    assert "CC BY 4.0" in result.stderr
    assert remote.asked == []
    assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(app, [*command, "--accept-terms"])
    assert result.exit_code == 0, result.output
    assert "CC BY 4.0" in result.stderr
    md5 = hashlib.md5(RELEASES["busbra"]["BUSBRA.zip"]).hexdigest()
    assert f"md5:{md5}" in result.stdout
    assert "busbench prepare busbra --raw" in result.stdout


def test_no_digest_is_invented_where_a_publisher_states_none(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served(serve, monkeypatch, "breast")
    command = ["fetch", "breast", "--out", str(tmp_path / "out"), "--accept-terms"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("its publisher states no digest") == 2
    result = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(result.stdout)["release"] == str(tmp_path / "out" / "release")


@pytest.mark.parametrize("answer", ["y\n", "n\n", ""])
def test_no_answer_but_yes_accepts_the_terms(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str
) -> None:
    import harness.cli.fetch as verb  # noqa: PLC0415

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    class System:
        stdin = Terminal(answer)

    remote = served(serve, monkeypatch, "busbra")
    monkeypatch.setattr(verb, "sys", System)
    result = CliRunner().invoke(app, ["fetch", "busbra", "--out", str(tmp_path / "out")])
    assert (result.exception is None) == (answer == "y\n")
    assert bool(remote.asked) == (answer == "y\n")


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_yap2018_is_never_downloaded_but_says_how_to_ask(tmp_path: Path, extra: list[str]) -> None:
    result = CliRunner().invoke(app, ["fetch", "yap2018", "--out", str(tmp_path / "out"), *extra])
    assert result.exit_code == 0
    shown = json.loads(result.stdout)["how"] if extra else result.stdout.rstrip("\n")
    assert shown == ON_REQUEST["yap2018"]
    assert "agreement" in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["phantom", "generic", "nonsense"])
def test_what_cannot_be_downloaded_is_a_usage_error(tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(app, ["fetch", name, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, BusbenchError)
    assert int(result.exception.fault) == 2


def test_no_network_is_one_sentence_with_the_way_by_hand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(BusbenchError) as caught:
        fetch(ADAPTERS["busi"], tmp_path / "out", server="http://127.0.0.1:9")
    assert "127.0.0.1 cannot be reached" in caught.value.message
    assert "by hand" in caught.value.remedy
    assert int(caught.value.fault) == 30

"""The site tells the same story as the ledger, asks no other host for anything, runs no script."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.contract import Report
from evaluator.errors import BusbenchError
from harness.ledger import append, sign, verify_ledger
from harness.ranking import METRICS, Board, make_board
from harness.ranking.names import plain
from harness.sealing.keys import Keys
from harness.site import publish, publishing, render
from harness.site.plot import MOST_TICKS, SHOWN, Axis
from tests.factories import make_report

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=//evil.example onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "\u202e\u2067evil\u200f",
    "🦉" * 50,
    "x" * 100,
    "&lt;b&gt; ]]> -->",
    "javascript:alert(1)",
]
VOID = {"meta", "link", "br", "circle", "line"}


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

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())


def board_of(keys: Keys, folder: Path, *reports: Report) -> Board:
    ledger = folder / "ledger.jsonl"
    for report in reports:
        append(ledger, sign(report, keys), keys)
    return make_board(verify_ledger(ledger))


@pytest.fixture
def board(keys: Keys, tmp_path: Path) -> Board:
    return board_of(
        keys,
        tmp_path,
        make_report(method="second", dice=0.7, hd95=30),
        make_report(method="winner", dice=0.8123, hd95=12.346, trained_here="sha256:x", gap=0.123),
        make_report(method="partial", dice=1.0, hd95=0.0, status="incomplete"),
        make_report(method="lone", track="phantom", labels="private", folds=1, half_width=None),
    )


def page_of(board: Board) -> Page:
    return Page.of(render(board)["index.html"])


def test_the_page_asks_no_other_host_and_runs_no_script(board: Board) -> None:
    links = []
    for tag, attributes in page_of(board).elements:
        assert tag not in {"script", "img", "iframe", "object", "embed", "form", "base"}
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        links += [attributes[name] for name in ("href", "src", "action") if name in attributes]
    assert set(links) == {
        *("data:,", "#method", "board.json", "board.csv", "#track-1", "#track-2"),
    }


def test_the_gap_stands_on_the_page_where_it_was_measured(board: Board) -> None:
    text = page_of(board).text
    assert text.count("0.123") == 1 and "Dice gap" in text


def test_the_policy_allows_just_the_one_style_sheet(board: Board) -> None:
    html = render(board)["index.html"].decode()
    style = html.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = (
        attributes["content"]
        for tag, attributes in page_of(board).elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "unsafe" not in policy
    assert "url(" not in style
    assert "@import" not in style


def test_every_link_inside_the_page_leads_somewhere(board: Board) -> None:
    elements = page_of(board).elements
    names = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(set(names)) == len(names)
    targets = {str(attributes.get("href", ""))[1:] for tag, attributes in elements if tag == "a"}
    assert {"method", "track-1", "track-2"} <= targets & set(names)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text(keys: Keys, tmp_path: Path, name: str) -> None:
    harmless = page_of(board_of(keys, tmp_path / "a", make_report("team", "method")))
    hostile = page_of(board_of(keys, tmp_path / "b", make_report(name, name)))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in harmless.elements]
    assert "".join(hostile.text).count(plain(name)) >= 4
    assert "\u202e" not in "".join(hostile.text)


def test_rows_stand_in_order_of_rank_and_the_incomplete_last(board: Board) -> None:
    text = page_of(board).text
    start = text.index("Entry")
    order = [text.index(method, start) for method in ("winner", "second", "partial")]
    assert order == sorted(order)
    assert text[order[2] - 1] == "–"
    assert any(line.startswith("Incomplete:") for line in text)


def test_the_table_shows_what_the_report_says(board: Board) -> None:
    text = page_of(board).text
    start = text.index("winner", text.index("Entry"))
    row = text[start : start + 22]
    assert {"0.812", "± 0.010", "0.792 – 0.832", "12.35", "8.35 – 16.35"} <= set(row)
    assert {"trained here", "labels: public", "0.42 M", "1.42", "12.5 ms"} <= set(row)


def test_public_labels_are_said_where_they_are_and_only_there(keys: Keys, tmp_path: Path) -> None:
    public = page_of(board_of(keys, tmp_path / "a", make_report(labels="public")))
    private = page_of(board_of(keys, tmp_path / "b", make_report(labels="private")))
    note = "The masks of this test set are published"
    assert note in " ".join(public.text)
    assert note not in " ".join(private.text)


def test_an_empty_ledger_has_a_site_too(keys: Keys, tmp_path: Path) -> None:
    board = board_of(keys, tmp_path, make_report()).model_copy(update={"tracks": ()})
    assert "The ledger holds no report yet." in page_of(board).text


def test_a_track_without_any_complete_result_has_a_page(keys: Keys, tmp_path: Path) -> None:
    text = page_of(board_of(keys, tmp_path, make_report(status="incomplete"))).text
    assert "Dots and intervals" not in text


def test_a_long_plot_is_cut_and_says_so(keys: Keys, tmp_path: Path) -> None:
    board = board_of(keys, tmp_path, make_report())
    row = board.tracks[0].rows[0]
    rows = tuple(row.model_copy(update={"rank": n + 1}) for n in range(SHOWN + 5))
    track = board.tracks[0].model_copy(update={"rows": rows})
    page = page_of(board.model_copy(update={"tracks": (track,)}))
    assert f"The first {SHOWN} of {SHOWN + 5}." in " ".join(page.text)
    assert sum(attributes.get("class") == "dot" for _, attributes in page.elements) == 3 * SHOWN


def test_the_data_files_are_the_board(board: Board) -> None:
    files = render(board)
    assert Board.model_validate_json(files["board.json"]) == board
    assert files["board.csv"].decode().count("\n") == 1 + 4


def test_the_same_ledger_gives_the_same_bytes_in_another_process(
    board: Board, tmp_path: Path
) -> None:
    publish(tmp_path / "ledger.jsonl", tmp_path / "here")
    program = "import sys; from pathlib import Path; from harness.site import publish; "
    program += "publish(Path(sys.argv[1]), Path(sys.argv[2]))"
    arguments = [tmp_path / "ledger.jsonl", tmp_path / "there"]
    changed = {"PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, env=os.environ | changed
    )
    for name in ("index.html", "board.json", "board.csv"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_site_is_replaced_whole_and_nothing_is_left_beside_it(
    keys: Keys, board: Board, tmp_path: Path
) -> None:
    site = tmp_path / "out" / "site"
    publish(tmp_path / "ledger.jsonl", site)
    before = contents(site)
    board_of(keys, tmp_path, make_report(method="new"))
    publish(tmp_path / "ledger.jsonl", site)
    assert contents(site).keys() == before.keys()
    assert contents(site) != before
    assert [path.name for path in site.parent.iterdir()] == ["site"]
    assert site.stat().st_mode & 0o055 == 0o055  # a web server can read it


@pytest.mark.parametrize("content", ["notes.txt", "index.html", "board.json", ".git"])
def test_a_folder_that_is_no_site_is_left_alone(board: Board, tmp_path: Path, content: str) -> None:
    site = tmp_path / "mine"
    site.mkdir()
    (site / content).write_text("mine")
    with pytest.raises(BusbenchError) as caught:
        publish(tmp_path / "ledger.jsonl", site)
    assert caught.value.code == "output-exists"
    assert contents(site) == {content: b"mine"}


def test_a_site_that_someone_added_to_is_left_alone(board: Board, tmp_path: Path) -> None:
    publish(tmp_path / "ledger.jsonl", tmp_path / "site")
    (tmp_path / "site" / "CNAME").write_text("example.org")
    with pytest.raises(BusbenchError, match="not a site"):
        publish(tmp_path / "ledger.jsonl", tmp_path / "site")


def test_a_file_in_the_way_is_left_alone(board: Board, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("mine")
    with pytest.raises(BusbenchError, match="not a site"):
        publish(tmp_path / "ledger.jsonl", tmp_path / "site")


def test_what_a_killed_run_left_does_not_matter(board: Board, tmp_path: Path) -> None:
    for left in (".site.partial", ".site.old"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "junk").write_text("half")
    publish(tmp_path / "ledger.jsonl", tmp_path / "site")
    assert not (tmp_path / "site" / "junk").exists()
    assert not any(path.name.startswith(".site") for path in tmp_path.iterdir())


def test_a_link_to_a_served_folder_stays_a_link(board: Board, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "site").symlink_to("served")
    publish(tmp_path / "ledger.jsonl", tmp_path / "site")
    assert (tmp_path / "site").is_symlink()
    assert (tmp_path / "served" / "index.html").is_file()


def test_a_broken_ledger_or_a_full_disk_leaves_the_old_site(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, site = tmp_path / "ledger.jsonl", tmp_path / "site"
    publish(ledger, site)
    before = contents(site)

    def no_space(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(publishing, "write_atomically", no_space)
        with pytest.raises(BusbenchError) as caught:
            publish(ledger, site)
    assert caught.value.code == "disk-full"
    ledger.write_bytes(ledger.read_bytes()[:-2])
    with pytest.raises(BusbenchError, match="half-written"):
        publish(ledger, site)
    assert contents(site) == before


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.sampled_from(METRICS))
def test_every_value_lies_on_its_axis_between_its_ticks(parts: list[float], metric: object) -> None:
    chosen = next(known for known in METRICS if known is metric)
    values = [part if chosen.higher_is_better else 400 * part for part in parts]
    axis = Axis.around(values, chosen)
    ticks = axis.ticks
    assert 2 <= len(ticks) <= MOST_TICKS
    assert [at for at, _ in ticks] == sorted(at for at, _ in ticks)
    assert len({label for _, label in ticks}) == len(ticks)
    assert axis.first * axis.step <= min(values) + 1e-6
    assert axis.last * axis.step >= max(values) - 1e-6
    assert [axis.at(v) for v in sorted(values)] == sorted(axis.at(v) for v in values)


def test_a_worked_axis() -> None:
    axis = Axis.around([0.63, 0.84], METRICS[0])
    assert axis.ticks == [(0.0, "0.6"), (33.33, "0.7"), (66.67, "0.8"), (100.0, "0.9")]
    assert axis.at(0.75) == 50.0

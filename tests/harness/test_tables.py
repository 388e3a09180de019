"""Tables for papers: marks where they belong, and names that steer nothing in any format."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from harness.ledger.report import Report
from harness.ranking import FORMATS, METRICS, Board, to_csv, to_html, to_latex, to_markdown
from harness.ranking.assembly import rank
from harness.ranking.cases import CaseTable
from harness.ranking.names import latex
from harness.ranking.statistics import make_ranking
from tests.support import absent
from tests.support.factories import TIME, digest_of, make_report, recorded

HOSTILE = [
    "<script>alert(1)</script>",
    '</td><td class="x" onclick=y>',
    "=HYPERLINK(1)",
    " +1",
    "＠SUM(1)",
    "a|b\\|c",
    r"\input{x} & $x_1$ 100% \\ \end{tabular} ^~#{}`",
    "% no comment",
    "**bold** ![x](y) `code` <!-- ",
    "a\u202eb\u2066c\u200f",
    "Universität São Paulo – naïve ±±",
    "超声波 🩺 مرحبا ↑",
    "&amp; {} {0} {{}}",
    "x" * 100,
]


def make_board(*reports: Report, ranking: bool = True) -> Board:
    """A board of reports, in whose ranking the first is best on every case, and so on."""
    found = recorded(reports)
    complete = [one for one in found if one.report.status == "complete"]
    steps = np.linspace(0.9, 0.5, len(complete)) + np.zeros((12, 1))
    table = CaseTable(
        tuple(one.digest for one in complete),
        tuple(f"p{n}" for n in range(12)),
        {"dice": steps, "iou": steps, "hd95": 100 * (1 - steps)},
    )
    rankings = [make_ranking(reports[0], table)] if ranking else []
    return Board(
        ledger_key=digest_of("key"),
        ledger_head=digest_of("head"),
        ledger_updated=TIME,
        ledger_reports=len(reports),
        tracks=rank(found, rankings),
    )


def hostile_board() -> Board:
    reports = [make_report(name, name, dice=0.9 - n / 100) for n, name in enumerate(HOSTILE)]
    return make_board(*reports, make_report("half", HOSTILE[0], status="incomplete"))


class Cells(HTMLParser):
    """The text of each cell, and the tags that were met."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip("\n")


def markdown_rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_hostile_names_are_text_in_html_and_nothing_else() -> None:
    text = to_html(hostile_board())
    assert text.isascii()
    page = Cells(text)
    assert page.tags == {
        *("table", "caption", "thead", "tbody", "tfoot"),
        *("tr", "th", "td", "bdi", "strong", "u"),
    }
    assert page.attributes == {"scope", "colspan"}
    head, *rows = [row for row in page.rows if len(row) > 1]  # one cell alone is a footnote
    assert {len(row) for row in rows} == {len(head)}
    shown = {row[head.index("Team")] for row in rows}
    assert "<script>alert(1)</script>" in shown and "abc" in shown


def test_hostile_names_are_text_in_markdown_and_nothing_else() -> None:
    rows = markdown_rows(to_markdown(hostile_board()))
    assert {len(row) for row in rows} == {len(rows[0])}
    team = rows[0].index("Team")
    for name in (row[team] for row in rows[2:]):
        assert not re.search(r"(?<!\\)(\\\\)*[<>*`\[\]!|_&]", name), name


def test_hostile_names_are_values_in_csv_and_no_formula() -> None:
    records = list(csv.DictReader(io.StringIO(to_csv(hostile_board()))))
    assert len(records) == len(HOSTILE) + 1
    assert {record["track"] for record in records} == {"busbra"}
    for record in records:
        assert not record["team"].lstrip().startswith(tuple("=+-@＝＋－＠"))


def test_hostile_names_add_no_cell_and_no_line_to_latex() -> None:
    text = to_latex(hostile_board())
    assert text.replace("±", "").isascii() or all(ord(sign) < 256 for sign in text)
    lines = text.splitlines()
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    head = lines[lines.index(r"\midrule") - 1]
    assert len(body) == len(HOSTILE) + 1
    for line in body:
        assert re.sub(r"\\.", "", line).count("&") == head.count("&")
        assert not re.search(r"(?<!\\)%", line)


def test_letters_that_latex_may_lack_become_their_code_points() -> None:
    assert latex("é波\U0001fa7a") == r"é\boardchar{6CE2}\boardchar{1FA7A}"


DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="module")
def latex_compiler() -> list[str]:
    """A LaTeX compiler. Without one, tests skip on a laptop and fail in CI."""
    if found := shutil.which("pdflatex"):
        return [found, "-interaction=nonstopmode", "-halt-on-error"]
    found = shutil.which("tectonic")
    if found is None:
        absent("neither pdflatex (Debian's texlive-latex-recommended) nor tectonic is installed")
    return [found]


@pytest.mark.parametrize("ranking", [True, False])
def test_latex_compiles_whatever_the_names(
    latex_compiler: list[str], tmp_path: Path, ranking: bool
) -> None:
    reports = [make_report(name, name) for name in HOSTILE]
    board = make_board(*reports, make_report(status="incomplete"), ranking=ranking)
    (tmp_path / "table.tex").write_text(DOCUMENT % to_latex(board), "utf-8")
    done = subprocess.run(
        [*latex_compiler, "table.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "table.pdf").read_bytes().startswith(b"%PDF")


def four() -> list[Report]:
    """Methods b and c tie for the second best Dice; c has the best HD95, d is not complete."""
    return [
        make_report(method="a", dice=0.9, hd95=30),
        make_report(method="b", dice=0.8, hd95=20),
        make_report(method="c", dice=0.8, hd95=10),
        make_report(method="d", dice=1.0, hd95=0, status="incomplete"),
    ]


def test_the_best_is_bold_the_second_underlined_and_the_unranked_neither() -> None:
    rows = markdown_rows(to_markdown(make_board(*four())))
    dice, hd95 = (
        rows[0].index(metric.title({"hd95": "px"})) for metric in (METRICS[0], METRICS[2])
    )
    method = rows[0].index("Method")
    by_method = {row[method]: row for row in rows[2:]}
    assert by_method["a"][dice] == "**0.900 ± 0.010**"
    assert by_method["b"][dice] == by_method["c"][dice] == "<ins>0.800 ± 0.010</ins>"
    assert by_method["c"][hd95] == "**10.00 ± 2.00**"
    assert by_method["b"][hd95] == "<ins>20.00 ± 2.00</ins>"
    assert not any("**" in cell or "<ins>" in cell for cell in by_method["d"])
    assert r"\underline{20.00 $\pm$ 2.00}" in to_latex(make_board(*four()))
    assert r"\textbf{0.900 $\pm$ 0.010}" in to_latex(make_board(*four()))
    assert "<u>20.00" in to_html(make_board(*four()))


def test_groups_and_rank_intervals_are_marked_where_there_are_rankings() -> None:
    rows = markdown_rows(to_markdown(make_board(*four())))
    assert rows[0][:3] == ["Rank", "Ranks", "Group"]
    assert [row[:3] for row in rows[2:]] == [
        *(["1", "1–1", "A"], ["2", "2–2", "B"], ["3", "3–3", "C"], ["–", "–", "–"])
    ]
    records = list(csv.DictReader(io.StringIO(to_csv(make_board(*four())))))
    assert [record["group"] for record in records] == ["A", "B", "C", ""]
    assert (records[0]["order"], records[0]["resamples_first"]) == ("mean-rank", "2000")
    assert records[3]["rank_low"] == ""


def test_without_rankings_no_table_pretends_to_groups_and_each_says_why() -> None:
    board = make_board(*four(), ranking=False)
    for text in (to_markdown(board), to_latex(board), to_html(board)):
        assert "no ranking" in text
        assert "Group" not in text
    assert {row["order"] for row in csv.DictReader(io.StringIO(to_csv(board)))} == {"aggregate"}


def test_normal_images_stand_apart_only_where_there_are_some() -> None:
    heads = markdown_rows(to_markdown(make_board(make_report())))[0]
    assert "Normal images: Dice ↑" in heads and "Lesion images: HD95 [px] ↓" in heads
    fields = make_report().document()
    del fields["scores"]["groups"]["normal"]
    heads = markdown_rows(to_markdown(make_board(Report.model_validate(fields))))[0]
    assert not any("images" in head for head in heads)


def test_latex_heads_say_which_images_a_metric_is_about() -> None:
    lines = to_latex(make_board(make_report())).splitlines()
    start = lines.index(r"\toprule") + 1
    spans, rules, heads = lines[start : lines.index(r"\midrule")]
    widths = [int(width) for width in re.findall(r"multicolumn\{(\d+)\}", spans)]
    assert sum(widths) == heads.count("&") + 1
    assert re.findall(r"\{(\w+ images)\}", spans) == [
        *("All images", "Lesion images", "Normal images")
    ]
    first = widths[0] + 1
    assert rules.startswith(rf"\cmidrule(lr){{{first}-{first + 2 * len(METRICS) - 1}}}")
    fields = make_report().document()
    del fields["scores"]["groups"]["normal"]
    assert "cmidrule" not in to_latex(make_board(Report.model_validate(fields)))


def test_every_format_of_the_command_line_writes_every_submission() -> None:
    board = make_board(*four())
    for write in FORMATS.values():
        assert all(re.search(rf"\b{row.method}\b", write(board)) for row in board.tracks[0].rows)


def test_a_gap_unlike_the_others_is_not_shown_without_a_footnote_in_any_table() -> None:
    gaps = {"one": 0.02, "two": 0.021, "three": 0.019, "memorised": 0.21}
    reports = [
        make_report("t", method, dice=0.9 - n / 100, gap=gap, trained_here="x" if n else None)
        for n, (method, gap) in enumerate(gaps.items())
    ]
    board = make_board(*reports)
    assert "memorised<sup>a,b</sup>" in to_markdown(board)
    assert "one<sup>c</sup>" in to_markdown(board)
    for write in (to_markdown, to_html):
        text = write(board)
        assert "<sup>a</sup> gap unlike the others: " in text
        assert "<sup>b</sup> trained here: " in text
        assert "<sup>c</sup> supplied: " in text
        assert "All: labels public" in text
    assert r"memorised\textsuperscript{a,b}" in to_latex(board)
    assert r"\footnotesize \textsuperscript{a} gap unlike the others: the 95 \% " in to_latex(board)
    marked = [
        row["method"]
        for row in csv.DictReader(io.StringIO(to_csv(board)))
        if row["gap_unlike"] == "True"
    ]
    assert marked == ["memorised"]


def test_no_table_hides_what_is_stated_of_data_or_takes_silence_for_none() -> None:
    said: dict[str, dict[str, object]] = {
        "silent": {},
        "alone": {"external_data": "none", "paper": "https://example.org/p", "authors": ["A", "B"]},
        "more": {"external_data": "=BUSI", "pretrained": "ImageNet"},
    }
    board = make_board(
        *(
            make_report("t", name, dice=0.9 - n / 10, notes=notes)
            for n, (name, notes) in enumerate(said.items())
        )
    )
    text = to_markdown(board)
    assert "| silent |" in text and "alone<sup>a</sup>" in text and "more<sup>b,c</sup>" in text
    assert "<sup>a</sup> no external data: the team states that" in text
    assert "<sup>b</sup> external data: " in text and "<sup>c</sup> pretrained: " in text
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(board)))}
    assert [rows[name]["external_data"] for name in said] == ["", "none", "'=BUSI"]
    assert (rows["alone"]["paper"], rows["alone"]["authors"]) == ("https://example.org/p", "A; B")


def test_numbers_as_awesome_bus_never_rank_and_are_never_marked_as_best() -> None:
    first, second = make_report("a", "first", dice=0.9), make_report("b", "second", dice=0.8)
    worse = first.scores.awesome_bus_2025.model_copy(
        update={"metrics": second.scores.awesome_bus_2025.metrics}
    )
    better = second.scores.awesome_bus_2025.model_copy(
        update={"metrics": first.scores.awesome_bus_2025.metrics}
    )
    reports = [
        report.model_copy(
            update={"scores": report.scores.model_copy(update={"awesome_bus_2025": block})}
        )
        for report, block in ((first, worse), (second, better))
    ]
    board = make_board(*reports, ranking=False)  # worse by that profile, first by its own
    assert [row.method for row in board.tracks[0].rows] == ["first", "second"]
    head, _, *rows = markdown_rows(to_markdown(board))
    column = head.index("Dice ↑, as Awesome-BUS 2025")
    assert [row[column] for row in rows] == ["0.400 ± 0.010", "0.450 ± 0.010"]
    assert rows[0][head.index("Dice ↑")] == "**0.900 ± 0.010**"
    found = list(csv.DictReader(io.StringIO(to_csv(board))))
    assert [row["awesome_bus_2025_dice_mean"] for row in found] == ["0.4", "0.45"]
    assert all("never for ranking" in FORMATS[each](board) for each in FORMATS if each != "csv")

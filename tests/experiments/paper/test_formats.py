"""Printing: what is escaped, and that every format is well formed."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from experiments.paper.formats import csv_of, html_of, latex, latex_of, markdown_of
from experiments.paper.published import Published, load_published
from experiments.paper.tables import LINES, ReportTable, build_table

VOID = {"meta", "br", "img", "input"}


@pytest.fixture(scope="module")
def published() -> Published:
    return load_published(Path(__file__).parents[3] / "configs/paper_tables.yaml")


@pytest.fixture(scope="module")
def tables(published: Published) -> dict[str, ReportTable]:
    return {name: build_table(t, published, {}, [0], {}, 2000) for name, t in published.tables.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "50 % & more_of {all} #1 $2 ^3 ~4",
            r"50 \% \& more\_of \{all\} \#1 \$2 \textasciicircum{}3 \textasciitilde{}4",
        ),
        ("a\\b", r"a\textbackslash{}b"),
        ("16×16 − 3 – 4 → 5", r"16$\times$16 $-$ 3 -- 4 $\rightarrow$ 5"),
        ("a<b>c|d", "a$<$b$>$c$|$d"),
    ],
)
def test_latex_escapes(text: str, expected: str) -> None:
    assert latex(text) == expected


@pytest.mark.parametrize("name", [str(number) for number in range(2, 13)])
def test_latex_is_well_formed(tables: dict[str, ReportTable], name: str) -> None:
    text = latex_of(tables[name])
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)  # without escaped signs and line ends
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    begun, ended = re.findall(r"\\begin\{(\w+)\}", text), re.findall(r"\\end\{(\w+)\}", text)
    assert begun == ["table", "tabular"]
    assert ended == ["tabular", "table"]
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns is not None
    body = text.split(r"\hline", 1)[1].split(r"\end{tabular}")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + len(LINES) * len(tables[name].rows)
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(columns.group(1))}
    assert text.isascii(), [letter for letter in text if not letter.isascii()]


def test_best_is_bold_and_worst_underlined_as_the_paper_prints_them(tables: dict[str, ReportTable]) -> None:
    text = markdown_of(tables["2"])
    assert "**0.4289**" in text  # DeiT-B distilled, the best of all classes
    assert "<u>0.3613</u>" in text  # ViT-B/16, the worst
    assert r"\textbf{61.076}" in latex_of(tables["11"])
    assert r"\underline{$-$43.442}" in latex_of(tables["11"])
    assert "<b>0.6238</b>" in html_of(tables["2"])


def test_ties_are_all_marked(tables: dict[str, ReportTable]) -> None:
    fewest = [row.cells[4].published for row in tables["8"].rows]  # ketchup taken for chili paste, without sauce
    assert [(shown.text, shown.mark) for shown in fewest] == [
        ("2", "worst"),
        ("2", "worst"),
        ("0", "best"),
        ("0", "best"),
    ]


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", [str(number) for number in range(2, 13)])
def test_html_is_balanced_and_markdown_is_a_table(tables: dict[str, ReportTable], name: str) -> None:
    parser = Balanced()
    parser.feed(html_of(tables[name]))
    assert not parser.open
    lines = markdown_of(tables[name]).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == 2 + len(LINES) * len(tables[name].rows)


def test_csv_holds_every_published_value(published: Published, tables: dict[str, ReportTable]) -> None:
    for name, table in published.tables.items():
        rows = list(csv.DictReader(csv_of(tables[name]).splitlines()))
        values = [row.values[column.key] for row in table.rows for column in table.columns]
        assert [float(row["published"]) for row in rows] == pytest.approx(values)
        assert {row["status"] for row in rows} == {"not run"}
        assert {row["ours"] for row in rows} == {""}

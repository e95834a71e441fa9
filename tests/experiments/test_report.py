"""Tables on a terminal and in Markdown, and a page that stands alone."""

import base64
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from experiments.report import (
    Change,
    PValue,
    Section,
    display_width,
    format_score,
    markdown_table,
    text_table,
    write_markdown,
    write_page,
    write_report,
)

ROWS = [
    {"model": "roi only", "macro_f1": 0.8, "macro_f1_ci": [0.78, 0.8204], "ambiguous_f1": None, "n_pairs": 2229},
    {"model": "RveRNet", "macro_f1": 0.9743, "macro_f1_ci": None, "ambiguous_f1": 0.5, "n_pairs": 31, "tied": False},
]
VOID = {"meta", "input", "img"}


class Page(HTMLParser):
    """Checks that every tag is closed in order; collects text, tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] != "style":
            self.text.append(data.strip())


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


def test_scores_are_written_with_their_interval() -> None:
    assert format_score(0.9743, [0.951, 0.98962]) == "0.974 [0.951, 0.990]"
    assert format_score(0.5) == "0.500"
    assert format_score(0.98765, [0.9, 1.0], digits=2) == "0.99 [0.90, 1.00]"
    assert format_score(None, None) == "n/a"


def test_differences_carry_a_sign_and_p_values_are_never_nought() -> None:
    assert format_score(Change(0.0123), [-0.004, 0.0301]) == "+0.012 [-0.004, +0.030]"
    assert format_score(Change(-0.25)) == "-0.250"
    assert [format_score(PValue(p)) for p in (0.0499, 0.0006, 0.0004, 0.0, 1.0)] == [
        *("0.050", "0.001", "<0.001", "<0.001", "1.000")
    ]
    assert text_table([{"p": PValue(0.0)}, {"p": None}]).splitlines()[2:] == ["<0.001", "   n/a"]


def test_text_table_aligns_text_left_and_numbers_right() -> None:
    assert text_table(ROWS).splitlines() == [
        "model                 macro-F1  ambiguous-F1  pairs  tied",
        "--------  --------------------  ------------  -----  ----",
        "roi only  0.800 [0.780, 0.820]           n/a  2,229  n/a",
        "RveRNet                  0.974         0.500     31  no",
    ]


def test_columns_choose_order_and_headings() -> None:
    assert text_table(ROWS, {"n_pairs": "N", "model": "which"}).splitlines() == [
        "    N  which",
        "-----  --------",
        "2,229  roi only",
        "   31  RveRNet",
    ]
    assert text_table([], ["model", "top1"]).splitlines()[0] == "model  top-1"
    with pytest.raises(ValueError, match="at least one column"):
        text_table([])


def test_wide_letters_keep_the_columns_aligned() -> None:
    table = text_table([{"class": "김치", "n": 1}, {"class": "rice", "n": 20}, {"class": "cre\u0300me", "n": 3}])
    assert {display_width(line) for line in table.splitlines()} == {9}
    assert display_width("김치") == 4


def test_markdown_table_escapes_bars_and_marks_numbers() -> None:
    lines = markdown_table([{"class": "a|b", "top1": 0.5}]).splitlines()
    assert lines == ["| class | top-1 |", "| ----- | ----: |", "| a\\|b  | 0.500 |"]


def test_the_page_stands_alone_and_holds_every_picture(tmp_path: Path) -> None:
    pictures = []
    for number in range(2):
        pictures.append((f"Picture <{number}> & more", tmp_path / f"{number}.png"))
        Image.new("RGB", (4, 3), (number, 9, 9)).save(pictures[-1][1])
    write_report(tmp_path / "report.html", "a < b & c", ROWS, pictures, ["Run `make <demo>` again."])
    page = read(tmp_path / "report.html")
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    embedded = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources]
    assert embedded == [path.read_bytes() for _, path in pictures]
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == [title for title, _ in pictures]
    assert not any({"href", "srcset"} & attributes.keys() or tag in {"script", "link"} for tag, attributes in page.tags)
    assert page.text.count("a < b & c") == 2, "title and heading"
    assert "make <demo>" in page.text
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags


def test_the_page_shows_scores_with_their_intervals_and_scopes(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", "t", ROWS, columns=["model", "macro_f1", "ambiguous_f1"])
    page = read(tmp_path / "report.html")
    cells = page.text[page.text.index("roi only") :]
    assert cells == ["roi only", "0.800", "[0.780, 0.820]", "n/a", "RveRNet", "0.974", "0.500"]
    headings = [attributes.get("scope") for tag, attributes in page.tags if tag == "th"]
    assert headings == ["col", "col", "col", "row", "row"]


def test_a_page_may_hold_notes_alone(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", "t", [], notes=["nothing was scored"])
    assert read(tmp_path / "report.html").text == ["t", "t", "nothing was scored"]
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_page_of_sections_and_the_same_in_markdown(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "plot.png")
    sections = [
        Section("First & foremost", ROWS, ["model", "n_pairs"], ["A note."]),
        Section("More", images=[("A plot", tmp_path / "plot.png")], folded=True),
    ]
    write_page(tmp_path / "report.html", "t", sections)
    page = read(tmp_path / "report.html")
    headings = ["First & foremost", "model", "pairs", "roi only", "2,229", "RveRNet", "31", "A note.", "More", "A plot"]
    assert page.text == ["t", "t", *headings]
    assert [tag for tag, _ in page.tags if tag in ("h2", "details", "summary")] == ["h2", "details", "summary"]
    write_markdown(tmp_path / "table.md", "t", sections)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert text.startswith("# t\n\n## First & foremost\n\n| model    | pairs |\n")
    assert text.endswith("|\n\nA note.\n\n## More\n\n![A plot](plot.png)\n")

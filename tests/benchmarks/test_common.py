"""Ratios, verdicts and tables of benchmarks, by hand."""

import importlib
import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import common
from benchmarks.common import Recorded, Result, in_turn, publish
from benchmarks.table import format_table
from utils.errors import ConfigError, RunError

OURS, BASELINE = [1.0, 2.0, 4.0], [2.0, 2.0, 2.0]  # ratios 2, 1 and 0.5


def test_ratio_is_the_median_of_the_repeats_with_its_spread() -> None:
    result = Result("x", "ours", "theirs", OURS, BASELINE)
    assert result.ratios == [2.0, 1.0, 0.5]
    assert result.measured == "1.00 [0.50, 2.00]"
    assert result.verdict == "recorded"


@pytest.mark.parametrize(("target", "verdict"), [(1.0, "held"), (1.01, "MISSED")])
def test_target_is_held_by_the_median(target: float, verdict: str) -> None:
    assert Result("x", "ours", "theirs", OURS, BASELINE, target=target).verdict == verdict


@pytest.mark.parametrize(("fraction", "verdict"), [(0.5, "held"), (0.51, "MISSED")])
def test_fraction_of_the_limit_can_be_promised(fraction: float, verdict: str) -> None:
    result = Result("x", "ours", "theirs", OURS, BASELINE, 1.0, ("bare decode", 1.0), limit_target=fraction)
    assert result.fraction_of_limit == 0.5  # the limit takes 1 s, ours 2 s
    assert result.verdict == verdict
    assert result.target_text == f"1: held, {fraction:.0%} of the limit: {verdict}"
    assert result.cells()[-1] == "50% of bare decode"


def test_what_was_not_measured_says_so() -> None:
    assert Result("x", "ours", target=5.0).verdict == "not measured"
    assert Recorded("x", None, target=1.0).verdict == "not measured"
    assert Result("x", "ours", ours_seconds=[1.0]).verdict == "recorded"


def test_bounds_of_numbers() -> None:
    verdicts = [Recorded("x", 5.0, target=t, at_least=lower).verdict for t in (4, 5, 6) for lower in (False, True)]
    assert verdicts == ["MISSED", "held", "held", "held", "held", "MISSED"]


def test_sides_take_turns() -> None:
    order: list[str] = []
    times = in_turn(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert [len(side) for side in times] == [3, 3]


def test_table_fits_and_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "OUT", tmp_path)
    words = "a claim of many words that cannot stand on a single line beside four other columns of such words"
    row = Result(words, words, words, OURS, BASELINE, 1.0, (words, 1.0), reads="ours: a; baseline: b")
    publish("claims", [row, Recorded("bytes", 12.0, "MB")], notes=["a note"])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 120
    assert printed.split().count("cannot") == 5  # four cells, and the claim's name before what it reads
    assert "ours: a; baseline: b" in " ".join(printed.split())
    document = json.loads((tmp_path / "claims.json").read_text())
    assert [entry["verdict"] for entry in document["results"]] == ["held", "recorded"]
    assert document["results"][0]["ratios"] == [2.0, 1.0, 0.5]


def test_columns_are_aligned_and_empty_ones_left_out() -> None:
    lines = format_table(("a", "b", "c"), [("one two", "", "x"), ("1", "", "y")], width=9).splitlines()
    assert lines == ["a    c", "---  -", "one  x", "two", "1    y"] or lines[0].split() == ["a", "c"]
    assert {line.index(cell) for line in lines for cell in "cxy" if cell in line} == {lines[0].index("c")}


@pytest.mark.parametrize("name", [*command.DEFAULT, *command.ON_REQUEST])
def test_every_name_is_a_benchmark(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.{name}").main)


def test_unknown_benchmark_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown benchmark 'lodaer'; did you mean 'loader'\?"):
        command.main(["index", "lodaer"])


def test_one_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of three modules run; the middle one does not exist, as after a broken import."""
    monkeypatch.setattr(common, "OUT", tmp_path)
    started = []

    def run(arguments: list[str], **_options: object) -> object:
        name = arguments[-1].removeprefix("benchmarks.")
        started.append(name)
        if name != "loader":
            publish(name, [Result(f"claim of {name}", "a", "b", OURS, BASELINE, target=3)])
        return type("Ended", (), {"returncode": int(name == "loader")})

    monkeypatch.setattr("benchmarks.__main__.subprocess.run", run)
    with pytest.raises(RunError, match=r"loader \(exit status 1\)"):
        command.main(["index", "loader", "archive"])
    assert started == ["index", "loader", "archive"]
    summary = capsys.readouterr().out.partition("== summary")[2]
    assert summary.count("MISSED") == 2
    assert "FAILED" in summary

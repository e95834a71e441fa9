"""The published values, checked against each other: what the remarks say follows from the file's own numbers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from experiments.paper.published import Column, PaperTable, Published, load_published
from utils.errors import ConfigError

ROOT = Path(__file__).parents[3]
FILE = ROOT / "configs/paper_tables.yaml"
LAST_DIGIT = 0.0005 + 1e-9  # half of the third decimal


@pytest.fixture(scope="module")
def published() -> Published:
    return load_published(FILE)


def column(table: PaperTable, key: str) -> Column:
    return next(column for column in table.columns if column.key == key)


def by_run(table: PaperTable) -> dict[str, dict[str, float | None]]:
    return {row.name: dict(row.values) for row in table.rows}


def number(value: float | None) -> float:
    assert value is not None
    return value


def test_all_tables_are_present_and_complete(published: Published) -> None:
    # Rows and columns as printed; Table 8 prints three numbers in each of four cells, Table 10 lies on its side.
    shapes = {name: (len(table.rows), len(table.columns)) for name, table in published.tables.items()}
    assert shapes == {
        "2": (5, 2),
        "3": (9, 2),
        "4": (9, 2),
        "5": (3, 3),
        "6": (3, 3),
        "7": (4, 3),
        "8": (4, 12),
        "9": (4, 4),
        "10": (5, 3),
        "11": (7, 7),
        "12": (7, 7),
    }
    assert all(
        value is not None for table in published.tables.values() for row in table.rows for value in row.values.values()
    )
    for table in published.tables.values():
        assert len({column.heading for column in table.columns}) == len(table.columns)
    assert list(published.figures) == ["figure3", "figure5", "figure6"]
    assert [row.value for row in published.figures["figure3"].rows][:2] == [530, 642]
    assert published.figures["figure6"].kind == "curve"


def test_the_published_data_counts(published: Published) -> None:
    data = published.data
    assert (data["classes"], data["train_pairs"], data["test_pairs"], data["epochs"]) == (105, 18320, 7769, 30)
    assert data["class_counts"] == {"ketchup": [69, 38], "chili paste": [72, 34]}


@pytest.mark.parametrize("smaller", ["2", "3", "4", "9"])
def test_a_model_has_the_same_f1_in_every_table_that_prints_it(published: Published, smaller: str) -> None:
    rows = by_run(published.tables[smaller])
    for name in ("2", "3", "4", "9"):
        for run, values in by_run(published.tables[name]).items():
            if run in rows:
                assert values["macro_f1"] == rows[run]["macro_f1"], (run, name)
                assert values["ambiguous_f1"] == rows[run]["ambiguous_f1"], (run, name)


def test_shared_rows_are_those_that_the_paper_repeats(published: Published) -> None:
    runs = {name: set(by_run(published.tables[name])) for name in ("2", "3", "4", "9")}
    assert runs["2"] & runs["3"] == {"roi_mobilenetv2", "roi_deit-distilled"}
    assert runs["9"] <= runs["4"]
    # "DeiT-B/16" of Table 4 has the values of DeiT-B distilled, not of DeiT-B.
    table_4, table_2 = by_run(published.tables["4"]), by_run(published.tables["2"])
    assert table_4["roi_deit-distilled"] == table_2["roi_deit-distilled"] != table_2["roi_deit"]


@pytest.mark.parametrize("name", ["5", "6", "7"])
def test_tables_5_to_7_average_tables_11_and_12_to_the_printed_digits(published: Published, name: str) -> None:
    source = by_run(published.tables["12" if name == "7" else "11"])
    for row in published.tables[name].rows:
        for key, printed in row.values.items():
            mean = np.mean([number(source[run][f"{key}_change"]) for run in row.runs])
            assert abs(mean - number(printed)) <= LAST_DIGIT, (row.label, key)


def test_the_groups_of_tables_5_to_7_hold_every_pair_once_by_the_module_they_speak_of(published: Published) -> None:
    pairs = set(by_run(published.tables["11"]))
    for name in ("5", "6", "7"):
        grouped = [run for row in published.tables[name].rows for run in row.runs]
        assert sorted(grouped) == sorted(pairs)
        for row in published.tables[name].rows:
            modules = {run.split("_")[0 if name == "5" else 1] for run in row.runs}
            expected = {"mobilenetv2"} if "CNN" in row.label else {"deit-distilled"}
            if "Transformer" in row.label:
                expected = {model for model, word in {"vit": "ViT", "deit": "DeiT"}.items() if word in row.label}
            assert modules == expected, (name, row.label)


def printed_changes(published: Published) -> Iterator[tuple[tuple[str, str, str], float, float, float]]:
    """Yield place, perturbed and unchanged accuracy, and printed change of every change in Tables 10 to 12."""
    for name in ("10", "11", "12"):
        for row in published.tables[name].rows:
            for key, printed in row.values.items():
                if key.endswith("_change"):
                    perturbed = number(row.values[key.removesuffix("_change")])
                    yield (name, row.name, key), perturbed, number(row.values["identity"]), number(printed)


def test_changes_are_perturbed_less_unchanged_but_for_two_last_digits(published: Published) -> None:
    wrong = {
        place: printed
        for place, perturbed, unchanged, printed in printed_changes(published)
        if round(perturbed - unchanged, 3) != printed
    }
    # The first is rounding (see the next test), the second a slip of the paper.
    assert wrong == {
        ("10", "roi_mobilenetv2", "permute_roi_change"): -41.164,
        ("12", "vit_vit", "translate_a_change"): -0.758,
    }


def whole(percent: float) -> int:
    """Return the number of the 7,769 test pairs behind a printed accuracy."""
    return round(percent * 7769 / 100)


def test_every_accuracy_is_a_whole_number_of_the_7769_pairs(published: Published) -> None:
    # Whole numbers lie 0.0129 apart, so a digit copied wrongly would show. Two values are cut off, not rounded.
    rounded: list[tuple[str, str, str]] = []
    cut: list[tuple[str, str, str]] = []
    for name in ("10", "11", "12"):
        for row in published.tables[name].rows:
            for key, printed in row.values.items():
                if not key.endswith("_change"):
                    error = abs(100 * whole(number(printed)) / 7769 - number(printed))
                    (rounded if error <= LAST_DIGIT else cut).append((name, row.name, key))
                    assert error < 0.001
    assert len(rounded) + len(cut) == 66
    assert cut == [("11", "deit_deit", "permute_roi"), ("12", "deit_deit", "translate_c")]


def test_with_whole_pairs_only_one_change_is_a_slip(published: Published) -> None:
    # Less than 0.001: some are differences of rounded numbers, some are rounded differences.
    slips = [
        place
        for place, perturbed, unchanged, printed in printed_changes(published)
        if abs(100 * (whole(perturbed) - whole(unchanged)) / 7769 - printed) >= 0.001
    ]
    assert slips == [("12", "vit_vit", "translate_a_change")]


def test_55_902_is_printed_for_two_models_and_the_odd_gain_rests_on_it(published: Published) -> None:
    found = {
        (name, row.name)
        for name in ("10", "11", "12")
        for row in published.tables[name].rows
        if row.values["identity"] == 55.902
    }
    assert found == {("10", "roi_deit"), ("11", "deit_deit"), ("12", "deit_deit")}
    gains = [
        (row.name, key, value)
        for row in published.tables["12"].rows
        for key, value in row.values.items()
        if key.endswith("_change") and number(value) > 0
    ]
    assert gains == [("deit_deit", "translate_a_change", 1.956)]


def test_figure_3s_counts_do_not_fit_table_10_as_vit_against_mobilenet(published: Published) -> None:
    right, wrong = (number(row.value) for row in published.figures["figure3"].rows[:2])
    table = by_run(published.tables["10"])
    assert wrong - right == 112
    assert whole(number(table["roi_mobilenetv2"]["identity"])) - whole(number(table["roi_vit"]["identity"])) == 239


def upper_bound(values: dict[str, float | None], suffix: str) -> float:
    """Return the largest macro-F1 of the two foods that Table 8's counts allow.

    All that is known of the predictions is what the four counts say, so no other pair is taken for either food.
    """
    ketchup, chili = 38, 34
    kk, kc, cc, ck = (number(values[f"{key}{suffix}"]) for key in ("kk", "kc", "cc", "ck"))
    return float((2 * kk / (ketchup + kk + ck) + 2 * cc / (chili + cc + kc)) / 2)


def test_two_values_of_table_9_are_larger_than_table_8_allows(published: Published) -> None:
    counts, scores = by_run(published.tables["8"]), by_run(published.tables["9"])
    bounds = {(run, suffix): upper_bound(counts[run], suffix) for run in counts for suffix in ("", "_excluded")}
    best, single = "deit-distilled_deit-distilled", "roi_mobilenetv2"
    assert round(bounds[best, ""], 4) == 0.8128
    assert round(bounds[single, "_excluded"], 4) == 0.6382
    too_large = {
        place for place, bound in bounds.items() if number(scores[place[0]][f"ambiguous_f1{place[1]}"]) > bound
    }
    assert too_large == {(best, ""), (single, "_excluded")}


def test_exactly_those_values_are_shown_and_not_compared(published: Published) -> None:
    silent = {
        (table.name, row.name, c.key)
        for table in published.tables.values()
        for row in table.rows
        for c in table.columns
        if not table.compared(row, c)
    }
    best = "deit-distilled_deit-distilled"
    assert silent == {
        ("3", best, "ambiguous_f1"),
        ("4", best, "ambiguous_f1"),
        ("9", best, "ambiguous_f1"),
        ("9", "roi_mobilenetv2", "ambiguous_f1_excluded"),
    }
    values = {published.tables[name].row(row).values[key] for name, row, key in silent}
    assert values == {0.8286, 0.6519}


def test_table_8s_differences_are_with_sauce_less_without(published: Published) -> None:
    for row in published.tables["8"].rows:
        for key in ("kk", "kc", "cc", "ck"):
            assert number(row.values[key]) - number(row.values[f"{key}_excluded"]) == row.values[f"{key}_change"]
        for total, keys in ((38, ("kk", "kc")), (34, ("cc", "ck"))):
            assert sum(number(row.values[key]) for key in keys) <= total


def test_surviving_underlines_are_the_worst_of_their_columns(published: Published) -> None:
    seen = 0
    for table in published.tables.values():
        for row in table.rows:
            for key in row.underlined:
                worst = min(number(other.values[key]) for other in table.rows)
                assert row.values[key] == worst, (table.name, row.name, key)
                seen += 1
    assert seen == 15


def test_the_inconsistencies_are_said_where_they_are(published: Published) -> None:
    def texts(name: str) -> str:
        return " ".join(remark.text for remark in published.tables[name].remarks)

    assert '"DeiT-B/16"' in texts("4")
    assert "ROI module" in texts("7")
    for name in ("5", "6", "7"):
        assert "unreadable" in texts(name)
    for name in ("7", "10", "11", "12"):
        assert "55.902" in texts(name)
    assert "0.8128" in texts("9")
    assert "0.6382" in texts("9")
    assert "-0.758" in texts("12").replace("−", "-")
    assert '"DeiT-B/16' in published.figures["figure6"].remarks[1].text
    assert any("Figures 9 and 10" in text for text in published.remarks)


@pytest.mark.parametrize("spelling", ["chilli-paste", "chili-paste", "chili paste", "Chili_Paste"])
def test_spellings_of_one_food(published: Published, spelling: str) -> None:
    assert published.find_class("chili paste", ("rice", spelling, "ketchup")) == spelling


def test_a_food_that_is_not_there(published: Published) -> None:
    assert published.find_class("ketchup", ("rice", "sauce")) is None
    assert published.find_class("sauce", ("rice", "sauce")) == "sauce"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("run: roi_vit, values: [0.3613, 0.5085]", "run: roi_vit, values: [0.3613]", "has 1 values for 2 columns"),
        ("- [mobilenetv2_mobilenetv2, roi_mobilenetv2]", "- [mobilenetv2, roi_mobilenetv2]", "did you mean"),
        ("measure: macro_f1, tested", "measure: micro_f1, tested", "'micro_f1' is no measure"),
        ("column: ambiguous_f1\n", "column: ambigous_f1\n", "did you mean 'ambiguous_f1'"),
        (
            "heading: unchanged, measure: top1, tested",
            "heading: unchanged, measure: top1, testd",
            "did you mean 'tested'",
        ),
        ("source:", "sources:", "is not a file of published values"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert before in text
    (tmp_path / "tables.yaml").write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_published(tmp_path / "tables.yaml")

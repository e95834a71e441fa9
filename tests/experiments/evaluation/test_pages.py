"""Tables, sentences and pictures of a small results document whose every number is written here."""

import copy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.evaluation import notes, tables
from experiments.evaluation.page import console_text, table_sections, title, write_pages
from experiments.evaluation.plots import save_changes, save_severity
from experiments.report import text_table
from utils.metrics import SCORE_NAMES


def cells(value: float | None, half: float = 0.1) -> dict[str, Any]:
    """Return every score as ``value``, with an interval of ± ``half``; no ambiguous class is declared."""
    result: dict[str, Any] = {}
    for name in SCORE_NAMES:
        known = value is not None and not name.startswith("ambiguous")
        result[name] = value if known else None
        result[f"{name}_ci"] = [value - half, value + half] if known and value is not None else None
    return result


def condition(
    score: float, change: float | None = None, p: float | None = None, more: dict[str, Any] | None = None
) -> dict[str, Any]:
    entry: dict[str, Any] = {"inputs": {}, "perturbations": [], "family": "identity", "parameter": None, "value": None}
    entry |= {"pixels": {}, "content_kept": {}, "seeds": [0], "scores": cells(score)} | (more or {})
    if change is not None:
        entry["change"] = cells(change, 0.02) | {f"{n}_{kind}": p for n in SCORE_NAMES for kind in ("p", "p_holm")}
    return entry


def run(series: str, seed: int, top: float, views: list[str]) -> dict[str, Any]:
    shuffled: dict[str, Any] = {
        "perturbations": ["permute_patches"],
        "parameter": "patch",
        "content_kept": {"roi": 1.0},
    }
    conditions = {"identity": condition(top)}
    reasons = {}
    if "roi" in views:
        for value, pixels, drop, p in ((8.0, 2, -0.3, 0.004), (16.0, 5, -0.01, 0.9)):
            more: dict[str, Any] = shuffled | {
                "inputs": {"roi": f"permute_patches(patch={value:g})"},
                "family": "permute-roi",
            }
            more |= {"value": value, "pixels": {"patch": pixels}, "seeds": [0, 1]}
            conditions[f"permute-roi-patch={value:g}"] = condition(top + drop, drop, p, more)
    else:
        reasons = dict.fromkeys(["permute-roi-patch=8", "permute-roi-patch=16"], "the run has no view roi")
    if "extra_roi" in views:
        moved: dict[str, Any] = {
            "inputs": {"extra_roi": "translate(dx=-30)"},
            "perturbations": ["translate"],
            "family": "move",
        }
        moved |= {"pixels": {"dx": -9}, "content_kept": {"extra_roi": 0.684}}
        conditions["move"] = condition(top - 0.05, -0.05, 0.03, moved)
    else:
        reasons["move"] = "the run has no view extra_roi"
    return {
        "series": series,
        "seed": seed,
        "views": views,
        "passes": {"distinct": 7, "naive": 14},
        "conditions": conditions,
        "not_applicable": reasons,
        "notes": ["something odd"],
        "analysis": {"ece": 0.04, "ece_ci": [0.03, 0.05], "temperature": None},
    }


@pytest.fixture
def document() -> dict[str, Any]:
    """One run of both views, and two seeds of a model of extra_roi."""
    runs = {
        "both": run("both", 0, 0.8, ["roi", "extra_roi"]),
        "extra/seed0": run("extra", 0, 0.5, ["extra_roi"]),
        "extra/seed1": run("extra", 1, 0.6, ["extra_roi"]),
    }
    mean = {
        name: {"scores": cells(0.55 - drop, 0.635), "change": cells(-drop)}
        for name, drop in (("identity", 0.0), ("move", 0.05))
    }
    del mean["identity"]["change"]
    compared = {"difference": 0.3, "interval": [0.2, 0.4], "p_value": 0.01, "p_holm": 0.02}
    level = {"difference": -0.01, "interval": [-0.05, 0.03], "p_value": 0.5, "p_holm": 0.6, "detectable": 0.071}
    comparison = {
        "a": "extra/seed0",
        "b": "both",
        "condition": "identity",
        "scores": dict.fromkeys(SCORE_NAMES, level) | {"top1": compared},
        "mcnemar": {"only_a": 5, "only_b": 1234, "p_value": 0.0, "grouped_p_value": 0.0001, "grouped_p_holm": 0.0002},
    }
    return {
        "suite": "small",
        "conditions": ["identity", "permute-roi-patch=8", "permute-roi-patch=16", "move"],
        "split": "test",
        "exclude": ["sauce"],
        "n_pairs": 2197,
        "n_groups": 25,
        "classes": ["a", "b", "c"],
        "ambiguous": [],
        "resamples": 2000,
        "runs": runs,
        "series": {"both": runs["both"]["conditions"], "extra": mean},
        "comparisons": [comparison],
        "series_comparisons": [],
        "baselines": [{"model": "majority class"} | cells(0.1), {"model": "colour histogram", "note": "not fitted"}],
        "notes": ["no manifest"],
    }


def test_the_models_table_holds_means_runs_and_baselines(document: dict[str, Any]) -> None:
    rows, columns = tables.models_table(document)
    assert [row["model"] for row in rows] == [
        *("both", "extra, mean of 2 runs", "  extra/seed0", "  extra/seed1", "majority class")
    ]
    assert list(columns) == ["model", "views", "top1", "macro_f1"], "ambiguous-F1 is undefined here"


def test_a_runs_table_shows_changes_with_signs_pixels_and_content(document: dict[str, Any]) -> None:
    table = tables.condition_table(document, document["runs"]["both"]["conditions"], tested=True)
    lines = text_table(*table).splitlines()
    assert lines[2].split() == ["identity", "0.800", "[0.700,", "0.900]", "0.800", "[0.700,", "0.900]"]
    shuffled = ["-0.300", "[-0.320,", "-0.280]", "0.004"]
    assert lines[3].split()[7:] == [*shuffled, *shuffled, "patch", "2", "100", "%"]
    assert lines[5].split()[-4:] == ["dx", "-9", "68", "%"]
    names = list(tables.condition_table(document, document["series"]["extra"], tested=False)[1].values())
    assert names == ["condition", "top-1", "macro-F1", "change of top-1", "change of macro-F1"]


def test_conditions_are_described_and_say_to_whom_they_do_not_apply(document: dict[str, Any]) -> None:
    rows, columns = tables.conditions_table(document)
    assert rows[1] == {
        "condition": "permute-roi-patch=8",
        "roi": "permute_patches(patch=8)",
        "extra_roi": "unchanged",
        "seeds": "0, 1",
        "not applicable": "extra: the run has no view roi",
    }
    assert list(columns)[-1] == "not applicable"


def test_sentences_say_what_is_inside_the_noise(document: dict[str, Any]) -> None:
    lines = notes.run_notes(document, "both")
    assert lines[0] == "7 module passes per pair instead of 14."
    assert (
        "The change in macro-F1 is inside the noise (p after Holm above 0.05) under 1 of 3 conditions: "
        "permute-roi-patch=16 -0.010 [-0.030, +0.010]."
    ) in lines
    assert lines[-1] == "Something odd."
    assert notes.run_notes(document, "extra/seed0")[1] == (
        "Not applicable, since the run has no view roi: permute-roi-patch=8, permute-roi-patch=16."
    )
    (sentence,) = notes.comparison_notes(document)
    assert sentence == (
        "extra/seed0 against both: top-1 +0.300 [+0.200, +0.400], extra/seed0 is better (p 0.020 after Holm); macro-F1 "
        "-0.010 [-0.050, +0.030] is inside the noise (p 0.600 after Holm; these pairs are likely to show a difference "
        "of 0.071)."
    )


def test_a_series_says_in_how_many_runs_a_change_is_sure(document: dict[str, Any]) -> None:
    document["runs"]["extra/seed0"]["conditions"]["move"]["change"]["top1_p_holm"] = 0.06
    top1, macro_f1 = notes.series_notes(document, "extra")
    assert top1 == (
        "The change in top-1 is outside the noise of the test pairs (p after Holm at most 0.05) in 1 of 2 runs: move."
    )
    assert macro_f1.endswith("in 2 of 2 runs: move.")
    level = {"change": cells(0.0) | dict.fromkeys(("top1_p_holm", "macro_f1_p_holm"), 0.5)}
    many = {f"shift{number}": level for number in range(9)}
    document["series"]["extra"] |= many
    for name in ("extra/seed0", "extra/seed1"):
        document["runs"][name]["conditions"] |= many
    assert notes.series_notes(document, "extra")[1].endswith("in 2 of 2 runs: move; in none of 2 runs: the other 9.")


def test_reading_notes_name_resamples_seeds_and_what_is_missing(document: dict[str, Any]) -> None:
    text = " ".join(notes.reading_notes(document))
    for part in (
        "2,197 pairs in 25 groups (split test, 3 classes)",
        "25 groups are few",
        "Holm for the 1 or 3 conditions of a run's table",
        "with 2,000 resamples no adjusted p can fall below 0.001 or 0.003.",
        "mean over the perturbation seeds 0, 1,",
        "Training seeds: extra: 0, 1.",
        "Left out of pairs and outputs: sauce.",
        "no ambiguous class",
        "Baseline colour histogram: not fitted.",
        "No manifest.",
    ):
        assert part in text
    document["resamples"] = 30
    assert "so none can be significant: raise --resamples." in " ".join(notes.reading_notes(document))


def test_ambiguous_f1_has_its_columns_where_a_class_is_ambiguous(document: dict[str, Any]) -> None:
    document["ambiguous"] = ["a"]
    _, columns = tables.condition_table(document, document["runs"]["both"]["conditions"], tested=True)
    assert columns["ambiguous_f1_change"] == "change of ambiguous-F1"


def test_pages_hold_every_table_and_picture(document: dict[str, Any], tmp_path: Path) -> None:
    analysis = tmp_path / "both" / "analysis"
    analysis.mkdir(parents=True)
    Image.new("RGB", (4, 3)).save(analysis / "calibration.png")
    write_pages(document, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"both", "table.md", "report.html", "severity.png", "conditions.png"}
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert text.startswith("# Suite small: both, extra\n\n## Unchanged pairs\n")
    for part in ("## What is done to the views", "## extra: mean of 2 runs", "## both", "![", "calibration error"):
        assert part in text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 3
    assert [section.heading for section in table_sections(document) if section.folded][-1] == "extra/seed1"


def test_the_console_shows_series_and_single_runs(document: dict[str, Any]) -> None:
    text = console_text(document)
    assert "extra: mean of 2 runs\ncondition" in text
    assert "\nboth\ncondition" in text
    assert "extra/seed0\ncondition" not in text
    assert "7 module passes per pair instead of 14." in text


def test_titles_name_the_models(document: dict[str, Any]) -> None:
    assert title(document) == "Suite small: both, extra"
    del document["runs"]["both"], document["runs"]["extra/seed0"]
    assert title(document) == "Suite small: extra/seed1"
    document["conditions"] = ["identity"]
    assert title(document) == "Unchanged pairs: extra/seed1"


def test_models_stand_side_by_side(document: dict[str, Any]) -> None:
    lines = text_table(*tables.side_by_side_table(document, "macro_f1")).splitlines()
    assert lines[0].endswith("  extra, mean of 2")
    assert lines[3].split() == ["permute-roi-patch=8", "0.500", "[0.400,", "0.600]", "n/a"]
    assert lines[5].split()[:2] == ["move", "0.750"]


def test_no_picture_without_anything_to_draw(document: dict[str, Any], tmp_path: Path) -> None:
    bare = copy.deepcopy(document)
    for one in bare["runs"].values():
        one["conditions"] = {"identity": one["conditions"]["identity"]}
    bare["series"]["extra"] = {"identity": bare["series"]["extra"]["identity"]}
    bare["conditions"] = ["identity"]
    assert not save_severity(bare, "macro_f1", tmp_path / "a.png")
    assert not save_changes(bare, tmp_path / "b.png")
    assert list(tmp_path.iterdir()) == []
    headings = [section.heading for section in table_sections(bare)]
    assert headings == ["Unchanged pairs", "Runs compared on the same pairs"]

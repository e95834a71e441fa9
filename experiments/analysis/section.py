"""The analysis in sentences and tables: ``analysis.md``."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.analysis.selective import RISKS, coverage_key
from experiments.report import format_score, markdown_table

_LISTED = 10  # lines of a table

Summary = Mapping[str, Any]


def section(summary: Summary, classes: Sequence[Mapping[str, Any]], any_wrong: bool) -> str:
    """Return the Markdown text.

    Args:
        summary: of ``write_analysis``.
        classes: rows of ``classes.class_rows``.
        any_wrong: whether a gallery of wrong predictions was drawn.
    """
    groups = f"{summary['n_pairs']:,} pairs in {summary['n_groups']:,} groups"
    parts = [
        "# Which class, how sure, how wrong",
        f"{groups}, unchanged. Brackets hold 95 % intervals from a bootstrap over groups.",
        *_classes(classes),
        *_confusions(summary["top_confusions"]),
        *_calibration(summary),
        *_selective(summary),
        *_supercategories(summary),
        "## Pictures",
        "`hardest.png`: the pairs whose true class got the lowest probability. "
        + ("`confidently_wrong.png`: the surest wrong predictions. " if any_wrong else "No prediction is wrong. ")
        + "Both show one pair of a group before a second one of any.",
    ]
    return "\n\n".join(parts) + "\n"


def _classes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    judged = sorted((row for row in rows if row["f1"] is not None), key=lambda row: (row["f1"], -row["support"]))
    absent = len(rows) - len(judged)
    few = sum(0 < row["support"] <= 5 for row in rows)
    text = "`per_class.csv` and `per_class.png` hold every class. "
    if absent:
        text += f"{absent} of {len(rows)} classes occur neither in the pairs nor in the predictions. "
    if few:
        text += f"{few} classes have five pairs or fewer, on which an F1 says little. "
    worst = judged[:_LISTED]
    columns = {"class": "class", "support": "pairs", "groups": "groups", "precision": "precision"}
    table = markdown_table(worst, columns | {"recall": "recall", "f1": "F1"})
    return ["## Classes", text + f"The {len(worst)} with the lowest F1:", table]


def _confusions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["## Confusions", "There is none: every prediction is right."]
    columns = {"truth": "truth", "prediction": "taken for", "pairs": "pairs", "share_of_truth": "share of the class"}
    columns["groups"] = "groups"
    if "same_supercategory" in rows[0]:
        columns["same_supercategory"] = "same super-category"
    text = (
        "The commonest; `confusion_pairs.csv` holds all and `confusion.png` the matrix. Pairs of one group are not "
        "independent: a confusion of many pairs in one group is one finding."
    )
    return ["## Confusions", text, markdown_table(rows[:_LISTED], columns)]


def _calibration(summary: Summary) -> list[str]:
    error, chance = summary["ece"], summary["ece_by_chance"]
    text = (
        f"The network is right in {100 * (1 - summary['aurc_random']):.1f} % of the pairs and on average "
        f"{100 * summary['mean_confidence']:.1f} % sure. Its expected calibration error is "
        f"{format_score(error, summary['ece_ci'])} in 15 bins of equal width; exact probabilities would show "
        f"{chance:.3f} by chance, if pairs were independent. "
    )
    if summary["temperature"] is None:
        text += f"Temperature: {summary['calibration_note']}."
    else:
        text += (
            f"A temperature of {summary['temperature']:.3f} ({summary['calibration_note']}) makes it "
            f"{format_score(summary['ece_calibrated'], summary['ece_calibrated_ci'])}."
        )
    rows = [
        {"measure": "ECE, equal width", "value": error, "value_ci": summary["ece_ci"]},
        {"measure": "ECE, equal mass", "value": summary["ece_equal_mass"], "value_ci": summary["ece_equal_mass_ci"]},
        {"measure": "classwise ECE", "value": summary["classwise_ece"]},
        {"measure": "negative log-likelihood (nats)", "value": summary["nll"]},
    ]
    if summary["temperature"] is not None:
        calibrated, interval = summary["ece_calibrated"], summary["ece_calibrated_ci"]
        rows += [
            {"measure": "ECE, equal width, after scaling", "value": calibrated, "value_ci": interval},
            {"measure": "negative log-likelihood after scaling (nats)", "value": summary["nll_calibrated"]},
        ]
    return ["## Calibration", text, markdown_table(rows, {"measure": "measure", "value": "value"}), "`calibration.png`"]


def _selective(summary: Summary) -> list[str]:
    parts = []
    for risk in RISKS:
        key = coverage_key(risk)
        share, interval = summary[key], summary[f"{key}_ci"]
        bounds = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
        parts.append(f"{100 * share:.1f} %{bounds} of the pairs at {100 * risk:g} % wrong")
    area = format_score(summary["aurc"], summary["aurc_ci"])
    text = (
        f"If the least sure predictions are left to a person, the network can answer {' and '.join(parts)}. "
        f"The area under the curve of risk against coverage (AURC) is {area}; in random"
        f" order it would be {summary['aurc_random']:.3f}, in the ideal order {summary['aurc_ideal']:.3f}. "
        f"The threshold was chosen on these very pairs: expect a little worse on others."
    )
    return ["## Risk against coverage", text, "`risk_coverage.png`"]


def _supercategories(summary: Summary) -> list[str]:
    rows, note = summary["supercategories"], summary["supercategory_note"]
    if rows is None:
        return ["## Super-categories", f"{note[0].upper()}{note[1:]}."]
    top1 = format_score(summary["supercategory_top1"], summary["supercategory_top1_ci"])
    together = format_score(summary["supercategory_top1_summed"], summary["supercategory_top1_summed_ci"])
    text = f"The likeliest class lies in the right one of {len(rows)} super-categories with top-1 {top1}"
    text += f"; the super-category with the highest sum of probabilities is right with {together}."
    if summary["wrong_within_supercategory"] is not None:
        within = 100 * summary["wrong_within_supercategory"]
        text += f" Of the wrong predictions, {within:.1f} % stay inside the super-category."
    columns = {"supercategory": "super-category", "classes": "classes", "support": "pairs"}
    columns |= {"class_top1": "class right", "top1": "super-category right", "top1_summed": "by sum", "f1": "F1"}
    return ["## Super-categories", text, markdown_table(rows, columns)]

"""The analysis of one run on unchanged pairs: files for people, and a summary for other programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.index import PairIndex
from experiments.analysis import calibration
from experiments.analysis.classes import class_rows, confusion_rows
from experiments.analysis.gallery import confidently_wrong, hardest, save_gallery
from experiments.analysis.plots import save_calibration, save_classes, save_risk_coverage
from experiments.analysis.section import section
from experiments.analysis.selective import RISKS, coverage_key, ideal_risk, risk_coverage, selective_intervals
from experiments.analysis.supercategories import supercategories, supercategory_scores, supercategory_table
from experiments.confusion import save_confusion
from utils.files import write_text
from utils.metrics import Array, check_predictions, predicted_classes

NO_VALIDATION = "not fitted: the run has no validation split; set data.validation_fraction"
SHOWN = 20  # confusions in the summary; the file holds them all
# fmt: off
FILES = (
    "analysis.md", "per_class.csv", "per_class.png", "confusion_pairs.csv", "confusion.png", "calibration.csv",
    "calibration.png", "risk_coverage.csv", "risk_coverage.png", "hardest.png", "confidently_wrong.png",
    "supercategories.csv",
)
# fmt: on

Summary = dict[str, Any]


def write_analysis(
    folder: Path,
    index: PairIndex,
    logits: NDArray[Any],
    *,
    validation: tuple[NDArray[Any], NDArray[Any]] | None,
    resamples: int,
) -> Summary:
    """Analyse a run's predictions and write tables, figures and ``analysis.md``.

    Every interval is a 95 % bootstrap interval over groups and None with fewer than two groups. Confidence is the
    highest probability of the network as it is, temperature 1, where nothing else is said.

    Args:
        folder: made where it is missing. Files of an earlier analysis are replaced, or removed where they no longer
            apply.
        index: the N pairs that were scored.
        logits: N×C, columns in the order of ``index.classes``.
        validation: labels M and logits M×C of pairs that were held out of training, to fit the temperature on.
        resamples: of the bootstraps.

    Returns:
        What JSON can hold. Beside each ``<name>`` its ``<name>_ci``: ``ece`` (15 bins of equal width),
        ``ece_equal_mass`` and, after temperature scaling, ``ece_calibrated``; ``aurc``;
        ``coverage_at_<r>_percent_risk``; the keys of ``supercategory_scores`` (None where classes have none, with
        ``supercategory_note``). Further ``ece_by_chance``, ``classwise_ece``, ``mean_confidence``, ``nll``,
        ``temperature`` and ``nll_calibrated`` (None without validation; ``calibration_note`` says why),
        ``aurc_random``, ``aurc_ideal``, ``top_confusions``, ``supercategories`` and ``files``, the names of what was
        written.

    Raises:
        DataError: a picture of the galleries cannot be read.
        RunError: a logit is NaN or +infinity.
        ValueError: shapes do not fit, or there is no pair.
    """
    check_predictions(index.label, logits)
    if len(index) == 0:
        raise ValueError("there is no pair to analyse")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    probability = calibration.probabilities(logits)
    summary: Summary = {"n_pairs": len(index), "n_groups": int(np.unique(index.group).size)}
    summary |= _calibration(folder, index, logits, probability, validation, resamples)
    summary |= _selective(folder, index, probability, resamples)
    summary |= _supercategories(folder, index, probability, resamples)
    rows = _classes(folder, index, logits, summary, resamples)
    _galleries(folder, index, probability)
    write_text(folder / "analysis.md", section(summary, rows, (folder / "confidently_wrong.png").is_file()))
    return summary | {"files": [name for name in FILES if (folder / name).is_file()]}


def _calibration(
    folder: Path,
    index: PairIndex,
    logits: Array,
    probability: Array,
    validation: tuple[Array, Array] | None,
    resamples: int,
) -> Summary:
    truth, groups = index.label, index.group
    hit, confidence = predicted_classes(logits) == truth, probability.max(axis=1)
    edges, mass = calibration.equal_width_edges(), calibration.equal_mass_edges(confidence)
    before = calibration.reliability(confidence, hit, edges)
    parts = [(f"As trained: ECE {100 * before.ece:.1f} %", before)]
    result: Summary = {
        "mean_confidence": float(confidence.mean()),
        "ece": before.ece,
        "ece_ci": calibration.ece_interval(confidence, hit, groups, edges, resamples=resamples),
        "ece_by_chance": calibration.ece_by_chance(confidence, edges),
        "ece_equal_mass": calibration.reliability(confidence, hit, mass).ece,
        "ece_equal_mass_ci": calibration.ece_interval(confidence, hit, groups, mass, resamples=resamples),
        "classwise_ece": calibration.classwise_ece(truth, probability),
        "nll": _finite(calibration.negative_log_likelihood(truth, logits)),
        **dict.fromkeys(("temperature", "ece_calibrated", "ece_calibrated_ci", "nll_calibrated")),
    }
    fitted = NO_VALIDATION if validation is None else calibration.fit_temperature(*validation)
    if validation is None or isinstance(fitted, str):
        result["calibration_note"] = fitted
    else:
        cooled = calibration.probabilities(logits, fitted).max(axis=1)
        after = calibration.reliability(cooled, hit, edges)
        parts.append((f"Temperature {fitted:.2f}: ECE {100 * after.ece:.1f} %", after))
        result |= {
            "temperature": fitted,
            "ece_calibrated": after.ece,
            "ece_calibrated_ci": calibration.ece_interval(cooled, hit, groups, edges, resamples=resamples),
            "nll_calibrated": _finite(calibration.negative_log_likelihood(truth, logits, fitted)),
            "calibration_note": f"fitted on {len(validation[0]):,} validation pairs",
        }
    table = [
        {
            "probabilities": "temperature scaled" if number else "as trained",
            "confidence_above": bins.edges[b],
            "confidence_up_to": bins.edges[b + 1],
            "pairs": int(bins.count[b]),
            "mean_confidence": None if not bins.count[b] else bins.confidence[b],
            "accuracy": None if not bins.count[b] else bins.accuracy[b],
        }
        for number, (_, bins) in enumerate(parts)
        for b in range(bins.count.size)
    ]
    write_text(folder / "calibration.csv", _csv(table))
    save_calibration(parts, folder / "calibration.png")
    return result


def _selective(folder: Path, index: PairIndex, probability: Array, resamples: int) -> Summary:
    hit, confidence = predicted_classes(probability) == index.label, probability.max(axis=1)
    curve, ideal = risk_coverage(confidence, hit), ideal_risk(hit)
    result: Summary = {"aurc": curve.aurc, "aurc_random": float(curve.risk[-1]), "aurc_ideal": float(ideal.mean())}
    result |= {coverage_key(risk): curve.coverage_at(risk) for risk in RISKS}
    intervals = selective_intervals(confidence, hit, index.group, resamples=resamples)
    result |= {f"{key}_ci": interval for key, interval in intervals.items()}
    # At most 1,000 points: the curve of a million pairs stays readable.
    shown = np.unique(np.linspace(0, len(index) - 1, min(len(index), 1000)).round().astype(int))
    table = [
        {"coverage": curve.coverage[k], "confidence": curve.threshold[k], "risk": curve.risk[k], "ideal_risk": ideal[k]}
        for k in shown
    ]
    write_text(folder / "risk_coverage.csv", _csv(table))
    save_risk_coverage(curve, ideal, folder / "risk_coverage.png")
    return result


def _supercategories(folder: Path, index: PairIndex, probability: Array, resamples: int) -> Summary:
    groups = supercategories(index.classes)
    if isinstance(groups, str):
        names = ("supercategory_top1", "supercategory_top1_summed", "supercategory_macro_f1")
        empty: Summary = dict.fromkeys(key for name in names for key in (name, f"{name}_ci"))
        return empty | {"wrong_within_supercategory": None, "supercategories": None, "supercategory_note": groups}
    table = supercategory_table(index.label, probability, groups)
    write_text(folder / "supercategories.csv", _csv(table))
    result = supercategory_scores(index.label, probability, index.group, groups, resamples=resamples)
    return result | {"supercategories": table, "supercategory_note": f"{len(groups.names)} super-categories"}


def _classes(
    folder: Path, index: PairIndex, logits: Array, summary: Summary, resamples: int
) -> Sequence[Mapping[str, Any]]:
    """Write tables and figures of the classes, add the commonest confusions to the summary, return the class rows."""
    names = index.classes.names
    rows = class_rows(index.label, logits, index.group, names, resamples=resamples)
    cells = [{key: value for key, value in row.items() if key != "f1_ci"} for row in rows]
    for line, row in zip(cells, rows, strict=True):
        line["f1_low"], line["f1_high"] = row["f1_ci"] or (None, None)
    write_text(folder / "per_class.csv", _csv(cells))
    save_classes(rows, folder / "per_class.png")
    confusions = confusion_rows(index.label, logits, index.group, names, index.classes.supercategories)
    write_text(
        folder / "confusion_pairs.csv",
        _csv(confusions, ("truth", "prediction", "pairs", "share_of_truth", "groups")),
    )
    save_confusion(index.label, predicted_classes(logits), names, folder / "confusion.png")
    summary["top_confusions"] = confusions[:SHOWN]
    return rows


def _galleries(folder: Path, index: PairIndex, probability: Array) -> None:
    rows = hardest(index.label, probability, index.group)
    title = f"Hardest pairs: lowest probability of the true class ({len(rows)} of {len(index):,})"
    save_gallery(index, rows, probability, title, folder / "hardest.png")
    rows = confidently_wrong(index.label, probability, index.group)
    if len(rows):
        wrong = int((predicted_classes(probability) != index.label).sum())
        title = f"Most confidently wrong: highest probability of a wrong class ({len(rows)} of {wrong:,} wrong)"
        save_gallery(index, rows, probability, title, folder / "confidently_wrong.png")


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Return rows as CSV: fractions with 6 decimals, None empty; ``columns`` is the header where there is no row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0] if rows else columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6f}" if isinstance(value, float) else value for key, value in row.items()})
    return text.getvalue()


def _finite(value: float) -> float | None:
    """Return None for infinity, which JSON does not know."""
    return value if np.isfinite(value) else None

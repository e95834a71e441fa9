"""What is written down of answers: JSON, CSV and lines for a terminal. ``docs/predict.md`` explains the keys."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.prediction.answers import Answer, best
from experiments.prediction.predictor import ViewMap
from experiments.prediction.regions import OpenedPhoto, Region
from experiments.report import text_table

NARROW_SPACE = "\u202f"  # it keeps number and sign on one line
_DIGITS = 6
_MOST_LINES = 60


def percent(probability: float) -> str:
    """Return a probability in whole per cent; what is not 0 or 1 never reads as if it were."""
    value = 100 * probability
    if 0 < value < 0.5:
        return f"<1{NARROW_SPACE}%"
    return f">99{NARROW_SPACE}%" if 99.5 <= value < 100 else f"{value:.0f}{NARROW_SPACE}%"


def region_entry(
    photo: OpenedPhoto, number: int, region: Region, answer: Answer, classes: Sequence[str], top_k: int
) -> dict[str, Any]:
    """Return the entry of one region in ``predictions.json``.

    Args:
        photo: the region's photo.
        number: of the region in its photo, from 1.
        region: the region.
        answer: of the model.
        classes: names in the order of the outputs.
        top_k: classes that are named.
    """
    entry: dict[str, Any] = {
        "photo": photo.name,
        "region": number,
        "source": region.source,
        "score": None if region.score is None else _rounded(region.score),
        "marks": list(region.marks),
        "box": list(region.box),
        "area_fraction": _rounded(region.area_fraction),
        "top": [
            {"class": classes[k], "probability": _rounded(answer.probabilities[k]), "logit": _rounded(answer.logits[k])}
            for k in answer.top(top_k)
        ],
    }
    if answer.without_context is not None:
        entry["without_context"] = _without(answer, answer.without_context, classes, top_k)
    if answer.maps is not None:
        entry["evidence_share"] = {view: _share(found) for view, found in answer.maps.items()}
    return entry


def _without(answer: Answer, probabilities: NDArray[np.float64], classes: Sequence[str], top_k: int) -> dict[str, Any]:
    places, own = best(probabilities, top_k), int(answer.top(1)[0])
    return {
        "top": [{"class": classes[k], "probability": _rounded(probabilities[k])} for k in places],
        "probability_of_answer": _rounded(probabilities[own]),
        "changed": int(places[0]) != own,
    }


def _share(found: ViewMap) -> float | None:
    return None if math.isnan(found.share) else _rounded(found.share)


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)


def csv_text(entries: Sequence[Mapping[str, Any]], top_k: int, views: Sequence[str]) -> str:
    """Return ``predictions.csv``: one row per region; what was not asked for has no column."""
    numbers = range(1, top_k + 1)
    header = ["photo", "region", "source", "score", "marks", "left", "top", "right", "bottom", "area_fraction"]
    header += [name for number in numbers for name in (f"class_{number}", f"probability_{number}")]
    what_if, maps = "without_context" in entries[0], "evidence_share" in entries[0]
    if what_if:
        header += ["without_context_class", "without_context_probability", "without_context_probability_of_answer"]
    if maps:
        header += [f"evidence_share_{view}" for view in views]
    known = any("class" in entry["source"] for entry in entries)
    if known:
        header.append("true_class")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for entry in entries:
        row = [entry["photo"], entry["region"], entry["source"]["kind"], entry["score"], "; ".join(entry["marks"])]
        row += [
            *entry["box"],
            entry["area_fraction"],
            *(cell for one in entry["top"] for cell in (one["class"], one["probability"])),
        ]
        if what_if:
            without = entry["without_context"]
            row += [*without["top"][0].values(), without["probability_of_answer"]]
        if maps:
            row += [entry["evidence_share"][view] for view in views]
        if known:
            row.append(entry["source"].get("class"))
        writer.writerow(["" if cell is None else cell for cell in row])
    return buffer.getvalue()


def console_table(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the answers as a table for a terminal, the first of many."""
    rows = []
    names = {entry["photo"]: PurePath(entry["photo"]).name for entry in entries}
    short = len(set(names.values())) == len(names)  # a folder's name is said where two photos share their own
    for entry in entries[:_MOST_LINES]:
        first = entry["top"][0]
        row = {
            "photo": names[entry["photo"]] if short else entry["photo"],
            "region": entry["region"],
            "answer": first["class"],
            "probability": percent(first["probability"]),
        }
        if "class" in entry["source"]:
            row["true class"] = entry["source"]["class"]
        if "without_context" in entry:
            without = entry["without_context"]["top"][0]
            row |= {"without context": without["class"], "probability ": percent(without["probability"])}
        if "evidence_share" in entry:
            row |= {
                f"evidence {view}".replace("_", " "): None if share is None else percent(share)
                for view, share in entry["evidence_share"].items()
            }
        if any(one["score"] is not None for one in entries):
            row["mask score"] = entry["score"]
        if any(one["marks"] for one in entries):
            row["mark"] = ", ".join(entry["marks"])
        rows.append(row)
    table = text_table(rows)
    more = len(entries) - len(rows)
    return f"{table}\n… and {more:,} more regions" if more else table

"""The part of a picture that a model looks at: drawn, counted, and in words."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from experiments.explanation.lettering import Picture, Sheet
from experiments.explanation.measures import Floats, bars, blacked_out, pixels_of
from experiments.explanation.sheets import CHOSEN, TILE, Drawing, Panel
from experiments.explanation.summary import Codes, mean_entry, percent
from experiments.figures import INK
from Off_the_shelfs.own_maps import Parts
from utils.batch import Batch

PART_MEASURES = ("part", "part_probability", "part_area", "roi_in_part", "roi_in_any_part")
PART_DEFINITIONS = {
    "part": "number of the part that was looked at; 0 is the whole picture, the others are counted from the upper left "
    "corner, row by row, the centre last",
    "part_probability": "how likely it was: softmax of the selector's logits",
    "part_area": "area of the part over that of the view",
    "roi_in_part": "part of the annotated roi that lies in it",
    "roi_in_any_part": "the same on average over all parts, as a random choice would have it",
}
_MOST_COPIES, _MOST_LABELS, _LABEL = 9, 26, 13


def part_names(view: str, parts: Parts) -> list[str]:
    """Return the names of the panels that show the parts of a view."""
    return [f"{view} parts"] if parts.small is None else [f"{view} parts", f"{view} copies"]


def part_numbers(parts: Parts, batch: Batch, view: str) -> dict[str, Floats]:
    """Return what is counted of the parts of B pairs: float32 B for each of ``PART_MEASURES``; NaN where undefined.

    Args:
        parts: of the batch.
        batch: the pixels, whose roi is what extra_roi lacks.
        view: the view that the parts belong to.
    """
    pairs = np.arange(len(parts.chosen))
    chosen, boxes = parts.chosen.numpy(), parts.boxes.numpy()
    inside = np.full((len(pairs), len(boxes)), np.nan, np.float32)
    if "extra_roi" in batch.views:
        side = batch.views[view].shape[-1]
        roi = blacked_out(batch.views["extra_roi"], batch.views["photo"]) & ~bars(batch.content_box[view], side)
        size = roi.sum(axis=(1, 2))
        for number, box in enumerate(boxes):
            left, top, right, bottom = pixels_of(box, side)
            within = roi[:, top:bottom, left:right].sum(axis=(1, 2))
            inside[:, number] = np.where(size > 0, within / np.maximum(size, 1), np.nan)
    return {
        "part": chosen.astype(np.float32),
        "part_probability": parts.probability.numpy()[pairs, chosen].astype(np.float32),
        "part_area": (boxes[:, 2] * boxes[:, 3])[chosen].astype(np.float32),
        "roi_in_part": inside[pairs, chosen],
        "roi_in_any_part": inside.mean(axis=1),
    }


def part_outcome(
    name: str, columns: Mapping[str, Floats], parts: Mapping[str, Parts], groups: Codes
) -> tuple[dict[str, Any], list[str]]:
    """Return the means of N pairs by view, and a sentence on each view.

    Args:
        name: of the run.
        columns: float N by name, each of ``PART_MEASURES`` with the name of each view.
        parts: by view, of any pictures.
        groups: int N.
    """
    result, remarks = {}, []
    for view, of_view in parts.items():
        number = columns[f"part_{view}"]
        shares = [float(np.mean(number == k)) for k in range(len(of_view.boxes))]
        entry: dict[str, Any] = {"shares": shares}
        for key in PART_MEASURES[1:]:
            entry |= mean_entry(key, columns[f"{key}_{view}"], groups)
        result[view] = entry
        used = sorted((k for k, share in enumerate(shares) if share), key=lambda k: -shares[k])
        listed = ", ".join(f"{_name(k)} {percent(shares[k])}" for k in used[:7])
        text = f"{name}: looks at {listed}{', …' if len(used) > 7 else ''} of the {view} pictures"
        if entry["roi_in_part"] is not None:
            text += (
                f"; what it looks at holds {percent(entry['roi_in_part'])} of the annotated roi on "
                f"{percent(entry['part_area'])} of the view, a random choice would hold "
                f"{percent(entry['roi_in_any_part'])} on {percent(float((of_view.boxes[:, 2:].prod(dim=1)).mean()))}"
            )
        remarks.append(text)
    return result, remarks


def part_panels(parts: Parts, pixels: Picture, view: str, place: int) -> dict[str, Panel]:
    """Return the panels of one pair: its picture with all parts, and the grey copies where the choice is made of them.

    Args:
        parts: of the batch.
        pixels: uint8 S×S×3.
        view: name of the view.
        place: of the pair in the batch.
    """
    chosen, sure = int(parts.chosen[place]), float(parts.probability[place, int(parts.chosen[place])])
    names = part_names(view, parts)
    panels: dict[str, Panel] = {
        names[0]: Drawing(_frames(parts, pixels, place), [f"looks at {_name(chosen)}: {percent(sure)}"])
    }
    if parts.small is not None:
        side = parts.small.shape[-1]
        panels[names[1]] = Drawing(_copies(parts, place), [f"it chose from copies of {side}×{side} px"])
    return panels


def _name(number: int) -> str:
    return f"part {number}" if number else "part 0 (the whole)"


def _frames(parts: Parts, pixels: Picture, place: int) -> Picture:
    """Draw all parts on the picture, the chosen one in colour, each with how likely it was."""
    sheet = Sheet(TILE, TILE)
    sheet.paste(0, 0, np.asarray(Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.BICUBIC)))
    boxes, chosen = parts.boxes.numpy(), int(parts.chosen[place])
    for number, box in enumerate(boxes):
        if number != chosen:
            sheet.frame(pixels_of(box, TILE), "white", 1)
    sheet.frame(pixels_of(boxes[chosen], TILE), CHOSEN, 4)
    if len(boxes) <= _MOST_LABELS:
        for number, (across, down) in enumerate(_label_places(boxes)):
            text = f"{number}: {percent(float(parts.probability[place, number]))}"
            color = CHOSEN if number == chosen else "white"
            sheet.label(round(across * TILE), round(down * TILE), text, size=11, color=color)
    return np.asarray(sheet.image)


def _label_places(boxes: NDArray[Any]) -> list[tuple[float, float]]:
    """Return where each part's label stands, as fractions: its middle, moved away from those of others."""
    middles = boxes[:, :2] + boxes[:, 2:] / 2 - 0.5
    widest = float(np.abs(middles).max())
    spread = middles * (0.36 / widest if widest > 0 else 1.0) + 0.5
    spread[0] = (0.5, 0.2)  # the whole picture's, whose middle may be another part's too
    return [(float(across), float(down)) for across, down in spread]


def _copies(parts: Parts, place: int) -> Picture:
    """Draw the grey copies beside each other, the likeliest ones where there are many."""
    assert parts.small is not None
    probability, chosen = parts.probability[place], int(parts.chosen[place])
    shown = sorted(torch.argsort(probability, descending=True, stable=True)[:_MOST_COPIES].tolist())
    across = math.ceil(math.sqrt(len(shown)))
    cell = TILE // across
    side = cell - _LABEL - 4
    sheet = Sheet(TILE, TILE)
    for rank, number in enumerate(shown):
        top, left = (cell * step for step in divmod(rank, across))
        grey = (255 * parts.small[place, number].clamp(0, 1)).round().byte().numpy()
        copy = Image.fromarray(grey).resize((side, side), Image.Resampling.NEAREST).convert("RGB")
        sheet.paste(left + 2, top + 2, np.asarray(copy))
        if number == chosen:
            sheet.frame((left, top, left + side + 4, top + side + 4), CHOSEN, 3)
        text = f"{number}: {percent(float(probability[number]))}"
        sheet.text(left + 2, top + side + 4, text, size=10, color=INK, bold=number == chosen)
    return np.asarray(sheet.image)

"""Clicks as a row of a prompt file, so that what was tried on the page can be kept."""

import csv
import io

from datasets.prompted.table import COLUMNS
from segmenters.prompts import IN, Prompt


def prompt_row(photo: str, prompt: Prompt, scale: tuple[float, float]) -> str:
    """Return a line of ``prompts.csv`` with the columns of ``COLUMNS``; the class is left for a person to fill in.

    Args:
        photo: name of the photo's file.
        prompt: in pixels of the photo as it is shown.
        scale: pixels of the photo's file per pixel shown, across and down.
    """
    cells = dict.fromkeys(COLUMNS, "")
    cells["photo"] = photo
    cells["points"] = "; ".join(_numbers(point, scale) for point in prompt.points)
    if any(label != IN for label in prompt.labels):
        cells["labels"] = "; ".join(map(str, prompt.labels))
    cells["box"] = "" if prompt.box is None else _numbers(prompt.box, scale)
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([cells[name] for name in COLUMNS])
    return line.getvalue()


def _numbers(values: tuple[float, ...], scale: tuple[float, float]) -> str:
    # Two digits never move a number out of the photo, whose sides are whole pixels.
    return " ".join(f"{round(value * scale[place % 2], 2):g}" for place, value in enumerate(values))

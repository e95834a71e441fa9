"""The answer as HTML: what it is, the two cut-outs, what the surroundings do, what the modules looked at."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from experiments.click.answer import Answer
from experiments.click.pictures import cutout_url, map_url
from experiments.prediction.document import percent
from experiments.prediction.predictor import ANOTHER, AS_GIVEN, WITH, WITHOUT, Predictor, ViewMap

TOP = 5
_EACH = 3  # first classes of each context that the comparison shows
_VIEW_NAMES = {"roi": "the food (roi)", "extra_roi": "its surroundings (extra_roi)", "photo": "the whole photo"}

Probabilities = NDArray[np.float64]


def headline(answer: Answer, classes: Sequence[str]) -> str:
    """Return the answer in a few words, for the line below the photo."""
    best = int(np.argmax(answer.main))
    return f"{classes[best]}, {percent(float(answer.main[best]))}"


def waiting_panel() -> str:
    """Return what stands in the answer's place before the first click."""
    return (
        '<section class="rv-card rv-waiting"><h2>No answer yet</h2>'
        "<p>Click on a food in the photo. What it is appears here, and what its surroundings had to do with it.</p>"
        "</section>"
    )


def answer_panel(answer: Answer, predictor: Predictor) -> str:
    """Return the answer with the comparison of contexts and the two cut-outs."""
    parts = [_top(answer, predictor)]
    if len(answer.probabilities) > 1:
        parts.append(_comparison(answer, predictor.classes))
    elif AS_GIVEN in answer.probabilities:
        view = _VIEW_NAMES[predictor.views[0]]
        parts.append(_card("What the surroundings do", f"<p>This model sees one cut-out alone: {view}.</p>"))
    parts.append(_cutouts(answer, predictor.views))
    return "".join(parts)


def maps_panel(maps: Mapping[str, ViewMap], name: str) -> str:
    """Return the maps of the modules for the class ``name``; an empty text where there are none."""
    if not maps:
        return ""
    several = len(maps) > 1  # the evidence of a single view is always all of it
    figures = "".join(
        _figure(
            map_url(view),
            f"{_VIEW_NAMES[key]}: {_evidence(view.share)}" if several else _VIEW_NAMES[key],
            f"map of {_VIEW_NAMES[key]}",
        )
        for key, view in maps.items()
    )
    note = "Bright: where a module found evidence for the answer (Grad-CAM)"
    note += "; the per cent say how much of it." if several else "."
    return _card(
        f"What it looked at for “{name}”", f'<div class="rv-pair">{figures}</div><p class="rv-note">{note}</p>'
    )


def message_card(title: str, message: str) -> str:
    """Return a card with a message for the visitor."""
    return _card(title, f"<p>{escape(message)}</p>")


def _evidence(share: float) -> str:
    return "no evidence" if math.isnan(share) else f"{percent(share)} of the evidence"


def _top(answer: Answer, predictor: Predictor) -> str:
    order = np.argsort(-answer.main)[:TOP]
    best = predictor.classes[int(order[0])]
    rows = "".join(
        f'<li><span class="rv-name">{escape(predictor.classes[place])}</span>{_bar(answer.main[place])}'
        f'<span class="rv-value">{percent(float(answer.main[place]))}</span></li>'
        for place in order.tolist()
    )
    note = f"Calibrated probabilities: temperature {predictor.temperature:.2f}, {predictor.calibration}."
    count, known = len(predictor.classes), escape(", ".join(predictor.classes))
    return (
        f'<section class="rv-card"><p class="rv-small">Of these {count} classes, it is</p>'
        f'<h2 class="rv-pick">{escape(best)}</h2><ol class="rv-bars">{rows}</ol>'
        f'<details class="rv-note"><summary>A food that is none of the {count} classes is given the name of one all '
        f'the same. Which are they?</summary>{known}</details><p class="rv-note">{escape(note)}</p></section>'
    )


def _comparison(answer: Answer, classes: Sequence[str]) -> str:
    found = answer.probabilities
    shown = list(dict.fromkeys(int(i) for values in found.values() for i in np.argsort(-values)[:_EACH]))[: TOP + 1]
    titles = {WITH: "its own", WITHOUT: "none (black)", ANOTHER: f"{answer.lent}’s"}
    head = "".join(
        f'<th scope="col">{escape(titles[key])}<b>{escape(classes[int(np.argmax(values))])}</b></th>'
        for key, values in found.items()
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(classes[place])}</th>'
        + "".join(
            f'<td class="{"rv-first" if place == int(np.argmax(values)) else ""}">{_bar(values[place])}'
            f'<span class="rv-value">{percent(float(values[place]))}</span></td>'
            for values in found.values()
        )
        + "</tr>"
        for place in shown
    )
    head = f'<thead><tr><th scope="col">Around it</th>{head}</tr></thead>'
    table = f'<table class="rv-table">{head}<tbody>{rows}</tbody></table>'
    return _card("What the surroundings do", table)


def _cutouts(answer: Answer, views: Sequence[str]) -> str:
    cuts = (
        ("roi", answer.roi, "the food alone, all else black"),
        ("extra_roi", answer.extra_roi, "the photo with the food black"),
    )
    figures = "".join(
        _figure(cutout_url(picture), _VIEW_NAMES[view], alternative)
        if view in views
        else _figure(cutout_url(picture), f"{_VIEW_NAMES[view]}: not given to this model", alternative, "rv-unseen")
        for view, picture, alternative in cuts
    )
    return _card("The two cut-outs", f'<div class="rv-pair">{figures}</div>')


def _card(title: str, body: str) -> str:
    return f'<section class="rv-card"><h3>{escape(title)}</h3>{body}</section>'


def _bar(probability: float) -> str:
    return f'<span class="rv-bar" aria-hidden="true"><i style="width:{100 * float(probability):.1f}%"></i></span>'


def _figure(url: str, caption: str, alternative: str, style: str = "") -> str:
    image = f'<img src="{url}" alt="{escape(alternative)}">'
    return f'<figure class="{style}">{image}<figcaption>{escape(caption)}</figcaption></figure>'

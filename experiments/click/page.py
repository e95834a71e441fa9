"""The page: its parts, and which of them answers what."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from datasets.cutouts import cut
from experiments.click.answer import Answer, Answerer
from experiments.click.panels import answer_panel, headline, maps_panel, message_card, waiting_panel
from experiments.click.pictures import mask_url, photo_url, thumb_url
from experiments.click.state import Ask, Context, Session
from experiments.click.visitors import UnansweredError
from utils.errors import ReportedError

TITLE = "What is this food?"
_LOG = logging.getLogger(__name__)
_KEPT_SECONDS = 3600  # of a visitor's photos, and of uploaded files
_SEGMENTER_LABELS = {"grabcut": "GrabCut", "sam": "SAM"}
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
_UNEXPECTED = "something went wrong in the program; its terminal says more"
_stamps = itertools.count()  # a reply that reads like the one before it is shown all the same

Value = dict[str, Any]


def build_page(answerer: Answerer) -> gr.Blocks:
    """Build the page; a visitor's state stays in the visitor's session."""
    start = answerer.start()
    segmenters = [{"value": name, "label": _SEGMENTER_LABELS.get(name, name)} for name in answerer.segmenters]
    examples = [{"name": example.name, "picture": thumb_url(example.photo)} for example in answerer.examples]
    page = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, _KEPT_SECONDS))
    with page:
        session = gr.State(start, time_to_live=_KEPT_SECONDS)
        _html(_head())
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=320):
                upload = gr.UploadButton("Open a photo of yours, or drop it below", elem_id="rv-upload", size="sm")
                desk = _html(
                    _opened_value(answerer, start) if start.photo is not None else None,
                    html_template=_part("desk.html"),
                    js_on_load=_part("desk.js") + _part("desk_input.js"),
                    examples=examples,
                    segmenters=segmenters,
                    elem_id="rv-desk",
                )
            with gr.Column(scale=5, min_width=320):
                answer = _html(waiting_panel(), elem_id="rv-answer")
                maps = _html("", elem_id="rv-maps")
        _html(_foot(answerer))
        _wire(answerer, session, upload, desk, answer, maps)
    return page


def launch_options() -> dict[str, Any]:
    """Return what ``gr.Blocks.launch`` needs so that the page asks nobody outside for anything."""
    return {
        "theme": gr.themes.Default(font=_FONTS, font_mono=("monospace",)),
        "css": _part("page.css"),
        "head": "<style>html { scrollbar-gutter: stable; }</style>",  # css reaches the page's inner parts alone
        "share": False,
        "quiet": True,
        "show_error": False,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "max_file_size": "100mb",
        "state_session_capacity": 64,
    }


def _wire(answerer: Answerer, session: Any, upload: Any, desk: Any, answer: Any, maps: Any) -> None:  # noqa: ANN401  # components have no types
    shared: Value = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}

    def on_upload(path: str, now: Session) -> tuple[Any, ...]:
        return _opening(answerer, now, lambda: answerer.open_file(now, Path(path).read_bytes(), Path(path).name))

    def on_example(now: Session, event: gr.EventData) -> tuple[Any, ...]:
        return _opening(answerer, now, lambda: answerer.open_example(now, _data(event).get("number")))

    def on_ask(now: Session, event: gr.EventData) -> tuple[Any, ...]:
        return _asking(answerer, now, _data(event))

    def on_answered(now: Session) -> str:
        return _mapping(answerer, now)

    outputs = [session, desk, answer, maps]
    upload.upload(on_upload, [upload, session], outputs, **shared)
    desk.example(on_example, [session], outputs, **shared)
    # Several visitors at once; the model answers them one at a time.
    asked = desk.ask(on_ask, [session], outputs, concurrency_limit=4, **shared)
    asked.then(on_answered, [session], [maps], concurrency_limit=4, **shared)


def _opening(answerer: Answerer, now: Session, opened: Callable[[], Session]) -> tuple[Any, ...]:
    try:
        session = opened()
        return session, _opened_value(answerer, session), waiting_panel(), ""
    except ReportedError as error:
        return gr.skip(), _alarm(now, str(error)), gr.skip(), gr.skip()
    except Exception:
        _LOG.exception("a photo could not be opened")
        return gr.skip(), _alarm(now, _UNEXPECTED), gr.skip(), gr.skip()


def _asking(answerer: Answerer, now: Session, data: Value) -> tuple[Any, ...]:
    unanswered = replace(now, mask=None, told=None)
    try:
        ask = Ask.from_event(data)
        if not ask.prompt.points and ask.prompt.box is None:
            return unanswered, _reply(now) | {"answered": True}, waiting_panel(), ""
        session, found = answerer.answer(now, ask)
        return session, _answered_value(answerer, session, found), answer_panel(found, answerer.predictor), gr.skip()
    except UnansweredError as error:
        return error.session, _alarm(now, str(error)) | _found_value(error), waiting_panel(), ""
    except ReportedError as error:
        return unanswered, _alarm(now, str(error)) | {"answered": True}, waiting_panel(), ""
    except Exception:
        _LOG.exception("a click could not be answered")
        return unanswered, _alarm(now, _UNEXPECTED) | {"answered": True}, waiting_panel(), ""


def _mapping(answerer: Answerer, now: Session) -> str:
    try:
        maps = answerer.maps(now)
    except ReportedError as error:
        return message_card("What it looked at", str(error))
    return "" if now.told is None else maps_panel(maps, answerer.predictor.classes[now.told])


def _reply(session: Session) -> Value:
    return {"stamp": next(_stamps), "key": session.key or None}


def _alarm(session: Session, text: str) -> Value:
    return _reply(session) | {"alarm": text}


def _opened_value(answerer: Answerer, session: Session) -> Value:
    """Return what the page's script needs to show a photo that was opened."""
    assert session.photo is not None
    height, width = session.photo.shape[:2]
    lenders = [
        {"key": context.key, "name": context.pair.name, "picture": _lent_picture(context)}
        for context in answerer.contexts(session)
    ]
    photo = {"photo": photo_url(session.photo), "name": session.name, "width": width, "height": height}
    return _reply(session) | photo | {"lenders": lenders}


def _lent_picture(context: Context) -> str:
    return thumb_url(cut(context.pair.photo, context.pair.mask)[1])


def _found_value(found: Answer | UnansweredError) -> Value:
    """Return the mask, and which of how many it is."""
    return {
        "answered": True,
        "mask": mask_url(found.mask),
        "candidates": found.candidates,
        "candidate": found.candidate,
    }


def _answered_value(answerer: Answerer, session: Session, answer: Answer) -> Value:
    words = {"text": headline(answer, answerer.predictor.classes), "row": answer.row}
    return _reply(session) | _found_value(answer) | words


def _data(event: gr.EventData) -> Value:
    data = event._data
    return data if isinstance(data, dict) else {}


def _html(value: Any, **options: Any) -> Any:  # noqa: ANN401  # components have no types
    return gr.HTML(value, **{"apply_default_css": False, "js_on_load": None, **options})


def _head() -> str:
    return (
        f'<header class="rv-head"><h1>{TITLE}</h1><p>Click on a food in the photo: you are told what it is, and how '
        "much of the answer came from what surrounds it.</p></header>"
    )


def _foot(answerer: Answerer) -> str:
    predictor = answerer.predictor
    lines = [f"Model: {predictor.name} ({predictor.kind.script}), {len(predictor.classes)} classes", *predictor.notes]
    return "".join(f'<p class="rv-foot">{escape(line)}</p>' for line in lines)


@cache
def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")

"""Masks that cannot be answered, segmenters that several visitors share, clicks that are kept."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from experiments.click.answer import Answerer
from experiments.click.examples import Example, find_examples
from experiments.click.row import prompt_row
from experiments.click.state import Ask, Session
from experiments.click.visitors import UnansweredError
from experiments.prediction.prompt_file import read_prompt_file
from segmenters.prompts import Prompt
from segmenters.segmenter import Candidate

SIDES = (480, 640)  # larger than what the small model is shown
CLICK = Prompt(((100.0, 100.0),), (1,))


@dataclass
class Fixed:
    """A segmenter that finds a speck, a square and the whole photo, and notes how many asked it at once."""

    best: int
    asked: list[int] = field(default_factory=list)
    now: int = 0
    source: str = "fixed"
    settings: dict[str, Any] = field(default_factory=dict)

    def segment(self, photo: np.ndarray, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        self.now += 1
        self.asked.append(self.now)
        threading.Event().wait(0.01)
        self.now -= 1
        masks = np.zeros((3, *photo.shape[:2]), dtype=bool)
        masks[0, 100, 100] = masks[1, 80:160, 80:160] = masks[2] = True
        return [[Candidate(mask, float(place == self.best)) for place, mask in enumerate(masks)] for _ in prompts]

    def everything(self, photo: np.ndarray) -> list[Candidate]:
        raise NotImplementedError


def with_fixed(answerer: Answerer, best: int) -> tuple[Answerer, Session, Fixed]:
    photo = np.random.default_rng(0).integers(1, 256, (*SIDES, 3), dtype=np.uint8)
    fixed = Fixed(best)
    other = replace(answerer, segmenters={"fixed": fixed}, examples=[Example("noise", photo)], _lock=threading.Lock())
    return other, other.start(), fixed


@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_nearest_mask_that_can_be_answered_is_taken(answerer: Answerer, best: int) -> None:
    other, session, _ = with_fixed(answerer, best)
    _, answer = other.answer(session, Ask(session.key, CLICK, segmenter="fixed"))
    assert (answer.candidate, answer.candidates) == (1, 3)
    assert np.count_nonzero(answer.mask) == 80 * 80


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (0, r"That mask is only 1 pixel\. Press Larger, add a click, or draw a box\."),
        (2, r"That mask is the whole photo, so nothing surrounds it\. Press Smaller"),
    ],
)
def test_the_other_masks_stay_at_hand_where_one_cannot_be_answered(
    answerer: Answerer, wanted: int, message: str
) -> None:
    other, session, fixed = with_fixed(answerer, 1)
    with pytest.raises(UnansweredError, match=message) as told:
        other.answer(session, Ask(session.key, CLICK, candidate=wanted, segmenter="fixed"))
    assert (told.value.candidates, told.value.candidate) == (3, wanted)
    _, answer = other.answer(told.value.session, Ask(session.key, CLICK, candidate=1, segmenter="fixed"))
    assert answer.candidate == 1
    assert len(fixed.asked) == 1


def test_segmenters_that_keep_a_photo_are_asked_one_at_a_time(answerer: Answerer) -> None:
    other, session, fixed = with_fixed(answerer, 1)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: other.answer(session, Ask(session.key, CLICK, segmenter="fixed")), range(3)))
    assert fixed.asked == [1, 1, 1]


def test_grabcut_waits_for_nobody_even_on_a_plain_picture(answerer: Answerer) -> None:
    plain = cv2.imencode(".png", np.full((60, 80, 4), (9, 99, 9, 255), np.uint8))[1].tobytes()
    sessions = [answerer.open_file(Session(), plain, "plain.png") for _ in range(2)]
    prompt = Prompt(((40.0, 30.0),), (1,))
    with ThreadPoolExecutor(2) as pool, answerer._lock:  # as if SAM were busy with another visitor
        asked = [pool.submit(answerer.answer, one, Ask(one.key, prompt)) for one in sessions]
        first, second = (one.result(timeout=30)[1] for one in asked)
    assert np.array_equal(first.mask, second.mask)


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(((10.5, 20.25), (30, 40)), (1, 0)),
        Prompt(((10.5, 20.25),), (1,), (1, 2, 300, 200)),
        Prompt(box=(1, 2, 3, 4)),
    ],
)
def test_a_copied_row_is_read_as_the_same_prompt_of_the_photos_file(tmp_path: Path, prompt: Prompt) -> None:
    (tmp_path / "my, lunch.png").write_bytes(b"")
    file = tmp_path / "prompts.csv"
    head = "photo,class,split,group,points,labels,box"
    file.write_text(f"{head}\n{prompt_row('my, lunch.png', prompt, (4.0, 2.0))}\n", encoding="utf-8")
    (read,) = read_prompt_file(file, tmp_path)[tmp_path / "my, lunch.png"].prompts
    assert read.points == tuple((4 * x, 2 * y) for x, y in prompt.points)
    assert read.labels == prompt.labels
    assert read.box == (None if prompt.box is None else tuple(v * f for v, f in zip(prompt.box, (4, 2) * 2)))  # noqa: B905


def test_a_row_is_in_pixels_of_the_file_not_of_the_page(answerer: Answerer) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (800, 1200, 3), dtype=np.uint8)
    data = cv2.imencode(".png", photo)[1].tobytes()
    session = answerer.open_file(Session(), data, "lunch.png")
    assert session.photo is not None
    width, height = session.photo.shape[1::-1]
    assert (width * session.scale[0], height * session.scale[1]) == pytest.approx((1200, 800))
    assert session.scale[0] > 1


def test_the_console_is_told_of_how_many_photos_the_offered_ones_are(answerer: Answerer, pair_tree: Path) -> None:
    told: list[str] = []
    root = pair_tree.parent / "archive"
    found = find_examples(root, answerer.predictor.path, answerer.predictor.classes, answerer.limit, told.append)
    (line,) = told
    assert line.startswith(f"{len(found)} of ")
    assert len({example.file for example in found}) == len(found)

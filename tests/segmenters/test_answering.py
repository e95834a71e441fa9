"""Asking a segmenter for many prompts: in order, and with few masks at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from segmenters import answering
from segmenters.answering import answer
from segmenters.prompts import Prompt
from segmenters.segmenter import Candidate, Photo

PHOTO = np.zeros((10, 10, 3), dtype=np.uint8)
PROMPTS = [Prompt(((x + 0.5, 0.5),), (1,)) if x % 3 else Prompt(box=(x, 0, x + 1, 1)) for x in range(10)]


class Whole:
    """Marks the prompt's place, and answers points with an empty candidate of a high score too."""

    source = "whole"
    settings: dict[str, Any]

    def __init__(self) -> None:
        self.calls: list[int] = []

    def segment(self, photo: Photo, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        self.calls.append(len(prompts))
        return [self._candidates(photo, prompt) for prompt in prompts]

    def everything(self, photo: Photo) -> list[Candidate]:
        raise NotImplementedError

    def _candidates(self, photo: Photo, prompt: Prompt) -> list[Candidate]:
        mask = np.zeros(photo.shape[:2], dtype=bool)
        mask[0, int(prompt.box[0] if prompt.box else prompt.points[0][0])] = True
        return [Candidate(mask, 0.5)] + ([] if prompt.box else [Candidate(mask & False, 0.9)])


class OneByOne(Whole):
    def answers(self, photo: Photo, prompts: Sequence[Prompt]) -> Iterator[list[Candidate]]:
        for prompt in prompts:
            self.calls.append(1)
            yield self._candidates(photo, prompt)


@pytest.mark.parametrize(
    ("masks", "calls"),
    [(1000, [10]), (4, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]), (9, [3, 3, 3, 1]), (0, [1] * 10)],
    # boxes (one candidate) at 0, 3, 6 and 9, points (four at most) between them
)
def test_masks_find_room(masks: int, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_MEMORY", masks * 100)
    segmenter = Whole()
    places = [int(np.argmax(one.mask[0])) for one in answer(segmenter, PHOTO, PROMPTS, "score")]
    assert places == list(range(10))
    assert segmenter.calls == calls


def test_a_segmenter_that_can_is_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_MEMORY", 0)
    segmenter = OneByOne()
    answers = answer(segmenter, PHOTO, PROMPTS, "score")
    assert [next(answers).area for _ in range(4)] == [1, 1, 1, 1]
    assert segmenter.calls == [1, 1, 1, 1]

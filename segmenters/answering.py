"""One chosen mask for each of many prompts of a photo, with few masks in memory at a time."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from segmenters.prompts import Prompt
from segmenters.segmenter import Candidate, Choice, Photo, Segmenter, choose

_MEMORY = 512e6  # bytes of masks that one call of a segmenter may return
_CANDIDATES = 4  # for a prompt of points, at most; a box says enough for one


@runtime_checkable
class _OneByOne(Protocol):
    def answers(self, photo: Photo, prompts: Sequence[Prompt]) -> Iterator[list[Candidate]]:
        """Yield what ``segment`` returns, a prompt at a time."""
        ...


def answer(segmenter: Segmenter, photo: Photo, prompts: Sequence[Prompt], choice: Choice) -> Iterator[Candidate]:
    """Yield the chosen candidate of each prompt, in the order of the prompts.

    A segmenter with a method ``answers``, which yields what ``segment`` returns, is asked for all prompts at once; any
    other for as many at a time as their masks find room in 512 MB.

    Args:
        segmenter: finds the masks.
        photo: uint8 H×W×3, RGB, upright.
        prompts: objects of this photo; they were checked against its size.
        choice: which of several candidates is taken.

    Raises:
        DataError: the photo cannot be segmented.
    """
    if isinstance(segmenter, _OneByOne):
        for candidates in segmenter.answers(photo, prompts):
            yield choose(candidates, choice)
        return
    for some in _parts(prompts, int(_MEMORY / (photo.shape[0] * photo.shape[1]))):
        for candidates in segmenter.segment(photo, some):
            yield choose(candidates, choice)


def _parts(prompts: Sequence[Prompt], masks: int) -> Iterator[list[Prompt]]:
    """Divide prompts into parts, as large as can be, whose candidates are at most some number of masks."""
    part: list[Prompt] = []
    count = 0
    for prompt in prompts:
        candidates = 1 if prompt.box is not None else _CANDIDATES
        if part and count + candidates > masks:
            yield part
            part, count = [], 0
        part.append(prompt)
        count += candidates
    if part:
        yield part

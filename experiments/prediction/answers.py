"""Photos in, answers out: regions of many photos share the model's batches, threads open photos meanwhile."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.new_pairs import NewPair
from experiments.prediction.ahead import done_ahead
from experiments.prediction.inputs import refuse
from experiments.prediction.jobs import Job
from experiments.prediction.predictor import Predictor, ViewMap
from experiments.prediction.regions import OpenedPhoto, Region
from utils.errors import DataError

ROI, EXTRA_ROI = "roi", "extra_roi"
_KEPT_SHAPES = 256


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says of one region.

    Attributes:
        logits: float32 C.
        probabilities: C, calibrated.
        without_context: C, calibrated, with a black extra_roi; null where it was not asked for.
        maps: by view; null where they were not asked for.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    without_context: NDArray[np.float64] | None = None
    maps: dict[str, ViewMap] | None = None

    def top(self, count: int) -> NDArray[np.int64]:
        """Return the most probable classes, the most probable first; the first of equal ones."""
        return best(self.logits, count)


def best(values: NDArray[np.floating[Any]], count: int) -> NDArray[np.int64]:
    """Return the places of the largest values, the largest first; the first of equal ones."""
    return np.argsort(-values, kind="stable")[:count].astype(np.int64)


@dataclass(frozen=True)
class Questions:
    """What is asked of each region: its class, and on request what becomes of it without context, and maps."""

    what_if: bool = False
    maps: bool = False
    method: str = "gradcam"


@dataclass(eq=False)
class _Pending:
    photo: OpenedPhoto
    answers: list[Answer] = field(default_factory=list)


class Asker:
    """Asks a model about pairs, whichever photos they are of."""

    def __init__(self, predictor: Predictor, questions: Questions, batch_size: int) -> None:
        self._predictor, self._questions, self._batch_size = predictor, questions, batch_size
        self._black: dict[tuple[int, ...], Tensor] = {}

    def ask(self, pairs: Sequence[NewPair]) -> list[Answer]:
        """Return the answers to at most ``batch_size`` pairs."""
        predictor, without = self._predictor, None
        if self._questions.what_if:
            features = predictor.features(pairs)
            logits = predictor.fuse(features)
            black = torch.cat([self._black_features(pair) for pair in pairs])
            without = predictor.probabilities(predictor.fuse(features | {EXTRA_ROI: black}))
        else:
            logits = predictor.logits(pairs, self._batch_size)
        probabilities = predictor.probabilities(logits)
        return [
            Answer(
                logits=logits[place],
                probabilities=probabilities[place],
                without_context=None if without is None else without[place],
                maps=predictor.explain(pair, self._questions.method) if self._questions.maps else None,
            )
            for place, pair in enumerate(pairs)
        ]

    def _black_features(self, pair: NewPair) -> Tensor:
        """Return the features of a black extra_roi; of a photo only its size counts."""
        shape = pair.photo.shape
        if shape not in self._black:
            if len(self._black) >= _KEPT_SHAPES:
                self._black.pop(next(iter(self._black)))
            black = NewPair(np.zeros(shape, np.uint8), np.ones(shape[:2], bool))
            self._black[shape] = self._predictor.features([black])[EXTRA_ROI]
        return self._black[shape]


def answered(
    jobs: Sequence[Job], ask: Callable[[Sequence[NewPair]], list[Answer]], batch_size: int, workers: int
) -> Iterator[tuple[OpenedPhoto, list[Answer]]]:
    """Yield each photo with the answers to its regions, in order.

    Photos are opened by threads while the model computes; only a few are held at a time. Answers depend on neither
    ``batch_size`` nor ``workers``, but for a model's last digits.

    Args:
        jobs: the photos.
        ask: gives the answers to so many pairs.
        batch_size: pairs that are asked about at once.
        workers: threads that open photos.

    Raises:
        DataError: photos that cannot be used; after the first the others are opened for their problems alone, so that
            all are named.
    """
    problems: list[str] = []
    photos: deque[_Pending] = deque()
    waiting: deque[tuple[_Pending, Region]] = deque()
    for result in done_ahead(_open, jobs, workers):
        if isinstance(result, DataError):
            problems.append(str(result))
        if problems or isinstance(result, DataError):
            continue
        photo = _Pending(result)
        photos.append(photo)
        waiting.extend((photo, region) for region in result.regions)
        while len(waiting) >= batch_size:
            _ask_some(waiting, ask, batch_size)
        yield from _finished(photos)
    refuse(problems)
    if waiting:
        _ask_some(waiting, ask, batch_size)
    yield from _finished(photos)


def _open(job: Job) -> OpenedPhoto | DataError:
    try:
        return job.open()
    except DataError as error:
        return error


def _ask_some(
    waiting: deque[tuple[_Pending, Region]], ask: Callable[[Sequence[NewPair]], list[Answer]], count: int
) -> None:
    some = [waiting.popleft() for _ in range(min(count, len(waiting)))]
    for (photo, _), answer in zip(some, ask([region.pair for _, region in some]), strict=True):
        photo.answers.append(answer)


def _finished(photos: deque[_Pending]) -> Iterator[tuple[OpenedPhoto, list[Answer]]]:
    while photos and len(photos[0].answers) == len(photos[0].photo.regions):
        done = photos.popleft()
        yield done.photo, done.answers

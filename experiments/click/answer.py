"""From a click to an answer: the page's logic without the page."""

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from datasets.cutouts import cut
from datasets.decode import decode_photo
from datasets.new_pairs import NewPair
from datasets.picture_size import PixelLimit
from experiments.click.examples import LONGEST_SIDE, Example, shrunk
from experiments.click.growth import regrown
from experiments.click.row import prompt_row
from experiments.click.state import Ask, Context, Found, Session
from experiments.click.visitors import UnansweredError, VisitorLimit, check_clicks, mask_problem
from experiments.prediction.predictor import ANOTHER, Predictor, ViewMap
from segmenters.grabcut import GrabCut
from segmenters.prompts import IN, Prompt
from segmenters.segmenter import Candidate, Choice, Segmenter, choose
from utils.errors import DataError, nearest

_RECENT = 3  # photos of a visitor that are kept for their surroundings
_LEAST_SIDE = 8  # pixels; less is nothing to click on


@dataclass(frozen=True, eq=False)
class Answer:
    """What a click is answered with.

    Attributes:
        mask: bool H×W in the photo's pixels.
        candidates: how many masks the segmenter offered.
        candidate: which of them this is, smallest first.
        roi, extra_roi: uint8 H×W×3, the two cut-outs.
        probabilities: C each by context, as ``Predictor.what_if`` names them; the first is the answer.
        lent: name of the photo whose surroundings were lent, empty where none were.
        row: clicks and box as a line of ``prompts.csv``, in pixels of the photo's file.
        seconds: that it took.
    """

    mask: NDArray[np.bool_]
    candidates: int
    candidate: int
    roi: NDArray[np.uint8]
    extra_roi: NDArray[np.uint8]
    probabilities: dict[str, NDArray[np.float64]]
    lent: str
    row: str
    seconds: float

    @property
    def main(self) -> NDArray[np.float64]:
        """The probabilities C of the pair as it is."""
        return next(iter(self.probabilities.values()))


@dataclass(frozen=True, eq=False)
class Answerer:
    """A model and segmenters, shared by all visitors; what belongs to one visitor is in the ``Session``.

    Attributes:
        predictor: the model.
        segmenters: on offer by name, the preferred one first.
        examples: photos on offer.
        choice: which candidate is taken where the visitor chose none.
        limit: largest photo that is decoded.
    """

    predictor: Predictor
    segmenters: Mapping[str, Segmenter]
    examples: Sequence[Example] = ()
    choice: Choice = "score"
    limit: PixelLimit = field(default_factory=PixelLimit)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def start(self) -> Session:
        """Return a new visitor's session, the first example open."""
        return self.open_example(Session(), 0) if self.examples else Session()

    def warm_up(self) -> None:
        """Answer a click on the first example, so that the first visitor does not wait for what starts only once."""
        session = self.start()
        if session.photo is not None:
            height, width = session.photo.shape[:2]
            with suppress(DataError):  # nothing is there to be found
                prompt = Prompt(((width / 2, height / 2),), (IN,))
                self.maps(self.answer(session, Ask(session.key, prompt, segmenter=next(iter(self.segmenters))))[0])

    def open_example(self, session: Session, number: object) -> Session:
        """Open an example by its number.

        Raises:
            DataError: there is no such example.
        """
        if not isinstance(number, int) or not 0 <= number < len(self.examples):
            raise DataError("there is no such example; load the page again")
        example = self.examples[number]
        return self._opened(session, example, f"example {number}")

    def open_file(self, session: Session, data: bytes, name: str) -> Session:
        """Open the bytes of a photo's file.

        Raises:
            DataError: it is no photo, too large, too small or damaged; the message starts with ``name``.
        """
        image = decode_photo(data, name, VisitorLimit(self.limit.megapixels)).image
        if min(image.size) < _LEAST_SIDE:
            raise DataError(
                f"{name}: the photo has {image.width}×{image.height} pixels, too few to click on; choose one of at "
                f"least {_LEAST_SIDE} pixels on each side"
            )
        photo = shrunk(image, max(LONGEST_SIDE, self.predictor.size))
        if min(photo.shape[:2]) < _LEAST_SIDE:
            raise DataError(
                f"{name}: the photo is a strip of {image.width}×{image.height} pixels; cut a part out of it"
            )
        return self._opened(session, Example(name, photo, file=name, size=image.size), f"photo {session.opened + 1}")

    def contexts(self, session: Session) -> list[Context]:
        """Return the photos whose surroundings can be lent to the open one: the visitor's last ones, then examples."""
        if len(self.predictor.views) == 1:
            return []
        known = [
            Context(f"example {number}", NewPair(example.photo, example.mask, example.name))
            for number, example in enumerate(self.examples)
            if example.mask is not None
        ]
        taken = {context.key for context in session.recent}
        offered = [*session.recent, *(context for context in known if context.key not in taken)]
        return [context for context in offered if context.key != session.key]

    def answer(self, session: Session, ask: Ask) -> tuple[Session, Answer]:
        """Answer a question about the open photo.

        Raises:
            UnansweredError: the mask leaves one of the cut-outs empty; where the visitor chose none, every mask does.
            DataError: no photo is open, or the prompt cannot be used.
        """
        started = time.perf_counter()
        if session.photo is None:
            raise DataError("no photo is open; choose one first")
        if ask.key != session.key:
            raise DataError("another photo was opened meanwhile; open the one that you want again")
        found = self._segment(session, ask)
        place = self._place(found.candidates, ask.candidate)
        mask = self._mask(replace(session, found=found, mask=None, told=None), found, place, ask.growth)
        pair = NewPair(session.photo, mask, session.name)
        other = self._context(session, ask.context)
        probabilities = self.predictor.what_if(pair, other)
        roi, extra_roi = cut(session.photo, mask)
        lent = other.name if other is not None and ANOTHER in probabilities else ""
        row = prompt_row(session.file, ask.prompt, session.scale)
        seconds = time.perf_counter() - started
        answer = Answer(mask, len(found.candidates), place, roi, extra_roi, probabilities, lent, row, seconds)
        return replace(session, found=found, mask=mask, told=int(answer.main.argmax())), answer

    def maps(self, session: Session) -> dict[str, ViewMap]:
        """Return what each module looked at for the last answer, on a fine grid where it has one; else nothing.

        Raises:
            ConfigError: a module has no map.
        """
        if session.photo is None or session.mask is None:
            return {}
        pair = NewPair(session.photo, session.mask, session.name)
        return self.predictor.explain(pair, target=session.told)

    def _opened(self, session: Session, opened: Example, key: str) -> Session:
        recent = session.recent
        if session.photo is not None and session.mask is not None:
            pair = NewPair(session.photo, session.mask, session.name)
            others = [context for context in recent if context.key != session.key]
            recent = (Context(session.key, pair), *others)[:_RECENT]
        height, width = opened.photo.shape[:2]
        own = opened.size or (width, height)
        scale = own[0] / width, own[1] / height
        file = opened.file or opened.name
        return Session(key, opened.name, opened.photo, file, scale, recent=recent, opened=session.opened + 1)

    def _segment(self, session: Session, ask: Ask) -> Found:
        assert session.photo is not None
        if ask.segmenter not in self.segmenters:
            offered = ", ".join(self.segmenters)
            raise DataError(
                f"there is no segmenter '{ask.segmenter}'{nearest(ask.segmenter, self.segmenters)} (there is {offered})"
            )
        height, width = session.photo.shape[:2]
        check_clicks(ask.prompt, width, height)
        last = session.found
        if last is not None and (last.prompt, last.segmenter) == (ask.prompt, ask.segmenter):
            return last
        segmenter = self.segmenters[ask.segmenter]
        with nullcontext() if isinstance(segmenter, GrabCut) else self._lock:  # SAM keeps one photo's embedding
            (candidates,) = segmenter.segment(session.photo, [ask.prompt])
        filled = sorted((one for one in candidates if one.area), key=lambda one: one.area)
        if not filled:
            raise DataError("Nothing was found there. Click elsewhere, or draw a box.")
        return Found(ask.prompt, ask.segmenter, tuple(filled))

    def _place(self, candidates: Sequence[Candidate], wanted: int | None) -> int:
        """Return the place of the wanted mask, else of the rule's, or of the nearest one that can be answered."""
        if wanted is not None:
            return min(max(wanted, 0), len(candidates) - 1)
        chosen = choose(candidates, self.choice)
        place = next(place for place, one in enumerate(candidates) if one is chosen)
        usable = [
            other
            for other, one in enumerate(candidates)
            if not mask_problem(one.mask, self.predictor.size, larger=False, smaller=False)
        ]
        return min(usable, key=lambda other: (abs(other - place), -other), default=place)

    def _mask(self, session: Session, found: Found, place: int, growth: float) -> NDArray[np.bool_]:
        """Return the mask at a place, grown; refuse one that cannot be answered."""
        mask, last = found.candidates[place].mask, len(found.candidates) - 1
        try:
            mask = regrown(mask, growth)
            problem = mask_problem(mask, self.predictor.size, larger=place < last, smaller=place > 0)
        except DataError as error:  # it shrank away
            problem = str(error)
        if problem:
            raise UnansweredError(problem, session, mask, last + 1, place)
        return mask

    def _context(self, session: Session, key: str | None) -> NewPair | None:
        if key is None:
            return None
        for context in self.contexts(session):
            if context.key == key:
                return context.pair
        raise DataError("the photo whose surroundings were to be lent is no longer at hand; choose another one")

"""What the page knows of one visitor, and what a visitor asks."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from datasets.new_pairs import NewPair
from segmenters.prompts import Prompt
from segmenters.segmenter import Candidate
from utils.errors import DataError

MOST_GROWTH = 0.5  # see experiments.click.growth


@dataclass(frozen=True)
class Ask:
    """One question about the open photo.

    Attributes:
        key: of the photo that is meant.
        prompt: clicks and box, in pixels of the photo; without any, nothing is asked.
        candidate: which of the segmenter's masks, smallest first; null leaves it to the rule.
        growth: -0.5..0.5, as ``experiments.click.growth.regrown`` takes it.
        segmenter: name of one that the page offers.
        context: key of the photo whose surroundings are lent; null takes none.
    """

    key: str
    prompt: Prompt
    candidate: int | None = None
    growth: float = 0.0
    segmenter: str = "grabcut"
    context: str | None = None

    @classmethod
    def from_event(cls, data: object) -> "Ask":
        """Read what the page's script sent.

        Raises:
            DataError: anything else.
        """
        try:
            return cls._read(cast(dict[str, Any], data))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise DataError("the page sent what this program does not understand; load the page again") from None

    @classmethod
    def _read(cls, data: dict[str, Any]) -> "Ask":
        points = tuple((float(x), float(y)) for x, y in data["points"])
        box = None if data["box"] is None else tuple(float(value) for value in data["box"])
        if box is not None and len(box) != 4:
            raise ValueError
        labels = tuple(int(label) for label in data["labels"])
        candidate = None if data["candidate"] is None else int(data["candidate"])
        growth = float(data["growth"])
        if not math.isfinite(growth) or abs(growth) > MOST_GROWTH:
            raise ValueError
        context = None if data["context"] is None else str(data["context"])
        return cls(str(data["key"]), Prompt(points, labels, box), candidate, growth, str(data["segmenter"]), context)


@dataclass(frozen=True, eq=False)
class Context:
    """A photo with a known region, whose surroundings can be lent to another one.

    Attributes:
        key: unique on the page of a visitor.
        pair: photo and region; its name is shown.
    """

    key: str
    pair: NewPair


@dataclass(frozen=True, eq=False)
class Found:
    """What a segmenter answered to a prompt: candidates with a pixel at least, smallest first."""

    prompt: Prompt
    segmenter: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, eq=False)
class Session:
    """One visitor. Each change makes a new one; nothing is shared with other visitors but examples.

    Attributes:
        key: of the open photo, unique on the visitor's page.
        name: of the open photo.
        photo: uint8 H×W×3; null before the first one.
        file: name of the open photo's file.
        scale: pixels of the file per pixel of ``photo``, across and down.
        found: the last answer of a segmenter on it.
        mask: bool H×W, what was answered last; null before the first answer.
        told: index of the class that was answered last; null as the mask.
        recent: photos that the visitor clicked on before, the latest first.
        opened: how many photos were opened.
    """

    key: str = ""
    name: str = ""
    photo: NDArray[np.uint8] | None = None
    file: str = ""
    scale: tuple[float, float] = (1.0, 1.0)
    found: Found | None = None
    mask: NDArray[np.bool_] | None = None
    told: int | None = None
    recent: tuple[Context, ...] = ()
    opened: int = 0

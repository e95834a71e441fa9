"""Text on sheets of many pictures, where a plotting library would take longer than the model.

The fonts are those that matplotlib knows of: its own, and for other scripts whichever installed one has the letters.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]


class Sheet:
    """A white canvas with pictures and lines of text at places given in pixels from the upper left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), "white")
        self._draw = ImageDraw.Draw(self.image)

    def paste(self, left: int, top: int, picture: Picture) -> None:
        """Lay a picture H×W×3 on the canvas."""
        self.image.paste(Image.fromarray(picture), (left, top))

    def frame(self, box: tuple[int, int, int, int], color: str, width: int) -> None:
        """Draw a frame, ``width`` pixels inwards from left, top, right, bottom (the last two excluded)."""
        left, top, right, bottom = box
        self._draw.rectangle((left, top, right - 1, bottom - 1), outline=color, width=width)

    def label(self, across: int, down: int, text: str, *, size: int, color: str) -> None:
        """Write a line on a dark ground, its middle at a place."""
        left, top, right, bottom = self._draw.textbbox((across, down), text, font=_font(text, size, False), anchor="mm")
        self._draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill="#222222")
        self.text(across, down, text, size=size, color=color, anchor="mm")

    def text(
        self,
        left: int,
        top: int,
        text: str,
        *,
        size: int,
        color: str,
        bold: bool = False,
        room: int = 0,
        anchor: str = "la",
    ) -> None:
        """Write a line whose letters are ``size`` pixels high; with ``room`` it is shortened to so many pixels.

        ``anchor`` says which point of the line lies at ``left``, ``top``, in Pillow's letters; "mm" is its middle.
        """
        font = _font(text, size, bold)
        if room and font.getlength(text) > room:
            while text and font.getlength(f"{text}…") > room:
                text = text[:-1]
            text = f"{text.rstrip()}…"
        self._draw.text((left, top), text, fill=color, font=font, anchor=anchor)


def _font(text: str, size: int, bold: bool) -> ImageFont.FreeTypeFont:
    letters = frozenset(letter for letter in text if ord(letter) > 0x17F)  # every font has those below
    return ImageFont.truetype(_font_file(letters, bold), size)


@lru_cache(maxsize=4096)
def _font_file(letters: frozenset[str], bold: bool) -> str:
    """Return the first font file that has all letters, matplotlib's own where none has."""
    own: Any = findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal"))
    wanted = {ord(letter) for letter in letters}
    if wanted <= _letters(str(own)):
        return str(own)
    others = sorted({font.fname for font in fontManager.ttflist})
    return next((path for path in others if wanted <= _letters(path)), str(own))


@lru_cache(maxsize=1024)
def _letters(path: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # removed since matplotlib listed it, or of a kind that it cannot read
        return frozenset()

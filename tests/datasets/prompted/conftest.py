"""Photos of a red and a blue square on noise, prompts for them, and a segmenter that fills what it is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.preprocess import PreprocessOptions, preprocess
from datasets.prompted.options import Derivation, PromptingOptions
from segmenters.options import SegmenterOptions
from segmenters.prompts import Prompt
from segmenters.segmenter import Candidate, Photo

RED, BLUE = (8, 6, 28, 26), (40, 16, 60, 36)  # boxes of the squares
HEADER = "photo,class,split,group,points,labels,box\n"


@dataclass
class Filler:
    """Fills a prompt's box, or the 5×5 pixels around its points; its score is the part of the photo it fills.

    A point outside makes the mask empty, a box from the photo's corner fills all of it.
    """

    calls: list[int] = field(default_factory=list)
    source: str = "filler:0123"
    version: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        return {"name": "filler", "version": self.version}

    def segment(self, photo: Photo, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        self.calls.append(len(prompts))
        return [[self._fill(photo, prompt)] for prompt in prompts]

    def everything(self, photo: Photo) -> list[Candidate]:
        raise NotImplementedError

    def _fill(self, photo: Photo, prompt: Prompt) -> Candidate:
        mask = np.zeros(photo.shape[:2], dtype=bool)
        areas = [prompt.box] if prompt.box else [(x - 2, y - 2, x + 3, y + 3) for x, y in prompt.positive]
        for area in areas:
            left, top, right, bottom = (max(0, int(side)) for side in area)
            mask[top:bottom, left:right] = True
        if prompt.negative:
            mask[:] = False
        if prompt.box and prompt.box[:2] == (0, 0):
            mask[:] = True
        return Candidate(mask, float(mask.mean()))


@dataclass
class Photos:
    """A folder of photos and a prompt file."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "photos"

    @property
    def file(self) -> Path:
        return self.root / "prompts.csv"

    def add(self, *names: str) -> None:
        """Write 64×48 photos; no pixel is black."""
        for name in names:
            pixels = np.random.default_rng(sum(map(ord, name))).integers(90, 160, (48, 64, 3)).astype(np.uint8)
            for (left, top, right, bottom), color in ((RED, (200, 40, 40)), (BLUE, (50, 60, 190))):
                pixels[top:bottom, left:right] = color
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(self.folder / name)

    def prompts(self, *rows: str) -> None:
        self.file.write_text(HEADER + "".join(f"{row}\n" for row in rows))

    def preprocess(self, dst: Path, **options: Any) -> list[str]:  # noqa: ANN401  # any option of preprocess
        """Preprocess the prompt file, or ``src`` with ``derived`` prompts; returns the lines for the user."""
        lines: list[str] = []
        derived: Derivation | None = options.pop("derived", None)
        prompting = PromptingOptions(
            segmenter=SegmenterOptions(),
            file=None if derived else self.file,
            classes=options.pop("classes", None),
            derived=derived,
        )
        given: dict[str, Any] = {"src": self.folder, "workers": 1, "size": 0, "format": "png"} | options
        preprocess(PreprocessOptions(dst=dst, prompting=prompting, **given), lines.append)
        return lines

    @staticmethod
    def files(root: Path) -> dict[str, bytes]:
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    """Three photos; ketchup is the red square, chili-paste the blue one."""
    made = Photos(tmp_path)
    made.add("a.png", "b.png", "more/c.png")
    made.prompts(
        "a.png,ketchup,,,,,8 6 28 26",
        "a.png,chili-paste,,,,,40 16 60 36",
        "b.png,ketchup,,table 1,18 16,,",
        "more/c.png,chili-paste,test,,,,40 16 60 36",
    )
    return made


@pytest.fixture
def filler(monkeypatch: pytest.MonkeyPatch) -> Filler:
    """Put the filler in the place of every segmenter."""
    segmenter = Filler()
    monkeypatch.setattr("datasets.prompted.source.open_segmenter", lambda _options: segmenter)
    return segmenter

"""Photos with prompts, with a mask or with nothing: checked by their headers first, opened by threads later."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datasets.decode import (
    DecodedPhoto,
    Labels,
    MaskOrientation,
    align_labels,
    decode_labels,
    decode_photo,
    read_photo_header,
)
from datasets.picture_size import PixelLimit
from experiments.prediction.options import NO_WEAK_SCORES, WeakScores
from experiments.prediction.regions import WHOLE, FoundMask, OpenedPhoto, describe_photo
from segmenters.answering import answer
from segmenters.prompts import Prompt
from segmenters.segmenter import Choice, Photo, Segmenter, check_mask
from utils.errors import DataError

_MOST_LABELS = 256


class Job(Protocol):
    """Something to predict: one photo, whatever its regions are from."""

    @property
    def name(self) -> str:
        """The photo as the user named it."""
        ...

    def check(self) -> list[str]:
        """Return what is wrong with it, as far as headers tell."""
        ...

    def open(self) -> OpenedPhoto:
        """Read it; a ``DataError`` says what is wrong."""
        ...


@dataclass(frozen=True, eq=False)
class Way:
    """What is alike for all photos.

    Attributes:
        size: longer side in pixels at which pairs are cut; 0 keeps the photo's.
        limit: the largest picture that is decoded.
        drawn: whether pictures are drawn.
        segmenter: gives what finds regions; it is not called where masks are given.
        choice: which of several masks of a prompt is taken.
        weak_below: masks of a prompt that the segmenter gives a smaller score are marked.
        masks_kept: whether masks that the segmenter found are made ready to be written.
    """

    size: int
    limit: PixelLimit
    drawn: bool
    segmenter: Callable[[], Segmenter]
    choice: Choice = "score"
    weak_below: WeakScores = NO_WEAK_SCORES
    masks_kept: bool = False


@dataclass(frozen=True, eq=False)
class PhotoJob:
    """A photo file.

    Attributes:
        path: of the photo.
        way: how it is opened.
        prompts: a region each; null for every segment of the photo.
        prompt_names: where each prompt is from, for messages; empty where that goes without saying.
        mask: file of label ids instead.
        mask_orientation: which way masks lie that fit a turned photo both ways.
        whole: take the photo as one region instead.
    """

    path: Path
    way: Way
    prompts: Sequence[Prompt] | None = None
    prompt_names: Sequence[str] = ()
    mask: Path | None = None
    mask_orientation: MaskOrientation | None = None
    whole: bool = False

    @property
    def name(self) -> str:
        """The photo as the user named it."""
        return str(self.path)

    def check(self) -> list[str]:
        """Return what is wrong with photo, mask and prompts, as far as headers tell."""
        try:
            header = read_photo_header(_read(self.path), self.name, self.way.limit)
        except DataError as error:
            return [str(error)]
        problems = []
        for place, prompt in enumerate(self.prompts or ()):
            where = self.prompt_names[place] if self.prompt_names else self.name
            problems += [f"{where}: {problem}" for problem in prompt.problems(*header.size)]
        if self.mask is not None and not self.mask.is_file():
            problems.append(f"--mask {self.mask} does not exist")
        return problems

    def open(self) -> OpenedPhoto:
        """Decode the photo and find its regions."""
        way = self.way
        decoded = decode_photo(_read(self.path), self.name, way.limit)
        if self.whole:
            found = [FoundMask(np.ones(decoded.size[::-1], dtype=bool), {"kind": WHOLE})]
        elif self.mask is not None:
            found = self._from_mask(decoded, self.mask, way)
        else:
            found = self._from_segmenter(np.asarray(decoded.image), way.segmenter(), way)
        segmented = self.mask is None and not self.whole
        opened = describe_photo(
            self.name,
            self.path.stem,
            decoded.image,
            found,
            size=way.size,
            drawn=way.drawn,
            drop_vanished=segmented and self.prompts is None,
            kept=way.masks_kept and segmented,
        )
        if not opened.regions:
            raise DataError(f"{self.name}: no segment was found; say where to look with --point, --box or --mask")
        return opened

    def _from_mask(self, decoded: DecodedPhoto, mask: Path, way: Way) -> list[FoundMask]:
        labels = align_labels(
            _labels(mask, way.limit), decoded, self.mask_orientation, self.name, str(mask), "--mask_orientation"
        )
        found = []
        ids = [number for number in np.unique(labels).tolist() if number != 0]
        if len(ids) > _MOST_LABELS:
            raise DataError(f"{mask} holds {len(ids):,} label ids; at most {_MOST_LABELS} regions of a photo are taken")
        for number in ids or [0]:  # an empty mask is refused in the words of all empty masks
            inside = labels == number if ids else np.zeros(labels.shape, dtype=bool)
            check_mask(inside, str(mask))
            found.append(FoundMask(inside, {"kind": "mask", "file": str(mask), "label": number}))
        return found

    def _from_segmenter(self, photo: Photo, segmenter: Segmenter, way: Way) -> list[FoundMask]:
        if self.prompts is None:
            usable = [one for one in segmenter.everything(photo) if one.mask.any() and not one.mask.all()]
            return [FoundMask(one.mask, {"kind": "everything"}, one.score) for one in usable]
        found = []
        chosen = answer(segmenter, photo, self.prompts, way.choice)
        for place, (prompt, best) in enumerate(zip(self.prompts, chosen, strict=True)):
            check_mask(best.mask, self.prompt_names[place] if self.prompt_names else self.name)
            least = way.weak_below.points if prompt.box is None else way.weak_below.box
            found.append(FoundMask(best.mask, _prompt_source(prompt), best.score, weak=best.score < least))
        return found


def _prompt_source(prompt: Prompt) -> dict[str, Any]:
    box = None if prompt.box is None else list(prompt.box)
    return {"kind": "prompt", "points": [list(p) for p in prompt.points], "labels": list(prompt.labels), "box": box}


def _labels(path: Path, limit: PixelLimit) -> Labels:
    data = _read(path)
    if data.startswith(b"\xff\xd8"):
        raise DataError(f"{path} is a JPEG, which changes label ids at borders; save the mask as PNG")
    return decode_labels(data, str(path), limit)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); check the path and its permissions"
        ) from None

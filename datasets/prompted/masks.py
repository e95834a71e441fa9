"""Masks that a segmenter finds from prompts, for the cutter."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.archive import ArchivePhoto
from datasets.cut_photo import open_photo
from datasets.cutouts import Mask, Photo, resize_labels
from datasets.decode import DecodedPhoto, MaskOrientation, decode_photo
from datasets.mask_source import ClassMask
from datasets.picture_size import PixelLimit
from datasets.prompted.derive import LEAST_PART, MOST_OBJECTS, VERSION, derive_prompts, key_generator
from datasets.prompted.options import Derivation
from datasets.prompted.photos import PromptedObject, PromptedPhoto
from segmenters.answering import answer
from segmenters.grabcut import GrabCut
from segmenters.prompts import Prompt
from segmenters.segmenter import Choice, Segmenter, check_mask
from utils.errors import DataError, os_error_text
from utils.files import sha256


@dataclass(frozen=True, eq=False)
class FoundClass:
    """The union of the masks of one class's objects, in an eighth of a mask's memory.

    Attributes:
        name: of the class.
        bits: the mask, row by row, eight pixels a byte.
        shape: height and width of the mask, in the photo's own pixels.
        area: pixels in the mask.
        prompts: objects.
        score: the lowest of theirs.
    """

    name: str
    bits: NDArray[np.uint8]
    shape: tuple[int, int]
    area: int
    prompts: int
    score: float

    @property
    def mask(self) -> Mask:
        """The mask, H×W."""
        count = self.shape[0] * self.shape[1]
        return np.unpackbits(self.bits, count=count).view(np.bool_).reshape(self.shape)

    @property
    def covers_all(self) -> bool:
        """Whether no pixel lies outside."""
        return self.area == self.shape[0] * self.shape[1]


@dataclass(frozen=True, eq=False)
class SegmentedPhoto:
    """A photo with the masks that were found.

    Attributes:
        photo: upright.
        photo_sha256: of its file.
        mask_sha256: of the prompts, or the annotation that they are derived from, and the segmenter's settings.
        found: masks by class.
        no_mask: classes of which nothing was found, or the whole photo.
    """

    photo: DecodedPhoto
    photo_sha256: str
    mask_sha256: str
    found: list[FoundClass]
    no_mask: list[str] = field(default_factory=list)

    def masks(self, size: int) -> Iterator[ClassMask]:
        """Yield the masks at the size of the cut-outs."""
        for one in self.found:
            yield ClassMask(one.name, resize_labels(one.mask, size), one.prompts, one.score, one.area)


@dataclass(frozen=True)
class _SegmentedMasks:
    """What both ways to get prompts share.

    Attributes:
        segmenter: finds the masks.
        choice: which of several masks of one prompt is taken.
    """

    segmenter: Segmenter
    choice: Choice

    @property
    def name(self) -> str:
        """The segmenter in the manifest."""
        return self.segmenter.source

    @property
    def one_process(self) -> bool:
        """Whether the segmenter has weights, which one process holds."""
        return not isinstance(self.segmenter, GrabCut)

    @property
    def settings(self) -> dict[str, Any]:
        """Return what decides the masks beside photo and prompts."""
        return {"segmenter": {**self.segmenter.settings, "choice": self.choice}}

    def start(self) -> None:
        """Leave the cores to the worker processes."""
        cv2.setNumThreads(1)

    def _sha256(self, of_photo: str) -> str:
        return hashlib.sha256(json.dumps([self.settings, of_photo], sort_keys=True).encode()).hexdigest()

    def _united(self, photo: Photo, objects: Sequence[PromptedObject]) -> tuple[list[FoundClass], list[PromptedObject]]:
        """Return the classes, and the objects of which nothing was found; a class's objects follow each other."""
        found: list[FoundClass] = []
        empty: list[PromptedObject] = []
        height, width = photo.shape[:2]
        answers = answer(self.segmenter, photo, [one.prompt for one in objects], self.choice)
        for name, of_class in groupby(zip(objects, answers, strict=True), key=lambda pair: pair[0].class_name):
            mask: Mask = np.zeros((height, width), dtype=np.bool_)
            scores: list[float] = []
            for one, chosen in of_class:
                if not chosen.mask.any():
                    empty.append(one)
                mask |= chosen.mask
                scores.append(chosen.score)
            area = int(np.count_nonzero(mask))
            found.append(FoundClass(name, np.packbits(mask), (height, width), area, len(scores), min(scores)))
        return found, empty


@dataclass(frozen=True)
class PromptedMasks(_SegmentedMasks):
    """Masks from prompts that people gave. What cannot be used is a problem that they can mend.

    Attributes:
        file: of the prompts, for messages.
        class_names: in the order of the classes' indices.
    """

    file: str
    class_names: Sequence[str]

    @property
    def header(self) -> dict[str, Any]:
        """The settings; which prompts a photo has is its own affair."""
        return self.settings

    def open(self, root: Path, photo: PromptedPhoto, limit: PixelLimit) -> SegmentedPhoto | list[str]:
        """Decode a photo and find its masks."""
        path = root / photo.photo
        try:
            data = path.read_bytes()
            decoded = decode_photo(data, str(path), limit)
        except OSError as error:
            return [f"{path} cannot be read: {os_error_text(error)}"]
        except DataError as error:
            return [str(error)]
        problems = [
            f"{one.where}, {photo.photo}: {problem}"
            for one in photo.objects
            for problem in one.prompt.problems(*decoded.size)
        ]
        if problems:
            return problems
        try:
            found, empty = self._united(np.asarray(decoded.image), self._in_order(photo))
        except DataError as error:
            return [f"{path}: {error}"]
        for one in empty:
            problems += _mask_problem(np.zeros((1, 1), dtype=bool), f"{one.where}, {photo.photo}")
        wheres = {one.class_name: one.where for one in photo.objects}
        for covered in found:
            if covered.covers_all:
                problems += _mask_problem(covered.mask, f"{wheres[covered.name]}, {photo.photo}")
        if problems:
            return problems
        file_sha256 = hashlib.sha256(data).hexdigest()
        return SegmentedPhoto(decoded, file_sha256, self._sha256(photo.prompts_sha256), found)

    def hashes(self, root: Path, photo: PromptedPhoto) -> tuple[str, str]:
        """Hash the photo's file, and prompts with settings."""
        return sha256(root / photo.photo), self._sha256(photo.prompts_sha256)

    def _in_order(self, photo: PromptedPhoto) -> list[PromptedObject]:
        place = {name: index for index, name in enumerate(self.class_names)}
        return sorted(photo.objects, key=lambda one: place[one.class_name])


@dataclass(frozen=True)
class DerivedMasks(_SegmentedMasks):
    """Masks from prompts that stand for annotation. Where nothing is found nobody can mend it, so that it is counted.

    Attributes:
        derivation: how prompts are derived.
        label_ids: class name by label id.
        orientation: which way masks lie that fit a turned photo both ways.
    """

    derivation: Derivation
    label_ids: dict[int, str]
    orientation: MaskOrientation | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return what decides the masks beside photo and annotation."""
        rules = {"version": VERSION, "least_part": LEAST_PART, "most_objects": MOST_OBJECTS}
        return {**super().settings, "derived": {**asdict(self.derivation), **rules}}

    @property
    def header(self) -> dict[str, Any]:
        """The settings, and the label ids, which say what the annotation means."""
        return {**self.settings, "classes": list(self.label_ids.items())}

    def open(self, root: Path, photo: ArchivePhoto, limit: PixelLimit) -> SegmentedPhoto | list[str]:
        """Read photo and annotation, derive prompts and find their masks."""
        opened = open_photo(root, photo, self.label_ids, self.orientation, decode_photo, limit=limit)
        if isinstance(opened, list):
            return opened
        objects = [
            PromptedObject(name, prompt, name)
            for name in (self.label_ids[label] for label in opened.ids)
            for prompt in self._prompts(photo, name, opened.labels == self._ids[name])
        ]
        try:
            found, _ = self._united(np.asarray(opened.photo.image), objects)
        except DataError as error:
            return [f"{root / photo.photo}: {error}"]
        useless = [one.name for one in found if one.covers_all or not one.area]
        kept = [one for one in found if one.name not in useless]
        return SegmentedPhoto(opened.photo, opened.photo_sha256, self._sha256(opened.mask_sha256), kept, useless)

    def hashes(self, root: Path, photo: ArchivePhoto) -> tuple[str, str]:
        """Hash the photo's file, and that of the annotation with the settings."""
        return sha256(root / photo.photo), self._sha256(sha256(root / photo.mask))

    @property
    def _ids(self) -> dict[str, int]:
        return {name: label for label, name in self.label_ids.items()}

    def _prompts(self, photo: ArchivePhoto, name: str, mask: Mask) -> list[Prompt]:
        how, draws = self.derivation, key_generator(self.derivation.seed, f"{photo.split}/{name}/{photo.stem}")
        return derive_prompts(mask, how.kind, points=how.points, jitter=how.jitter, generator=draws)


def _mask_problem(mask: Mask, where: str) -> list[str]:
    try:
        check_mask(mask, where)
    except DataError as error:
        return [str(error)]
    return []

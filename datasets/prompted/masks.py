"""Masks that a segmenter finds from prompts, for the cutter."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from datasets.archive import ArchivePhoto
from datasets.cut_photo import open_photo
from datasets.cutouts import Mask, Photo, resize_labels
from datasets.decode import DecodedPhoto, MaskOrientation, decode_photo
from datasets.mask_source import ClassMask
from datasets.picture_size import PixelLimit
from datasets.prompted.derive import derive_prompts, key_generator
from datasets.prompted.options import Derivation
from datasets.prompted.photos import PromptedObject, PromptedPhoto
from segmenters.grabcut import GrabCut
from segmenters.prompts import Prompt
from segmenters.segmenter import Candidate, Choice, Segmenter, check_mask, choose
from utils.errors import DataError, os_error_text
from utils.files import sha256

_MEMORY = 512e6  # bytes of masks that one call of a segmenter may return
_CANDIDATES = 4  # for each prompt, at most


@dataclass(frozen=True, eq=False)
class FoundClass:
    """The union of the masks of one class's objects.

    Attributes:
        name: of the class.
        mask: H×W in the photo's own pixels.
        prompts: objects.
        score: the lowest of theirs.
    """

    name: str
    mask: Mask
    prompts: int
    score: float


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
            area = int(np.count_nonzero(one.mask))
            yield ClassMask(one.name, resize_labels(one.mask, size), one.prompts, one.score, area)


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

    def _chosen(self, photo: Photo, prompts: Sequence[Prompt]) -> Iterator[Candidate]:
        """Yield the chosen candidate of each prompt; as many prompts at a time as their masks find room for."""
        step = max(1, int(_MEMORY / (_CANDIDATES * photo.shape[0] * photo.shape[1])))
        for start in range(0, len(prompts), step):
            for candidates in self.segmenter.segment(photo, prompts[start : start + step]):
                yield choose(candidates, self.choice)

    def _union(self, photo: Photo, objects: Sequence[PromptedObject]) -> tuple[list[FoundClass], list[PromptedObject]]:
        """Return the classes in the order of their first object, and the objects of which nothing was found."""
        found: dict[str, FoundClass] = {}
        empty: list[PromptedObject] = []
        for one, chosen in zip(objects, self._chosen(photo, [one.prompt for one in objects]), strict=True):
            if not chosen.mask.any():
                empty.append(one)
            before = found.get(one.class_name)
            if before is None:
                found[one.class_name] = FoundClass(one.class_name, chosen.mask.copy(), 1, chosen.score)
                continue
            np.logical_or(before.mask, chosen.mask, out=before.mask)
            score = min(before.score, chosen.score)
            found[one.class_name] = FoundClass(one.class_name, before.mask, before.prompts + 1, score)
        return list(found.values()), empty


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
            found, empty = self._union(np.asarray(decoded.image), self._in_order(photo))
        except DataError as error:
            return [f"{path}: {error}"]
        for one in empty:
            problems += _mask_problem(np.zeros((1, 1), dtype=bool), f"{one.where}, {photo.photo}")
        wheres = {one.class_name: one.where for one in photo.objects}
        for covered in found:
            if covered.mask.all():
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
        return {**super().settings, "derived": asdict(self.derivation)}

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
            found, _ = self._union(np.asarray(opened.photo.image), objects)
        except DataError as error:
            return [f"{root / photo.photo}: {error}"]
        useless = [one.name for one in found if one.mask.all() or not one.mask.any()]
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

"""Prompts derived from annotation, answered by a segmenter, and compared with the annotation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from datasets.archive import Archive, ArchivePhoto
from datasets.cut_photo import OpenedPhoto, open_photo
from datasets.decode import DecodedPhoto, MaskOrientation, decode_photo
from datasets.picture_size import PixelLimit
from datasets.prompted.derive import PromptKind, check_derivation, derive_prompts, key_generator, objects
from segmenters.answering import answer
from segmenters.prompts import Box
from segmenters.segmenter import Choice, Mask, Photo, Segmenter, iou, union
from utils.errors import ConfigError, DataError, problem_list

EVERYTHING = "everything"
Baseline = Literal["filled box", "ellipse"]
BASELINES: tuple[Baseline, ...] = ("filled box", "ellipse")
_WRITTEN = re.compile(r"(box|center|points(\d*)|everything)(?:~([\d.]+))?")
_ALLOWED = "box, center, points1, points3 (any number) or everything, and ~0.1 after it moves prompts by a tenth"


@dataclass(frozen=True)
class Asking:
    """One way to ask for an object: the kind of prompt, the points of each object, and how far prompts are moved.

    ``everything`` asks for nothing: each object gets the mask, of all that the segmenter finds, that fits it best.
    """

    kind: PromptKind | Literal["everything"]
    points: int = 1
    jitter: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Asking":
        """Read ``box``, ``points3`` or ``box~0.1``.

        Raises:
            ConfigError: it says something else, or numbers are out of range.
        """
        found = _WRITTEN.fullmatch(text)
        try:
            jitter = float(found[3] or 0.0) if found else 0.0
        except ValueError:
            found = None
        if found is None or (found[1] == EVERYTHING and found[3]):
            raise ConfigError(f"--prompts {text} is no kind of prompt; allowed: {_ALLOWED}")
        points = int(found[2] or 1)
        check_derivation(points, jitter, (f"the number of points of --prompts {text}", f"what follows ~ in {text}"))
        kind: PromptKind | Literal["everything"] = "points"
        if found[1] in ("box", "center", EVERYTHING):
            kind = found[1]  # type: ignore[assignment]  # one of these three
        return cls(kind, points, jitter)

    @property
    def name(self) -> str:
        """The way in tables and on the command line."""
        points = str(self.points) if self.kind == "points" else ""
        return f"{self.kind}{points}" + (f"~{self.jitter:g}" if self.jitter else "")


@dataclass(frozen=True)
class Compared:
    """One pair (photo and class) and what each way of asking gave.

    Attributes:
        split, class_name, stem: its key.
        group: name shared by photos that are not independent.
        area_fraction: part of the photo that the annotation covers, 0..1.
        objects: connected parts of the annotation that were asked for.
        iou: intersection over union with the annotation, 0..1, by way and by baseline.
    """

    split: str
    class_name: str
    stem: str
    group: str
    area_fraction: float
    objects: int
    iou: Mapping[str, float]

    @property
    def key(self) -> str:
        """The key as "split/class/stem"."""
        return f"{self.split}/{self.class_name}/{self.stem}"


def columns_of(askings: Sequence[Asking]) -> list[str]:
    """Return the names of all columns of IoUs: the segmenter's, and behind each kind of box its two baselines."""
    names = []
    for asking in askings:
        names.append(asking.name)
        if asking.kind == "box":
            names += [baseline_name(baseline, asking) for baseline in BASELINES]
    return names


def baseline_name(baseline: Baseline, asking: Asking) -> str:
    """Return the column of what a box gives without a segmenter."""
    return baseline + (f"~{asking.jitter:g}" if asking.jitter else "")


def open_annotated(
    archive: Archive, photo: ArchivePhoto, orientation: MaskOrientation | None, limit: PixelLimit
) -> OpenedPhoto[DecodedPhoto]:
    """Read a photo and its annotation.

    Raises:
        DataError: everything that is wrong with them.
    """
    opened = open_photo(archive.root, photo, archive.label_ids, orientation, decode_photo, limit=limit)
    if isinstance(opened, list):
        raise DataError(problem_list(f"photo {photo.split}/{photo.stem}", opened))
    return opened


def compare_photo(
    archive: Archive,
    photo: ArchivePhoto,
    opened: OpenedPhoto[DecodedPhoto],
    segmenter: Segmenter,
    askings: Sequence[Asking],
    choice: Choice,
    seed: int,
) -> list[Compared]:
    """Ask for every object of every class of a photo in every way.

    The masks of a class's objects are joined and compared with all of its annotation, in the photo's own pixels. The
    annotation holds one class for each pixel, so that a plate ends where the food on it begins.

    Args:
        archive: names the classes.
        photo: its key and group.
        opened: photo and annotation.
        segmenter: answers the prompts.
        askings: the ways.
        choice: which of several masks of one prompt is taken.
        seed: of the prompts' draws, which depend on it and the pair's key alone, as in preprocessing.

    Raises:
        DataError: the photo cannot be segmented.
    """
    pixels = np.asarray(opened.photo.image)
    truth = {archive.label_ids[label]: opened.labels == label for label in opened.ids}
    found: dict[str, dict[str, float]] = {name: {} for name in truth}
    keys = {name: f"{photo.split}/{name}/{photo.stem}" for name in truth}
    try:
        for asking in askings:
            for name, masks in answers(pixels, truth, keys, segmenter, asking, choice, seed).items():
                found[name] |= {column: iou(mask, truth[name]) for column, mask in masks.items()}
    except DataError as error:
        raise DataError(f"{archive.root / photo.photo}: {error}") from None
    return [
        Compared(
            photo.split,
            name,
            photo.stem,
            photo.group,
            float(np.count_nonzero(mask)) / mask.size,
            sum(1 for _ in objects(mask)),
            found[name],
        )
        for name, mask in truth.items()
    ]


def answers(
    pixels: Photo,
    truth: Mapping[str, Mask],
    keys: Mapping[str, str],
    segmenter: Segmenter,
    asking: Asking,
    choice: Choice,
    seed: int,
) -> dict[str, dict[str, Mask]]:
    """Return for every class the mask that a way of asking gives, and those of its baselines, by column."""
    if asking.kind == "everything":
        candidates = [candidate.mask for candidate in segmenter.everything(pixels)]
        return {name: {asking.name: best_matches(mask, candidates)} for name, mask in truth.items()}
    prompts = {
        name: derive_prompts(
            mask,
            asking.kind,
            points=asking.points,
            jitter=asking.jitter,
            generator=key_generator(seed, keys[name]),
        )
        for name, mask in truth.items()
    }
    every = [prompt for of_class in prompts.values() for prompt in of_class]
    masks = (one.mask for one in answer(segmenter, pixels, every, choice))
    result = {}
    for name, of_class in prompts.items():
        result[name] = {asking.name: union([next(masks) for _ in of_class])}
        if asking.kind == "box":
            boxes = [prompt.box for prompt in of_class if prompt.box is not None]
            result[name] |= {
                baseline_name(baseline, asking): union([drawn(baseline, box, pixels.shape[:2]) for box in boxes])
                for baseline in BASELINES
            }
    return result


def best_matches(mask: Mask, candidates: Sequence[Mask]) -> Mask:
    """Return, joined, the candidate of the largest IoU with each object of a mask; nothing where none meets it."""
    matched = np.zeros_like(mask)
    for part, left, top in objects(mask):
        whole = np.zeros_like(mask)
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part
        scored = [iou(whole, candidate) for candidate in candidates]
        if scored and max(scored) > 0:
            matched |= candidates[int(np.argmax(scored))]
    return matched


def drawn(baseline: Baseline, box: Box, shape: tuple[int, ...]) -> Mask:
    """Return the pixels H×W whose centres lie in a box, or in the ellipse that touches its sides."""
    left, top, right, bottom = box
    across = (np.arange(shape[1]) + 0.5 - (left + right) / 2) / ((right - left) / 2)
    down = (np.arange(shape[0]) + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)
    if baseline == "ellipse":
        return np.asarray(across[None, :] ** 2 + down[:, None] ** 2 <= 1)
    return np.asarray((np.abs(across) <= 1)[None, :] & (np.abs(down) <= 1)[:, None])

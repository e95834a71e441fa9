"""The data section of a configuration: where pairs are, and how they are changed on their way to a model."""

import math
from dataclasses import dataclass, field
from typing import Literal

from utils.errors import ConfigError, require
from utils.names import name_problem, shown

POLICIES = ("none", "randaugment", "trivialaugment", "autoaugment", "augmix")


@dataclass(frozen=True, kw_only=True)
class SplitNames:
    """Folder names of the two splits under ``data.root``."""

    train: str = "train"
    test: str = "test"

    def __post_init__(self) -> None:
        for key, value in (("data.splits.train", self.train), ("data.splits.test", self.test)):
            require(name_problem(value) is None, key, shown(value), "the name of one folder under data.root")
        require(self.train != self.test, "data.splits.test", f"'{self.test}'", "another folder than data.splits.train")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of a training pair. Photo and mask change together, before the two views are cut.

    Attributes:
        flip: probability of a left-right mirror image, 0..1.
        flip_views: ``joint`` mirrors both views or neither; ``separate`` draws for each view, as the released code
            did, which breaks the pair and stands here for comparison only.
        blank_roi: probability that the whole roi view is black, 0..1, so that the model learns to answer without it.
        blank_extra_roi: the same for the extra_roi view; never both in one pair.
        min_crop_area: smallest area fraction of a random crop, in (0, 1]; 1 turns cropping off.
        rotate_degrees: largest rotation in either direction, 0..180.
        color_jitter: strength of brightness, contrast and saturation jitter, 0..1.
        policy: ``none``, ``randaugment``, ``trivialaugment``, ``autoaugment`` or ``augmix``, with their geometric
            operations off, since they see the photo alone.
        policy_magnitude: strength of ``randaugment``, 0..30.
    """

    flip: float = 0.5
    flip_views: Literal["joint", "separate"] = "joint"
    blank_roi: float = 0.0
    blank_extra_roi: float = 0.0
    min_crop_area: float = 1.0
    rotate_degrees: float = 0.0
    color_jitter: float = 0.0
    policy: str = "none"
    policy_magnitude: int = 9

    def __post_init__(self) -> None:
        if self.policy in ("mixup", "cutmix"):
            raise ConfigError(
                f"data.augment.policy is {self.policy}, which blends two photos: the roi of one would meet the "
                f"surroundings of another; choose one of {', '.join(POLICIES)}"
            )
        require(self.policy in POLICIES, "data.augment.policy", f"'{self.policy}'", f"one of {', '.join(POLICIES)}")
        require(0 <= self.flip <= 1, "data.augment.flip", self.flip, "a probability, 0 to 1")
        for key in ("blank_roi", "blank_extra_roi"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"data.augment.{key}", value, "a probability, 0 to 1")
        both = self.blank_roi + self.blank_extra_roi
        require(both <= 1, "data.augment.blank_roi + data.augment.blank_extra_roi", both, "at most 1")
        require(0 < self.min_crop_area <= 1, "data.augment.min_crop_area", self.min_crop_area, "above 0 and at most 1")
        require(0 <= self.rotate_degrees <= 180, "data.augment.rotate_degrees", self.rotate_degrees, "0 to 180")
        require(0 <= self.color_jitter <= 1, "data.augment.color_jitter", self.color_jitter, "0 to 1")
        require(0 <= self.policy_magnitude <= 30, "data.augment.policy_magnitude", self.policy_magnitude, "0 to 30")


@dataclass(frozen=True, kw_only=True)
class ArchiveConfig:
    """How pairs are composed from the photos and masks of an archive; read where ``data.source`` is ``archive``.

    Attributes:
        groups: CSV file with the columns split, image, group; null makes each photo its own group.
        mask_orientation: ``stored`` or ``upright``, which way masks lie that fit a turned photo both ways; null
            refuses such photos.
        min_area: smallest part of the photo that a class may cover, in [0, 1).
        ambiguous: names of the ambiguous classes; null takes ketchup and chili-paste where they exist.
        size: longer side in pixels to which photo and mask are resized before they are cut, as preprocessing does;
            0 keeps the photo's.
    """

    groups: str | None = None
    mask_orientation: Literal["stored", "upright"] | None = None
    min_area: float = 0.0
    ambiguous: list[str] | None = None
    size: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.min_area < 1, "data.archive.min_area", self.min_area, "at least 0 and below 1")
        require(0 <= self.size <= 16384, "data.archive.size", self.size, "0 (as the photo) or 1 to 16384 pixels")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the pairs are and how they reach a backbone.

    Attributes:
        source: ``pairs`` reads cut-outs that preprocessing wrote; ``archive`` composes both views from photo and mask
            when they are loaded; ``folders`` reads photos without masks.
        root: folder with ``<split>/roi/<class>/<stem>.jpg`` and ``<split>/extra-roi/<class>/<stem>.jpg``; for
            ``archive`` the folder that holds ``Images/``; for ``folders`` that with ``<split>/<class>/<photo>``.
        archive: how an archive is read.
        splits: names of the train and test folders.
        image_size: side of the square input in pixels; null takes each backbone's own.
        bars: colour of the letterbox bars: ``black`` (0) or ``grey`` (125, the paper's recipes).
        normalise: ``backbone`` uses each backbone's own mean and deviation; ``none`` only scales to 0..1.
        augment: random changes of training pairs.
        validation_fraction: part of the training groups held out for validation, 0 for none.
        train_fraction: part of the training pairs whose labels are used, of each class alike and at least one pair; 1
            takes all. Drawn by ``train.seed`` from what validation leaves; a smaller part lies within a larger one.
        sampling: ``natural`` shows each pair once an epoch; ``balanced`` draws classes equally often.
        group_by_photo: pairs of one photo stand next to each other in the order, so that an archive decodes a photo
            once for all its pairs in a batch; batches then hold fewer different photos.
        exclude: class names left out of training and test.
        accept: codes of findings that training refuses by itself and shall go on with, such as ``same-photo``.
        max_megapixels: largest picture that is decoded, in million pixels.
        workers: loader processes of each training process; ``auto`` measures how many the model needs.
        prefetch: batches that each worker holds ready; ``auto`` measures it too.
    """

    source: Literal["pairs", "archive", "folders"] = "pairs"
    root: str = "dataset_root"
    archive: ArchiveConfig = field(default_factory=ArchiveConfig)
    splits: SplitNames = field(default_factory=SplitNames)
    image_size: int | None = None
    bars: Literal["black", "grey"] = "black"
    normalise: Literal["backbone", "none"] = "backbone"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    validation_fraction: float = 0.0
    train_fraction: float = 1.0
    sampling: Literal["natural", "balanced"] = "natural"
    group_by_photo: bool = False
    exclude: list[str] = field(default_factory=list)
    accept: list[str] = field(default_factory=list)
    max_megapixels: float = 180.0
    workers: int | Literal["auto"] = "auto"
    prefetch: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        require(bool(self.root.strip()), "data.root", f"'{self.root}'", "the folder that holds the pairs")
        size = self.image_size
        require(size is None or 16 <= size <= 4096, "data.image_size", size, "null or 16 to 4096 pixels")
        require(0 <= self.validation_fraction < 1, "data.validation_fraction", self.validation_fraction, "0 to below 1")
        require(0 < self.train_fraction <= 1, "data.train_fraction", self.train_fraction, "above 0 and at most 1")
        require(self.workers == "auto" or self.workers >= 0, "data.workers", self.workers, "'auto' or a number from 0")
        require(self.prefetch == "auto" or self.prefetch >= 1, "data.prefetch", self.prefetch, "'auto' or at least 1")
        require(0 < self.max_megapixels < math.inf, "data.max_megapixels", self.max_megapixels, "more than 0")

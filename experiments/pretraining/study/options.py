"""What ``study_pretraining.py`` is asked to do."""

import itertools
from dataclasses import dataclass, field
from typing import Literal

from experiments.regions.options import REPORT_FILE, RESULTS_FILE, RUNS, TABLE_FILE, RegionData
from utils.errors import require, require_seeds
from utils.sections import Device

STUDY_CSV, FRACTIONS_PLOT, CURVES_PLOT, FROZEN = "study.csv", "fractions.png", "pretraining.png", "frozen"
STUDY_FILES = (RUNS, FROZEN, RESULTS_FILE, TABLE_FILE, REPORT_FILE, STUDY_CSV, FRACTIONS_PLOT, CURVES_PLOT)

FrozenView = Literal["roi", "extra_roi", "photo"]


@dataclass(frozen=True, kw_only=True)
class StudyPhotos:
    """The photos that are pre-trained on; nothing of them but their pixels is used.

    Attributes:
        root: folder with photos at any depth, such as the training photos of the archive that the pairs were cut from.
        subset: text file that names the photos to use; null takes all.
    """

    root: str = "photos"
    subset: str | None = None

    def __post_init__(self) -> None:
        require(bool(self.root.strip()), "photos.root", f"'{self.root}'", "the folder that holds the photos")


@dataclass(frozen=True, kw_only=True)
class PretrainPart:
    """How the backbones are pre-trained; null keeps what the recipe says.

    Attributes:
        recipe: of ``pretrain_R2O.py``.
        epochs: passes over the photos.
        batch_size: photos per optimiser step.
        image_size: side in pixels of the square views.
    """

    recipe: str = "R2O/train_cfgs/tiny_cpu.yaml"
    epochs: int | None = None
    batch_size: int | None = None
    image_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class FinetunePart:
    """How RveRNet is fine-tuned, from every start and with every part of the labels alike; null keeps the recipe's.

    Attributes:
        recipe: of ``train_RveRNet.py``.
        steps: optimiser steps of each training, rounded to whole passes over its pairs: the fewer pairs, the more
            passes. Null takes as many as the recipe's epochs have with the largest part of the labels.
        batch_size: pairs per optimiser step, or all where a part has fewer.
        image_size: side in pixels of the square inputs, here and of the frozen backbones.
    """

    recipe: str = "RveRNets/train_cfgs/tiny_cpu.yaml"
    steps: int | None = 72
    batch_size: int | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        require(self.steps is None or self.steps >= 1, "finetune.steps", self.steps, "null or at least 1")


@dataclass(frozen=True, kw_only=True)
class FrozenPart:
    """What is read off the features of frozen backbones; settings are the same for every start.

    Attributes:
        views: of which views, some of ``roi``, ``extra_roi`` and ``photo``; none leaves this out.
        regularisation: C of scikit-learn's ``LogisticRegression``, above 0.
        neighbours: k of the nearest neighbours.
    """

    views: list[FrozenView] = field(default_factory=lambda: ["roi", "photo"])
    regularisation: float = 1.0
    neighbours: int = 20

    def __post_init__(self) -> None:
        require(len(set(self.views)) == len(self.views), "frozen.views", self.views, "without repetition")
        good = 0 < self.regularisation < float("inf")
        require(good, "frozen.regularisation", self.regularisation, "above 0, such as 1")
        require(self.neighbours >= 1, "frozen.neighbours", self.neighbours, "at least 1")


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Options of ``study_pretraining.py``.

    Attributes:
        data: the pairs with labels.
        photos: the photos without.
        out: folder to fill; parts that are in it and finished are taken as they are, unfinished ones go on.
        seeds: each pre-trains, draws the parts of the labels and trains once.
        fractions: parts of the training labels, ascending, each above 0 and at most 1.
        pretrain: how the backbones are pre-trained.
        finetune: how RveRNet is fine-tuned.
        frozen: what is read off frozen backbones.
        backbone: timm name of every backbone; null takes the recipes', which must agree.
        equal_compute: train a third time, from the random start for as many seconds longer as pre-training took, with
            the parts of the labels in ``equal_compute_fractions``.
        equal_compute_fractions: some of ``fractions``.
        device: of everything; null keeps the recipes'.
        resamples: bootstrap resamples behind each interval over test photos.
    """

    data: RegionData = field(default_factory=RegionData)
    photos: StudyPhotos = field(default_factory=StudyPhotos)
    out: str = "runs/pretraining_study"
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    fractions: list[float] = field(default_factory=lambda: [0.01, 0.1, 1.0])
    pretrain: PretrainPart = field(default_factory=PretrainPart)
    finetune: FinetunePart = field(default_factory=FinetunePart)
    frozen: FrozenPart = field(default_factory=FrozenPart)
    backbone: str | None = None
    equal_compute: bool = False
    equal_compute_fractions: list[float] = field(default_factory=lambda: [0.1, 1.0])
    device: Device | None = None
    resamples: int = 2000

    def __post_init__(self) -> None:
        require_seeds("seeds", self.seeds)
        require(bool(self.out.strip()), "out", f"'{self.out}'", "the folder to fill")
        parts = self.fractions
        good = bool(parts) and all(0 < part <= 1 for part in parts) and all(a < b for a, b in itertools.pairwise(parts))
        require(good, "fractions", parts, "ascending parts above 0 and at most 1, such as [0.01, 0.1, 1.0]")
        longer = self.equal_compute_fractions
        good = not self.equal_compute or (bool(longer) and set(longer) <= set(parts))
        require(good, "equal_compute_fractions", longer, f"some of the fractions {parts}")
        require(self.resamples >= 100, "resamples", self.resamples, "at least 100")

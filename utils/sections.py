"""The sections of a run's configuration that both train scripts share.

The defaults are plain: Adam, no regularisation. A recipe is a YAML file that says what it wants.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from utils.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
POLICIES = ("none", "randaugment", "trivialaugment", "autoaugment", "augmix")


def require(ok: bool, key: str, value: object, allowed: str) -> None:
    """Raise a ``ConfigError`` that names the key, its value and what is allowed, unless ``ok``."""
    if not ok:
        raise ConfigError(f"{key} is {value}; it must be {allowed}")


def require_seeds(key: str, seeds: list[int] | None) -> None:
    """Raise a ``ConfigError`` unless ``seeds`` is null or holds different numbers that generators take."""
    usable = seeds is None or (seeds and min(seeds) >= 0 and max(seeds) < 2**31 and len(set(seeds)) == len(seeds))
    require(bool(usable), key, seeds, "null or different numbers from 0 to 2147483647, such as 0,1,2")


@dataclass(frozen=True, kw_only=True)
class SplitNames:
    """Folder names of the two splits under ``data.root``."""

    train: str = "train"
    test: str = "test"

    def __post_init__(self) -> None:
        for key, value in (("data.splits.train", self.train), ("data.splits.test", self.test)):
            require(bool(value) and "/" not in value, key, f"'{value}'", "the name of one folder under data.root")
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
class DataConfig:
    """Where the pairs are and how they reach a backbone.

    Attributes:
        root: folder with ``<split>/roi/<class>/<stem>.jpg`` and ``<split>/extra-roi/<class>/<stem>.jpg``.
        splits: names of the train and test folders.
        image_size: side of the square input in pixels; null takes each backbone's own.
        bars: colour of the letterbox bars: ``black`` (0) or ``grey`` (125, the paper's recipes).
        normalise: ``backbone`` uses each backbone's own mean and deviation; ``none`` only scales to 0..1.
        augment: random changes of training pairs.
        validation_fraction: part of the training groups held out for validation, 0 for none.
        sampling: ``natural`` shows each pair once an epoch; ``balanced`` draws classes equally often.
        exclude: class names left out of training and test.
        workers: loader processes; ``auto`` takes the processor cores, at most 8.
    """

    root: str = "dataset_root"
    splits: SplitNames = field(default_factory=SplitNames)
    image_size: int | None = None
    bars: Literal["black", "grey"] = "black"
    normalise: Literal["backbone", "none"] = "backbone"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    validation_fraction: float = 0.0
    sampling: Literal["natural", "balanced"] = "natural"
    exclude: list[str] = field(default_factory=list)
    workers: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        require(bool(self.root.strip()), "data.root", f"'{self.root}'", "the folder that holds the pairs")
        size = self.image_size
        require(size is None or 16 <= size <= 4096, "data.image_size", size, "null or 16 to 4096 pixels")
        require(0 <= self.validation_fraction < 1, "data.validation_fraction", self.validation_fraction, "0 to below 1")
        require(self.workers == "auto" or self.workers >= 0, "data.workers", self.workers, "'auto' or a number from 0")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are learned.

    Attributes:
        epochs: passes over the training pairs.
        batch_size: pairs per optimiser step, over all processes.
        micro_batch: pairs that one process takes at once; null takes its whole share.
        optimizer: any timm optimiser name.
        backbone_lr: peak learning rate of the backbones.
        head_lr: peak learning rate of the head.
        weight_decay: applied to matrices, not to biases and normalisation.
        layer_decay: factor on the rate from each backbone layer to the one below it, (0, 1]; null for none.
        warmup: part of the schedule that rises linearly, 0..1 of its length.
        warmup_start: factor on the peak rate at the first step, 0..1.
        schedule_unit: ``step`` moves the rate at each optimiser step; ``epoch`` once an epoch while the length
            stays in steps, as the released code did.
        schedule_rounding: ``up`` counts the short last batch of an epoch in the schedule's length, ``down`` leaves
            it out, as the released code did.
        label_smoothing: 0..1.
        class_weights: ``none``, or ``inverse`` class frequency with mean 1 over the training pairs.
        clip_norm: largest gradient norm; null for none.
        ema_decay: decay of the averaged weights that are then scored; null for none.
        precision: ``auto`` is bf16 on a GPU that has it, fp32 elsewhere.
        device: ``auto`` takes a GPU where there is one.
        seed: of initial weights, order, augmentation and dropout.
        seeds: several runs, one per seed, in ``<run.dir>/seed<N>``; overrides ``seed``.
        log_every: optimiser steps between two reads of loss and hits from the device.
    """

    epochs: int = 30
    batch_size: int = 50
    micro_batch: int | None = None
    optimizer: str = "adam"
    backbone_lr: float = 1e-4
    head_lr: float = 1e-3
    weight_decay: float = 0.0
    layer_decay: float | None = None
    warmup: float = 0.1
    warmup_start: float = 0.0
    schedule_unit: Literal["step", "epoch"] = "step"
    schedule_rounding: Literal["up", "down"] = "up"
    label_smoothing: float = 0.0
    class_weights: Literal["none", "inverse"] = "none"
    clip_norm: float | None = None
    ema_decay: float | None = None
    precision: Precision = "auto"
    device: Device = "auto"
    seed: int = 0
    seeds: list[int] | None = None
    log_every: int = 20

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "train.epochs", self.epochs, "at least 1")
        require(self.batch_size >= 1, "train.batch_size", self.batch_size, "at least 1")
        micro = self.micro_batch
        require(micro is None or micro >= 1, "train.micro_batch", micro, "null or at least 1")
        for key, rate in (("train.backbone_lr", self.backbone_lr), ("train.head_lr", self.head_lr)):
            require(math.isfinite(rate) and rate > 0, key, rate, "a finite number above 0, such as 1e-4")
        require(
            math.isfinite(self.weight_decay) and self.weight_decay >= 0,
            "train.weight_decay",
            self.weight_decay,
            "at least 0",
        )
        require(
            self.layer_decay is None or 0 < self.layer_decay <= 1,
            "train.layer_decay",
            self.layer_decay,
            "null, or above 0 and at most 1",
        )
        require(0 <= self.warmup < 1, "train.warmup", self.warmup, "a part of the schedule, 0 to below 1")
        require(0 <= self.warmup_start <= 1, "train.warmup_start", self.warmup_start, "0 to 1")
        require(0 <= self.label_smoothing < 1, "train.label_smoothing", self.label_smoothing, "0 to below 1")
        clip = self.clip_norm
        require(clip is None or (math.isfinite(clip) and clip > 0), "train.clip_norm", clip, "null or above 0")
        require(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            "train.ema_decay",
            self.ema_decay,
            "null, or above 0 and below 1",
        )
        require(0 <= self.seed < 2**31, "train.seed", self.seed, "0 to 2147483647")
        require_seeds("train.seeds", self.seeds)
        require(self.log_every >= 1, "train.log_every", self.log_every, "at least 1 step")


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """How a run is scored.

    Attributes:
        selection: ``last`` reports the last epoch (the paper's protocol); ``best`` the epoch with the highest
            validation macro-F1, which needs ``data.validation_fraction``.
        test_every_epoch: score the test split after every epoch (Figure 6); never used for selection.
        batch_size: pairs per forward pass; null takes ``train.micro_batch``, else ``train.batch_size``.
        recalibration_pairs: training pairs over which BatchNorm statistics are averaged afresh before scoring; 0
            keeps the running average.
        resamples: bootstrap resamples behind each 95 % interval.
    """

    selection: Literal["last", "best"] = "last"
    test_every_epoch: bool = False
    batch_size: int | None = None
    recalibration_pairs: int = 0
    resamples: int = 2000

    def __post_init__(self) -> None:
        size = self.batch_size
        require(size is None or size >= 1, "eval.batch_size", size, "null or at least 1")
        pairs = self.recalibration_pairs
        require(pairs >= 0, "eval.recalibration_pairs", pairs, "0 or the number of training pairs to average over")
        require(self.resamples >= 100, "eval.resamples", self.resamples, "at least 100")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where a run is recorded.

    Attributes:
        dir: folder of the run; null makes ``runs/<date>-<time>``. It must be empty or absent.
        resume: ``never`` refuses a folder that is not empty; ``auto`` continues an unfinished run.
        checkpoint_every: epochs between two checkpoints.
    """

    dir: str | None = None
    resume: Literal["never", "auto"] = "never"
    checkpoint_every: int = 1

    def __post_init__(self) -> None:
        require(self.checkpoint_every >= 1, "run.checkpoint_every", self.checkpoint_every, "at least 1 epoch")

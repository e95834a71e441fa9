"""The sections of a run's configuration that both train scripts share. The defaults are the recommended recipe."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SplitNames:
    """Folder names of the two splits under ``data.root``."""

    train: str = "train"
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of a training pair. Photo and mask change together, before the two views are cut.

    Attributes:
        flip: probability of a left-right mirror image, 0..1.
        flip_views: ``joint`` mirrors both views or neither; ``separate`` draws for each view, as the released code
            did, which breaks the pair and stands here for comparison only.
        min_crop_area: smallest area fraction of a random crop, in (0, 1]; 1 turns cropping off.
        rotate_degrees: largest rotation in either direction, 0..180.
        color_jitter: strength of brightness, contrast and saturation jitter, 0..1.
        policy: a torchvision policy with its geometric operations off, since it sees the photo alone.
        policy_magnitude: strength of ``randaugment``, 0..30.
    """

    flip: float = 0.5
    flip_views: Literal["joint", "separate"] = "joint"
    min_crop_area: float = 1.0
    rotate_degrees: float = 0.0
    color_jitter: float = 0.0
    policy: Literal["none", "randaugment", "trivialaugment", "autoaugment", "augmix"] = "none"
    policy_magnitude: int = 9


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
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = 0
    seeds: list[int] | None = None
    log_every: int = 20


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """How a run is scored.

    Attributes:
        selection: ``last`` reports the last epoch (the paper's protocol); ``best`` the epoch with the highest
            validation macro-F1, which needs ``data.validation_fraction``.
        test_every_epoch: score the test split after every epoch (Figure 6); never used for selection.
        batch_size: pairs per forward pass; null takes ``train.batch_size``.
        resamples: bootstrap resamples behind each 95 % interval.
    """

    selection: Literal["last", "best"] = "last"
    test_every_epoch: bool = False
    batch_size: int | None = None
    resamples: int = 2000


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where a run is recorded.

    Attributes:
        dir: folder of the run; null makes ``runs/<recipe>-<date>-<time>``. It must be empty or absent.
        resume: ``never`` refuses a folder that is not empty; ``auto`` continues an unfinished run.
        checkpoint_every: epochs between two checkpoints.
    """

    dir: str | None = None
    resume: Literal["never", "auto"] = "never"
    checkpoint_every: int = 1

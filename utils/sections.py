"""The sections of a run's configuration that both train scripts share.

The defaults are plain: Adam, no regularisation. A recipe is a YAML file that says what it wants.
"""

import math
from dataclasses import dataclass
from typing import Literal

from utils.errors import ConfigError, require, require_seeds

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are learned.

    Attributes:
        epochs: passes over the training pairs.
        batch_size: pairs per optimiser step, over all processes.
        micro_batch: pairs that one process takes at once; null takes its whole share; ``auto`` finds the most that fit
            into the device's memory. The optimiser step stays that of ``batch_size``.
        optimizer: any timm optimiser name.
        backbone_lr: peak learning rate of the backbones.
        head_lr: peak learning rate of the head.
        weight_decay: applied to matrices, not to biases and normalisation.
        layer_decay: factor on the rate from each backbone layer to the one below it, (0, 1]; null for none.
        warmup: part of the schedule that rises linearly, 0..1 of its length.
        warmup_start: factor on the peak rate at the first step, 0..1.
        schedule_unit: ``step`` moves the rate at each optimiser step; ``epoch`` once an epoch while the length
            stays in steps, as the released code did.
        schedule_shape: ``cosine`` falls to zero over what the warm-up leaves; ``pim`` warms up from 1e-9 and falls
            along a cosine as long as the whole schedule, so that it ends above zero (Chou et al. 2022, their code).
        schedule_rounding: ``up`` counts the short last batch of an epoch in the schedule's length, ``down`` leaves
            it out, as the released code did.
        label_smoothing: 0..1.
        class_weights: ``none``, or ``inverse`` class frequency with mean 1 over the training pairs.
        clip_norm: largest gradient norm; null for none.
        ema_decay: decay of the averaged weights that are then scored; null for none.
        precision: ``auto`` is bf16 on a GPU that has it, fp32 elsewhere.
        tf32: let GPUs round the factors of fp32 matrix products to 10 bits of mantissa; ``auto`` on GPUs only.
        fused: one kernel for the whole optimiser step; ``auto`` where the device is a GPU and torch has it.
        sync_batchnorm: BatchNorm statistics over the pairs of all processes; needs GPUs.
        deterministic: let torch use only algorithms that give the same bits each time, and refuse others; on a CPU
            runs repeat bit for bit without it.
        device: ``auto`` takes a GPU where there is one.
        seed: of initial weights, order, augmentation and dropout.
        seeds: several runs, one per seed, in ``<run.dir>/seed<N>``; overrides ``seed``.
        log_every: optimiser steps between two reads of loss and hits from the device.
    """

    epochs: int = 30
    batch_size: int = 50
    micro_batch: int | Literal["auto"] | None = None
    optimizer: str = "adam"
    backbone_lr: float = 1e-4
    head_lr: float = 1e-3
    weight_decay: float = 0.0
    layer_decay: float | None = None
    warmup: float = 0.1
    warmup_start: float = 0.0
    schedule_unit: Literal["step", "epoch"] = "step"
    schedule_shape: Literal["cosine", "pim"] = "cosine"
    schedule_rounding: Literal["up", "down"] = "up"
    label_smoothing: float = 0.0
    class_weights: Literal["none", "inverse"] = "none"
    clip_norm: float | None = None
    ema_decay: float | None = None
    precision: Precision = "auto"
    tf32: bool | Literal["auto"] = "auto"
    fused: bool | Literal["auto"] = "auto"
    sync_batchnorm: bool = False
    deterministic: bool = False
    device: Device = "auto"
    seed: int = 0
    seeds: list[int] | None = None
    log_every: int = 20

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "train.epochs", self.epochs, "at least 1")
        require(self.batch_size >= 1, "train.batch_size", self.batch_size, "at least 1")
        micro = self.micro_batch
        require(micro in (None, "auto") or int(micro) >= 1, "train.micro_batch", micro, "null, 'auto' or at least 1")
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
        if self.schedule_shape == "pim" and self.warmup_start != 0:
            raise ConfigError(
                f"train.warmup_start is {self.warmup_start}, but train.schedule_shape pim warms up from 1e-9; leave it "
                f"out"
            )
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

    @property
    def micro_batch_limit(self) -> int | None:
        """Most pairs that one process takes at once; null where its whole share may be taken, or is not known yet."""
        return None if self.micro_batch == "auto" else self.micro_batch


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
        checkpoint_minutes: most minutes between two checkpoints, also in the middle of an epoch (looked at every
            ``train.log_every`` steps); null for none in mid-epoch.
        keep_every: epochs between two checkpoints that stay, in ``checkpoint_epoch_<N>``; null keeps the last two.
        profile: optimiser steps to record with PyTorch's profiler, from the fourth on, into ``<run.dir>/profile``; 0
            for none.
    """

    dir: str | None = None
    resume: Literal["never", "auto"] = "never"
    checkpoint_every: int = 1
    checkpoint_minutes: float | None = 10.0
    keep_every: int | None = None
    profile: int = 0

    def __post_init__(self) -> None:
        require(self.profile >= 0, "run.profile", self.profile, "0 or the number of steps to record")
        require(self.checkpoint_every >= 1, "run.checkpoint_every", self.checkpoint_every, "at least 1 epoch")
        minutes = self.checkpoint_minutes
        require(minutes is None or minutes > 0, "run.checkpoint_minutes", minutes, "null or more than 0 minutes")
        require(
            self.keep_every is None or self.keep_every >= 1, "run.keep_every", self.keep_every, "null or at least 1"
        )


def evaluation_batch_size(train: TrainConfig, evaluation: EvalConfig) -> int:
    """Return the pairs of one forward pass of an evaluation: ``eval.batch_size``, or as many as training takes."""
    return evaluation.batch_size or train.micro_batch_limit or train.batch_size

"""Configuration of region-to-object pre-training (Gokul et al. 2022, arXiv 2208.11821)."""

import itertools
import math
from dataclasses import dataclass, field
from typing import Literal

from utils.errors import ConfigError, require
from utils.photo_sections import PhotoDataConfig
from utils.sections import Device, Precision, RunConfig


@dataclass(frozen=True, kw_only=True)
class FidelityConfig:
    """Seven places where the authors' code does other than its method says; the defaults do what the method says.

    Attributes:
        border_ids: id of a cell of the mask lattice that lies on the border of two superpixels: that of the ``largest``
            part, or ``blended`` numbers, which name unrelated clusters.
        cluster_padding: cluster the empty rows of photos with fewer superpixels than others too.
        pool_divisor: mean over a region's ``area``, or its sum over ``at_least_one`` cell, which shrinks small regions.
        bn_rows: rows that the heads see: the regions present in both views (``valid``), or ``all`` with the absent
            ones.
        roi_aligned: false shifts the masks of a view by half a cell of the lattice.
        slic_input: picture that SLIC divides: ``rgb`` in 0..1, or ``normalised`` by mean and deviation.
        stem_bn_in_lars: treat the scale of a stem's BatchNorm like a matrix in LARS.
    """

    border_ids: Literal["largest", "blended"] = "largest"
    cluster_padding: bool = False
    pool_divisor: Literal["area", "at_least_one"] = "area"
    bn_rows: Literal["valid", "all"] = "valid"
    roi_aligned: bool = True
    slic_input: Literal["rgb", "normalised"] = "rgb"
    stem_bn_in_lars: bool = False


@dataclass(frozen=True, kw_only=True)
class R2OModelConfig:
    """The network that is pre-trained, and its heads.

    Attributes:
        backbone: timm model name.
        pretrained: start from the weights of the name's tag from the hub.
        weights: start from a local file or one of our runs; null starts from random weights.
        cluster_stride: pixels per cell of the map whose features are clustered (16: the third stage of a ResNet).
        projector_width: units of the projector's hidden layer.
        predictor_width: units of the predictor's hidden layer.
        embedding: length of the vectors that are compared.
    """

    backbone: str = "resnet50"
    pretrained: bool = False
    weights: str | None = None
    cluster_stride: int = 16
    projector_width: int = 4096
    predictor_width: int = 4096
    embedding: int = 256

    def __post_init__(self) -> None:
        for key in ("cluster_stride", "projector_width", "predictor_width", "embedding"):
            require(getattr(self, key) >= 1, f"model.{key}", getattr(self, key), "at least 1")


@dataclass(frozen=True, kw_only=True)
class ClustersConfig:
    """The number K of groups that the superpixels of a batch are clustered into, by epoch (counted from 1).

    Attributes:
        kind: ``cosine`` falls along a quarter of a cosine, slowly first; ``linear`` between two points; ``piecewise``
            holds each value from its epoch on; ``constant`` keeps the first value.
        epochs: the points, in ascending order; null stands for 0 and ``train.epochs``, and is all that ``constant``
            takes.
        values: K at each point, at least 1; null for no clustering, where superpixels are the regions (``constant``
            and ``piecewise`` alone).
        hold: epochs at the start that keep the first value, before ``cosine`` or ``linear`` begins.
    """

    kind: Literal["cosine", "linear", "piecewise", "constant"] = "cosine"
    epochs: list[int] | None = None
    values: list[int | None] = field(default_factory=lambda: [128, 4])
    hold: int = 0

    def __post_init__(self) -> None:
        section, values, points = "train.clusters", self.values, self.epochs
        good = bool(values) and all(value is None or value >= 1 for value in values)
        require(good, f"{section}.values", values, "numbers of groups, each at least 1 or null for no clustering")
        require(self.hold >= 0, f"{section}.hold", self.hold, "at least 0 epochs")
        smooth = self.kind in ("cosine", "linear")
        if smooth and (len(values) != 2 or None in values):
            raise ConfigError(
                f"{section}.values is {values}, but {section}.kind {self.kind} goes from one number to another, such "
                f"as [128, 4]; use piecewise for more, or for null"
            )
        if self.hold and not smooth:
            raise ConfigError(f"{section}.hold is {self.hold}, which {section}.kind {self.kind} does not read")
        if points is not None and self.kind == "constant":
            raise ConfigError(
                f"{section}.epochs is {points}, which {section}.kind constant does not read; set it to null"
            )
        if self.kind == "constant" and len(values) != 1:
            raise ConfigError(f"{section}.values is {values}, but {section}.kind constant takes one, such as [64]")
        if points is not None:
            good = len(points) == len(values) and points[0] >= 0 and all(a < b for a, b in itertools.pairwise(points))
            require(good, f"{section}.epochs", points, f"{len(values)} ascending epochs from 0, one for each value")
        elif self.kind == "piecewise":
            raise ConfigError(f"{section}.kind piecewise needs {section}.epochs, one for each of {section}.values")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """How the weights are learned.

    Attributes:
        epochs: passes over the photos.
        batch_size: photos per optimiser step, over all processes; the short rest of an epoch is left out.
        micro_batch: photos that one process takes at once; null takes its whole share. Clusters are shared by the
            photos that are taken at once, so this changes the method; and the target moves in the first part of a
            step, so that it has moved when it divides the photos of the other parts into regions.
        optimizer: ``lars`` as the authors have it, or any timm optimiser name.
        base_lr: peak learning rate for 256 photos; that of a step is ``base_lr · batch_size / 256``.
        warmup_epochs: epochs of the linear rise from 0.
        lr_clusters: the rate is multiplied by K / ``lr_clusters``; null for no such factor.
        weight_decay: applied to matrices, not to biases and normalisation.
        momentum: of ``lars``; with another optimiser it is left out.
        target_momentum: of the target at the first step; it rises to 1 along half a cosine.
        clusters: the number of groups by epoch.
        overlap: count only regions that are present in both views.
        weight_by_area: weigh regions by the mean of their areas in the two views.
        clip_norm: largest gradient norm; null for none.
        collapse_spread: the run stops where the deviation of the embeddings falls below this part of what directions
            without any preference have; 0 never stops.
        picture_every: epochs between two pictures of photos, superpixels and regions; 0 for none.
        precision: ``auto`` is bf16 on a GPU that has it, fp32 elsewhere; clustering and loss stay in fp32.
        tf32: let GPUs round the factors of fp32 matrix products to 10 bits of mantissa; ``auto`` on GPUs only.
        sync_batchnorm: BatchNorm statistics over the photos of all processes; ``auto`` with several GPUs.
        deterministic: let torch use only algorithms that give the same bits each time, and refuse others.
        device: ``auto`` takes a GPU where there is one.
        seed: of initial weights, order, views and clustering.
        log_every: optimiser steps between two reads of loss and measures from the device.
    """

    epochs: int = 300
    batch_size: int = 32
    micro_batch: int | None = None
    optimizer: str = "lars"
    base_lr: float = 0.3
    warmup_epochs: float = 3.0
    lr_clusters: int | None = 16
    weight_decay: float = 1e-6
    momentum: float = 0.9
    target_momentum: float = 0.99
    clusters: ClustersConfig = field(default_factory=ClustersConfig)
    overlap: bool = True
    weight_by_area: bool = False
    clip_norm: float | None = None
    collapse_spread: float = 0.1
    picture_every: int = 10
    precision: Precision = "auto"
    tf32: bool | Literal["auto"] = "auto"
    sync_batchnorm: bool | Literal["auto"] = "auto"
    deterministic: bool = False
    device: Device = "auto"
    seed: int = 0
    log_every: int = 10

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "log_every"):
            require(getattr(self, key) >= 1, f"train.{key}", getattr(self, key), "at least 1")
        micro = self.micro_batch
        require(micro is None or micro >= 1, "train.micro_batch", micro, "null or at least 1")
        rate = self.base_lr
        require(math.isfinite(rate) and rate > 0, "train.base_lr", rate, "a finite number above 0, such as 0.3")
        warmup = self.warmup_epochs
        require(0 <= warmup < self.epochs, "train.warmup_epochs", warmup, f"0 to below train.epochs ({self.epochs})")
        scale = self.lr_clusters
        require(scale is None or scale >= 1, "train.lr_clusters", scale, "null or at least 1")
        decay = self.weight_decay
        require(math.isfinite(decay) and decay >= 0, "train.weight_decay", decay, "at least 0")
        for key in ("momentum", "target_momentum"):
            require(0 <= getattr(self, key) <= 1, f"train.{key}", getattr(self, key), "0 to 1")
        if self.optimizer != "lars" and self.momentum != type(self).momentum:
            raise ConfigError(
                f"train.momentum is {self.momentum}, which train.optimizer {self.optimizer} does not read; leave it "
                f"out, or set train.optimizer: lars"
            )
        clip = self.clip_norm
        require(clip is None or (math.isfinite(clip) and clip > 0), "train.clip_norm", clip, "null or above 0")
        require(0 <= self.collapse_spread < 1, "train.collapse_spread", self.collapse_spread, "0 to below 1")
        require(self.picture_every >= 0, "train.picture_every", self.picture_every, "0 or a number of epochs")
        require(0 <= self.seed < 2**31, "train.seed", self.seed, "0 to 2147483647")


@dataclass(frozen=True, kw_only=True)
class R2OConfig:
    """Everything that pretrain_R2O.py reads."""

    data: PhotoDataConfig = field(default_factory=PhotoDataConfig)
    model: R2OModelConfig = field(default_factory=R2OModelConfig)
    train: PretrainConfig = field(default_factory=PretrainConfig)
    fidelity: FidelityConfig = field(default_factory=FidelityConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.fidelity.bn_rows == "valid" and not self.train.overlap:
            raise ConfigError(
                "train.overlap is false, so absent regions count too, but fidelity.bn_rows valid leaves them out; set "
                "fidelity.bn_rows: all"
            )

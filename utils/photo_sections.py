"""The data section of pre-training: photos without labels or masks, and the two views that are made of each."""

import math
from dataclasses import dataclass, field
from typing import Literal

from utils.errors import require


@dataclass(frozen=True, kw_only=True)
class SuperpixelConfig:
    """How a photo is divided into superpixels (scikit-image's SLIC on the whole photo at the size of a view).

    Attributes:
        segments: superpixels asked for; SLIC returns about as many.
        compactness: weight of nearness against likeness of colour; above 0.
        cache: ``auto`` keeps the superpixels of each photo on disk where computing them would hold up training,
            ``always`` and ``never`` do what they say. What is kept changes no number.
        cache_dir: folder of what is kept; null takes ``superpixels`` in the run's folder.
    """

    segments: int = 100
    compactness: float = 10.0
    cache: Literal["auto", "always", "never"] = "auto"
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        require(1 <= self.segments <= 10000, "data.superpixels.segments", self.segments, "1 to 10000")
        good = math.isfinite(self.compactness) and self.compactness > 0
        require(good, "data.superpixels.compactness", self.compactness, "a number above 0, such as 10")


@dataclass(frozen=True, kw_only=True)
class TwoViewConfig:
    """The random views of a photo; defaults are those of R2O (Gokul et al. 2022, their code) after BYOL.

    Each value of two holds one for each view.

    Attributes:
        min_crop_area: smallest area fraction of a random crop, in (0, 1]; the largest is the whole photo.
        max_aspect: largest ratio of a crop's sides, at least 1; the smallest is its inverse.
        flip: probability of a left-right mirror image, 0..1.
        jitter: probability of colour jitter, 0..1.
        brightness, contrast, saturation: strengths of the jitter, 0..1.
        hue: its shift of hue, 0..0.5 of the circle.
        grey: probability of a grey picture, 0..1.
        blur: probabilities of a Gaussian blur, 0..1.
        blur_kernel: side of the blur's kernel as a part of the view's side (23 of 224 pixels).
        solarise: probabilities of solarising at half of the range, 0..1.
    """

    min_crop_area: float = 0.08
    max_aspect: float = 4 / 3
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2
    blur: list[float] = field(default_factory=lambda: [1.0, 0.1])
    blur_kernel: float = 23 / 224
    solarise: list[float] = field(default_factory=lambda: [0.0, 0.2])

    def __post_init__(self) -> None:
        section = "data.views"
        area = self.min_crop_area
        require(0 < area <= 1, f"{section}.min_crop_area", area, "above 0 and at most 1")
        require(1 <= self.max_aspect < math.inf, f"{section}.max_aspect", self.max_aspect, "at least 1")
        for key in ("flip", "jitter", "grey"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"{section}.{key}", value, "a probability, 0 to 1")
        for key in ("blur", "solarise"):
            values = getattr(self, key)
            good = len(values) == 2 and all(0 <= value <= 1 for value in values)
            require(good, f"{section}.{key}", values, "two probabilities, one for each view, such as [1.0, 0.1]")
        for key in ("brightness", "contrast", "saturation"):
            value = getattr(self, key)
            require(0 <= value <= 1, f"{section}.{key}", value, "0 to 1")
        require(0 <= self.hue <= 0.5, f"{section}.hue", self.hue, "0 to 0.5")
        require(0 < self.blur_kernel < 1, f"{section}.blur_kernel", self.blur_kernel, "a part of the side, 0 to 1")


@dataclass(frozen=True, kw_only=True)
class PhotoDataConfig:
    """Where the photos are and how they reach the network.

    Attributes:
        root: folder with photos, or with folders of photos at any depth (``<root>/<class>/<photo>``); what the folders
            are called means nothing.
        subset: text file that names the photos to use, one per line: a path below ``root`` or a file's name, either
            with or without its ending, or a folder below ``root`` for all that it holds; null takes all.
        image_size: side of the square views in pixels.
        views: how the two random views are drawn.
        superpixels: how the photo is divided.
        max_megapixels: largest picture that is decoded, in million pixels.
        workers: loader processes of each training process; ``auto`` measures how many the model needs.
        prefetch: batches that each worker holds ready; ``auto`` measures it too.
    """

    root: str = "imagenet/images/train"
    subset: str | None = None
    image_size: int = 224
    views: TwoViewConfig = field(default_factory=TwoViewConfig)
    superpixels: SuperpixelConfig = field(default_factory=SuperpixelConfig)
    max_megapixels: float = 180.0
    workers: int | Literal["auto"] = "auto"
    prefetch: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        require(bool(self.root.strip()), "data.root", f"'{self.root}'", "the folder that holds the photos")
        size = self.image_size
        require(32 <= size <= 1024 and size % 4 == 0, "data.image_size", size, "32 to 1024 pixels, divisible by 4")
        require(self.workers == "auto" or self.workers >= 0, "data.workers", self.workers, "'auto' or a number from 0")
        require(self.prefetch == "auto" or self.prefetch >= 1, "data.prefetch", self.prefetch, "'auto' or at least 1")
        require(0 < self.max_megapixels < math.inf, "data.max_megapixels", self.max_megapixels, "more than 0")

"""Two random views of a photo and the record of how they came about (Gokul et al. 2022, after BYOL, Grill et al. 2020).

Every draw depends on (seed, epoch, key) alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from datasets import draws
from utils.photo_sections import TwoViewConfig

VIEWS = ("view_1", "view_2")
CROP_ATTEMPTS = 10
BLUR_SIGMA = 0.1, 2.0  # pixels
SOLARISED_FROM = 128 / 255


class CropBox(NamedTuple):
    """A part of a photo in whole pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class ViewPlan:
    """What is done to a photo to make one view of it.

    Attributes:
        box: the part that is cut out and resized to the view.
        flip: mirror it left-right.
        jitter: factors of brightness, contrast and saturation, and the shift of hue in -0.5..0.5 of the circle, in
            the order in which they are applied; empty for none.
        grey: take the colour out.
        sigma: deviation of the Gaussian blur in pixels; 0 for none.
        solarise: turn the values from the middle up over.
    """

    box: CropBox
    flip: bool
    jitter: tuple[tuple[str, float], ...]
    grey: bool
    sigma: float
    solarise: bool

    def record(self, width: int, height: int) -> tuple[float, float, float, float, float]:
        """Return top, left, bottom, right as fractions of the photo's sides, and 1 where it is mirrored, else 0."""
        top, left, rows, columns = self.box
        return top / height, left / width, (top + rows) / height, (left + columns) / width, float(self.flip)


class TwoViews:
    """Draws and makes the views of photos.

    Args:
        config: how they are drawn.
        size: side of the square views in pixels.
        seed: of all draws.
    """

    def __init__(self, config: TwoViewConfig, size: int, seed: int) -> None:
        self.config, self.size, self.seed = config, size, seed
        # The nearest odd number, 3 at least: less would be no blur.
        self.blur_kernel = max(3, 2 * round((config.blur_kernel * size - 1) / 2) + 1)

    def plan(self, width: int, height: int, epoch: int, key: str) -> tuple[ViewPlan, ViewPlan]:
        """Draw both views of a photo (sides in pixels); they are independent of each other."""
        first, second = (self._plan(number, width, height, epoch, key) for number in range(2))
        return first, second

    def _plan(self, number: int, width: int, height: int, epoch: int, key: str) -> ViewPlan:
        config, view = self.config, VIEWS[number]
        boxes = draws.generator(self.seed, epoch, f"box {view}", key)
        colour = draws.generator(self.seed, epoch, f"colour {view}", key)
        jitter = self._draw_jitter(colour)
        chances = colour.random(3)
        sigma = float(colour.uniform(*BLUR_SIGMA))
        return ViewPlan(
            box=draw_box(boxes, width, height, config.min_crop_area, config.max_aspect),
            flip=draws.uniform(self.seed, epoch, f"flip {view}", key) < config.flip,
            jitter=jitter,
            grey=bool(chances[0] < config.grey),
            sigma=sigma if chances[1] < config.blur[number] else 0.0,
            solarise=bool(chances[2] < config.solarise[number]),
        )

    def _draw_jitter(self, generator: np.random.Generator) -> tuple[tuple[str, float], ...]:
        config = self.config
        chance, order = generator.random(), generator.permutation(4)
        factors = [
            (name, float(generator.uniform(max(0.0, 1 - strength), 1 + strength)))
            for name, strength in (
                ("brightness", config.brightness),
                ("contrast", config.contrast),
                ("saturation", config.saturation),
            )
        ]
        factors.append(("hue", float(generator.uniform(-config.hue, config.hue))))
        return tuple(factors[place] for place in order) if chance < config.jitter else ()

    def view(self, photo: Tensor, plan: ViewPlan) -> Tensor:
        """Return a view, uint8 3×S×S, of a photo (uint8 3×H×W, RGB)."""
        picture: Tensor = functional.resized_crop(
            photo, *plan.box, [self.size, self.size], interpolation=InterpolationMode.BICUBIC, antialias=True
        )
        if plan.flip:
            picture = picture.flip(-1)
        if not (plan.jitter or plan.grey or plan.sigma or plan.solarise):
            return picture
        picture = picture.to(torch.float32).div_(255)  # rounded once in the end, not after each change
        for name, amount in plan.jitter:
            picture = _CHANGES[name](picture, amount)
        if plan.grey:
            picture = functional.rgb_to_grayscale(picture, num_output_channels=3)
        if plan.sigma:
            picture = blur(picture, self.blur_kernel, plan.sigma)
        if plan.solarise:
            picture = functional.solarize(picture, SOLARISED_FROM)
        return picture.mul(255).round_().to(torch.uint8)

    def whole(self, photo: Tensor) -> Tensor:
        """Return the whole photo (uint8 3×H×W), stretched to 3×S×S."""
        side = [self.size, self.size]
        stretched: Tensor = functional.resize(photo, side, interpolation=InterpolationMode.BICUBIC, antialias=True)
        return stretched


def draw_box(generator: np.random.Generator, width: int, height: int, min_area: float, max_aspect: float) -> CropBox:
    """Draw a box as torchvision's ``RandomResizedCrop.get_params`` does.

    Its area fraction is uniform in ``min_area``..1 and the ratio of width to height log-uniform in 1/``max_aspect``..
    ``max_aspect``; a box that does not fit is drawn again, 10 times in all, and then the largest in the middle taken
    whose ratio is allowed.
    """
    span = math.log(max_aspect)
    for _ in range(CROP_ATTEMPTS):
        area = width * height * generator.uniform(min_area, 1.0)
        aspect = math.exp(generator.uniform(-span, span))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(generator.integers(0, height - box_height + 1))
            left = int(generator.integers(0, width - box_width + 1))
            return CropBox(top, left, box_height, box_width)
    box_width, box_height = min(width, round(height * max_aspect)), min(height, round(width * max_aspect))
    return CropBox((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def shift_hue(picture: Tensor, amount: float) -> Tensor:
    """Turn the hue of a picture (float32 3×S×S in 0..1) by a part of the circle.

    It is torchvision's ``adjust_hue``, which takes ten times as long.
    """
    hue, saturation, value = cv2.split(cv2.cvtColor(_pixels(picture), cv2.COLOR_RGB2HSV))
    turned = np.mod(hue + np.float32(amount * 360), np.float32(360))
    return _planes(cv2.cvtColor(cv2.merge([turned, saturation, value]), cv2.COLOR_HSV2RGB).clip(0, 1))


def blur(picture: Tensor, kernel: int, sigma: float) -> Tensor:
    """Blur a picture (float32 3×S×S) with a Gaussian of odd size, reflected at the border.

    It is torchvision's ``gaussian_blur``, which takes fifty times as long.
    """
    blurred = cv2.GaussianBlur(_pixels(picture), (kernel, kernel), sigma, borderType=cv2.BORDER_REFLECT_101)
    return _planes(blurred)


def _pixels(picture: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())


def _planes(pixels: NDArray[Any]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32, copy=False)).permute(2, 0, 1)


_CHANGES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": shift_hue,
}

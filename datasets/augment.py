"""Random changes of a training pair: one draw for photo and mask together, before anything is cut."""

import math

import numpy as np
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional

from datasets import draws
from datasets.policies import build_policy
from datasets.transforms import Mask, Photo
from utils.data_sections import AugmentConfig

CROP_ATTEMPTS = 10
LEAST_ROI_LEFT = 0.01
_LARGEST_STRETCH = 4.0 / 3.0


class JointAugment:
    """Colour changes of the photo, then one rotation and one crop of photo and mask.

    Every draw depends on (seed, epoch, key) alone. Colour comes first, so that the corners which a rotation uncovers
    stay black in both views. The crop keeps its pixels as they are (the letterbox resizes it later, for each view
    from the same pair): its area fraction is uniform in ``min_crop_area``..1, its aspect ratio that of the photo
    times 3/4..4/3 (log-uniform). A rotation and crop that leave less than 1 % of the region of interest are drawn
    again, up to 10 draws in all; after that the pair stays uncropped and unrotated.
    """

    def __init__(self, config: AugmentConfig, seed: int) -> None:
        self.config = config
        self.seed = seed
        self._colour = _colour_transforms(config)
        self._moves = config.rotate_degrees > 0 or config.min_crop_area < 1

    @property
    def active(self) -> bool:
        """Whether ``apply`` changes anything; flips do not count, they are only drawn here and done on the device."""
        return self._moves or bool(self._colour)

    def apply(self, photo: Photo, mask: Mask, epoch: int, key: str) -> tuple[Photo, Mask]:
        """Return the changed photo (uint8 3×H×W) and mask (bool H×W); H and W shrink with a crop."""
        if self._colour:
            picture = torch.from_numpy(photo)
            with draws.torch_seeded(self.seed, epoch, "colour", key):
                for transform in self._colour:
                    picture = transform(picture)
            photo = picture.numpy()
        if self._moves:
            photo, mask = self._move(photo, mask, draws.generator(self.seed, epoch, "geometry", key))
        return photo, mask

    def draw_flips(self, epoch: int, key: str, views: list[str]) -> list[bool]:
        """Draw left-right flips, one for each view: one draw for all of them, or one each (``flip_views``)."""
        if self.config.flip_views == "joint":
            return [draws.uniform(self.seed, epoch, "flip", key) < self.config.flip] * len(views)
        return [draws.uniform(self.seed, epoch, f"flip {view}", key) < self.config.flip for view in views]

    def draw_blank(self, epoch: int, key: str) -> str | None:
        """Draw the view that is blacked out whole: ``roi``, ``extra_roi`` or none."""
        roi, extra_roi = self.config.blank_roi, self.config.blank_extra_roi
        if roi + extra_roi == 0:
            return None
        draw = draws.uniform(self.seed, epoch, "blank", key)
        return "roi" if draw < roi else "extra_roi" if draw < roi + extra_roi else None

    def _move(self, photo: Photo, mask: Mask, generator: np.random.Generator) -> tuple[Photo, Mask]:
        needed = LEAST_ROI_LEFT * np.count_nonzero(mask)
        height, width = mask.shape
        limit = self.config.rotate_degrees
        for _ in range(CROP_ATTEMPTS):
            angle = generator.uniform(-limit, limit)
            rows, columns = draw_crop(generator, width, height, self.config.min_crop_area)
            moved = _rotate(mask[None].view(np.uint8), angle, InterpolationMode.NEAREST)[0, rows, columns]
            if np.count_nonzero(moved) >= needed:
                return _rotate(photo, angle, InterpolationMode.BILINEAR)[:, rows, columns], moved.view(np.bool_)
        return photo, mask


def draw_crop(generator: np.random.Generator, width: int, height: int, min_area: float) -> tuple[slice, slice]:
    """Draw the rows and columns of a crop whose area fraction is uniform in ``min_area``..1.

    The stretch against the photo's own aspect ratio is log-uniform in 3/4..4/3; where a side would not fit, it takes
    the whole side and keeps the area. Sides are rounded and at least 1 pixel.
    """
    area = generator.uniform(min_area, 1.0)
    stretch = math.exp(generator.uniform(-math.log(_LARGEST_STRETCH), math.log(_LARGEST_STRETCH)))
    across = min(1.0, max(area, math.sqrt(area * stretch)))
    crop_width = max(1, round(width * across))
    crop_height = max(1, round(height * area / across))
    left = int(generator.integers(0, width - crop_width + 1))
    top = int(generator.integers(0, height - crop_height + 1))
    return slice(top, top + crop_height), slice(left, left + crop_width)


def _rotate(picture: Photo, angle: float, interpolation: InterpolationMode) -> Photo:
    """Rotate C×H×W counter-clockwise about the centre by ``angle`` degrees; uncovered corners become 0."""
    if angle == 0:
        return picture
    rotated = functional.rotate(torch.from_numpy(picture), angle, interpolation=interpolation, fill=0)
    turned: Photo = rotated.numpy()
    return turned


def _colour_transforms(config: AugmentConfig) -> list[v2.Transform]:
    strength = config.color_jitter
    jitter = [v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength)] if strength > 0 else []
    policy = build_policy(config.policy, config.policy_magnitude)
    return [*jitter, policy] if policy else [*jitter]
